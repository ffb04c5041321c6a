"""The DeepSpeed engine behind the `Engine` protocol: ZeRO 0-3, float32 and mixed precision.

The only file that imports deepspeed. What is peculiar about DeepSpeed on CPU, and was measured:
its shared-memory collective compiles for 35 s (switched off), its own CPU Adam for 80 s (a torch
AdamW is passed instead), and the `bf16` section takes a phantom step at stage 0
(`torch_autocast` is right at every stage). Its `fp16` section makes the model itself half, which
float32 inputs do not meet; its `torch_autocast` in float16 scales the loss with torch's GradScaler
and at stages 1 to 3 clips gradients that are still scaled, so here the scale of the `fp16` section
is put in its place, which clips what it has divided.
"""

from __future__ import annotations

import logging
import os
import warnings
from datetime import timedelta
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from reactdist.errors import InputError
from reactdist.models.protocol import Generators
from reactdist.terminal import verbose
from reactdist.train.deepspeed_json import merged
from reactdist.train.engine import (
    SLOTS,
    STEP,
    Batch,
    LossModule,
    adamw,
    load_whole,
    model_buffers,
    model_parameters,
    set_lr,
    step_count,
    whole_optimizer_state,
    whole_weights,
)
from reactdist.train.gradient import MeanGradient
from reactdist.train.settings import EngineSettings, LossSettings, OptimizerSettings

REDUCTION = {"communication_data_type", "prescale_gradients", "gradient_predivide_factor"}
"""Keys of a DeepSpeed JSON that change how it reduces gradients; it does so then itself."""

LOSS_SCALE = "loss_scale"
"""In a float16 run's optimizer state: the values of these."""
LOSS_SCALE_FIELDS = ("cur_scale", "cur_iter", "last_overflow_iter")


def start_process_group(device: torch.device, timeout_s: float) -> None:
    """Join the default process group, or make one of this process alone if there is none.

    Ray Train has made one before; a laptop run or a tuning trial is alone and needs no port.
    """
    if not torch.distributed.is_initialized():
        os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
        torch.distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=torch.distributed.HashStore(),  # type: ignore[attr-defined]
            rank=0,
            world_size=1,
            timeout=timedelta(seconds=timeout_s),
        )
    # Ray Train sets LOCAL_RANK; DeepSpeed asserts that somebody did.
    os.environ.setdefault("LOCAL_RANK", "0")


class DeepSpeedEngine:
    """A `deepspeed.DeepSpeedEngine` around model and loss."""

    def __init__(
        self,
        model: nn.Module,
        loss: LossSettings,
        optimizer: OptimizerSettings,
        engine: EngineSettings,
        device: torch.device,
        *,
        micro_batch: int,
        accumulation: int = 1,
    ) -> None:
        deepspeed = _import_deepspeed(device)
        self.device = device
        self.zero_stage: int = engine.zero_stage
        self.module = LossModule(model, loss).to(device)
        self.optimizer = adamw(self.module, optimizer)
        clip_norm = optimizer.clip_norm
        self._gradient: MeanGradient | None = None
        reduced_here = not REDUCTION & set(engine.deepspeed)
        if self.zero_stage == 0:
            world = torch.distributed.get_world_size() if reduced_here else 1
            self._gradient = MeanGradient(self.module.parameters(), clip_norm, world)
            clip_norm = 0.0
        self.accumulation = accumulation
        # ZeRO replaces the optimizer's parameters; names are kept for the consolidated state.
        try:
            self._engine, *_ = deepspeed.initialize(
                model=self.module,
                optimizer=self.optimizer,
                dist_init_required=False,
                config=deepspeed_config(engine, clip_norm, micro_batch, accumulation),
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            raise InputError(
                f"DeepSpeed refuses {key}: {first['msg']}",
                where="engine.deepspeed",
                fix="correct the value",
            ) from None
        if self._gradient is not None and reduced_here:
            self._engine.enable_backward_allreduce = False
        self._scaler = _dynamic_loss_scale() if engine.precision == "float16" else None
        self._scale_with_ours()
        self.kind = f"{type(self._engine).__module__.split('.')[0]}.{type(self._engine).__name__}"

    def losses(self, batch: Batch, generators: Generators = None) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self._engine(batch, generators)
        return losses

    def _scale_with_ours(self) -> None:
        """Take out torch's GradScaler, which DeepSpeed puts in for float16 (and, at stages 1 to 3,
        for every later engine of the process)."""
        if self._gradient is not None:
            self._engine.torch_autocast_z0_gradscaler = None
            return
        zero = self._engine.optimizer
        zero.torch_autocast_gradscaler = None
        if self._scaler is not None:
            zero.loss_scaler, zero.dynamic_loss_scale = self._scaler, True

    @property
    def loss_scale(self) -> float:
        """What the next loss is multiplied with; 1 but for float16."""
        return 1.0 if self._scaler is None else float(self._scaler.cur_scale)

    def backward(self, total: Tensor) -> None:
        if self._gradient is not None and self._scaler is not None:  # ZeRO does so itself
            total = total * self.loss_scale
        self._engine.backward(total)
        if self._gradient is not None and self._engine.is_gradient_accumulation_boundary():
            self._gradient.start()

    def step(self, lr: float) -> None:
        # DeepSpeed counts micro-batches: it updates, and zeroes gradients, at the last of a step.
        set_lr(self.optimizer, lr)
        left_out = False
        if self._gradient is not None and self._engine.is_gradient_accumulation_boundary():
            left_out = not self._finish(self._gradient)
        skipped = self._engine.skipped_steps
        self._engine.step()
        # A gradient that is not finite makes ZeRO leave out the update, without a word.
        left_out = left_out or self._engine.skipped_steps > skipped
        if left_out and (self._scaler is None or self.loss_scale < 1.0):
            raise FloatingPointError("gradient not finite")

    def _finish(self, gradient: MeanGradient) -> bool:
        """Have the gradient ready for the update; False where its loss was scaled too much."""
        try:
            gradient.finish(self.loss_scale)
        except FloatingPointError:
            if self._scaler is None:
                raise
            self._engine.zero_grad()  # to None: AdamW then leaves everything as it is
            finite = False
        else:
            finite = True
        if self._scaler is not None:
            self._scaler.update_scale(not finite)
        return finite

    def weights(self) -> dict[str, Tensor]:
        if self.zero_stage == 0:
            return whole_weights(self.module)
        from deepspeed.utils import safe_get_full_fp32_param

        found = {
            name: _gathered(safe_get_full_fp32_param(p), name)
            for name, p in model_parameters(self.module).items()
        }
        buffers = {n: v.detach().float().cpu() for n, v in model_buffers(self.module).items()}
        return {**found, **buffers}

    def optimizer_state(self) -> dict[str, Tensor]:
        state = (
            whole_optimizer_state(self.module, self.optimizer)
            if self.zero_stage == 0
            else self._gathered_optimizer_state()
        )
        if self._scaler is not None:
            values = [float(getattr(self._scaler, name)) for name in LOSS_SCALE_FIELDS]
            state[LOSS_SCALE] = torch.tensor(values, dtype=torch.float64)
        return state

    def _gathered_optimizer_state(self) -> dict[str, Tensor]:
        from deepspeed.utils import safe_get_full_optimizer_state

        steps = [entry["step"] for entry in self.optimizer.state.values() if "step" in entry]
        if not steps:  # no update yet, on any rank
            return {}
        state = {
            f"{slot}/{name}": _gathered(safe_get_full_optimizer_state(p, slot), name)
            for name, p in model_parameters(self.module).items()
            for slot in SLOTS
        }
        state[STEP] = torch.as_tensor(steps[0]).detach().float().cpu()
        return state

    def load(self, weights: dict[str, Tensor], optimizer: dict[str, Tensor]) -> None:
        if self._scaler is not None and LOSS_SCALE in optimizer:
            scale, *counts = optimizer[LOSS_SCALE].tolist()
            for name, value in zip(LOSS_SCALE_FIELDS, [scale, *map(int, counts)], strict=True):
                setattr(self._scaler, name, value)
        if self.zero_stage == 0:
            load_whole(self.module, self.optimizer, weights, optimizer)
            return
        self._load_weights(weights)
        if STEP in optimizer:
            self._load_optimizer(optimizer)

    def _load_weights(self, weights: dict[str, Tensor]) -> None:
        """Into the partitioned float32 masters and into the tensors of the forward pass."""
        from deepspeed.runtime.zero.partition_parameters import GatheredParameters
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_local_fp32_param

        with torch.no_grad():
            for name, buffer in model_buffers(self.module).items():
                buffer.copy_(weights[name])
            for name, parameter in model_parameters(self.module).items():
                value = weights[name].to(self.device)
                if self.zero_stage == 3:
                    with GatheredParameters(parameter, modifier_rank=0):
                        parameter.copy_(value)
                    safe_set_local_fp32_param(parameter, _own_part(parameter, value))
                else:
                    parameter.copy_(value)
                    safe_set_full_fp32_param(parameter, value)

    def _load_optimizer(self, state: dict[str, Tensor]) -> None:
        """Into the moments of this rank's partitions, which a fresh AdamW does not have yet."""
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        zero = self._engine.optimizer
        partitions = (
            zero.fp32_partitioned_groups_flat
            if self.zero_stage == 3
            else zero.single_partition_of_fp32_groups
        )
        for partition in partitions:
            moments = {slot: torch.zeros_like(partition) for slot in SLOTS}
            self.optimizer.state[partition] = {
                "step": step_count(state, partition.device),
                **moments,
            }
        if self.zero_stage < 3:
            zero._lazy_init_hp_params_optimizer_state()
        for name, parameter in model_parameters(self.module).items():
            for slot in SLOTS:
                moment = state[f"{slot}/{name}"].to(self.device)
                if self.zero_stage == 3:
                    part = _own_part(parameter, moment)
                    safe_set_local_optimizer_state(parameter, part, slot)
                else:
                    safe_set_full_optimizer_state(parameter, moment, slot)


def _dynamic_loss_scale() -> Any:
    """The scale of a float16 loss, with the constants of torch's GradScaler: halved at a gradient
    that is not finite, doubled after 2,000 that are. Below 1 means that no scale helps."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler

    return DynamicLossScaler(
        init_scale=2.0**16,
        scale_window=2000,
        min_scale=0.5,
        delayed_shift=1,
        consecutive_hysteresis=False,
        raise_error_at_min_scale=False,
    )


def _own_part(parameter: Any, value: Tensor) -> Tensor:
    """This rank's slice of a ZeRO-3 parameter's values; the last rank's is padded with zeros."""
    size = parameter.ds_tensor.numel()
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    padded = nn.functional.pad(value.flatten(), (0, size * world - value.numel()))
    return padded[rank * size : (rank + 1) * size]


def deepspeed_config(
    engine: EngineSettings, clip_norm: float, micro_batch: int, accumulation: int
) -> dict[str, Any]:
    """The DeepSpeed JSON of these settings."""
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": clip_norm,
        "zero_optimization": {"stage": engine.zero_stage},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
    }
    if engine.precision != "float32":
        config["torch_autocast"] = {"enabled": True, "dtype": engine.precision}
    # These sections were checked to agree; they must not reach DeepSpeed (see above).
    given = {k: value for k, value in engine.deepspeed.items() if k not in ("bf16", "fp16")}
    return merged(config, given)


def _import_deepspeed(device: torch.device) -> Any:
    """Import DeepSpeed with its accelerator set, its compilers off and its noise but for `-v`."""
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    if not verbose():
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
        os.environ.setdefault("DEEPSPEED_LOG_LEVEL", "error")
    import deepspeed
    from deepspeed.ops import __compatible_ops__

    logger = logging.getLogger("DeepSpeed")
    logger.setLevel(logging.INFO if verbose() else logging.ERROR)
    for handler in logger.handlers:
        handler.setLevel(logger.level)
    __compatible_ops__["deepspeed_shm_comm"] = False
    backend = "nccl" if device.type == "cuda" else "gloo"
    deepspeed.init_distributed(backend, verbose=verbose())
    return deepspeed


def _gathered(value: Tensor | None, name: str) -> Tensor:
    if value is None:
        raise RuntimeError(f"DeepSpeed holds no partition of {name}")
    return value.detach().to("cpu", torch.float32, copy=True)
