"""What a training step runs on: a DeepSpeed engine, or plain torch as the yardstick.

Both give the same consolidated state (float32 tensors by parameter name), so a checkpoint loads
whatever the ZeRO stage or the number of workers it was written with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from reactdist.models.protocol import Generators
from reactdist.train.gradient import MeanGradient
from reactdist.train.settings import LossSettings, OptimizerSettings

Batch = dict[str, Tensor]
SLOTS = ("exp_avg", "exp_avg_sq")
"""AdamW's running moments."""
STEP = "step"


class LossModule(nn.Module):
    """The model with its loss as one forward pass, the only thing an engine calls."""

    def __init__(self, model: nn.Module, loss: LossSettings) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Batch, generators: Generators = None) -> dict[str, Tensor]:
        """Named loss terms, 0-dim; `total` is what is differentiated."""
        losses: dict[str, Tensor] = self.model.training_losses(  # type: ignore[operator]
            batch,
            kl_weight=self.loss.kl_weight,
            diversity_weight=self.loss.diversity_weight,
            generator=generators,
        )
        return losses


class Engine(Protocol):
    """A model, its optimizer and how gradients of all workers meet."""

    kind: str
    zero_stage: int
    device: torch.device

    def losses(self, batch: Batch, generators: Generators = None) -> dict[str, Tensor]:
        """Forward pass of one micro-batch."""
        ...

    def backward(self, total: Tensor) -> None:
        """Add the gradient of one micro-batch."""
        ...

    def step(self, lr: float) -> None:
        """After every micro-batch; at the last of a step, clip, apply and forget the gradient.

        Raises:
            FloatingPointError: on all ranks, when the gradient is not finite; nothing was updated.
        """
        ...

    def weights(self) -> dict[str, Tensor]:
        """CPU float32 weights by name; every rank must call it."""
        ...

    def optimizer_state(self) -> dict[str, Tensor]:
        """CPU tensors `slot/name`, and `step`; every rank must call it."""
        ...

    def load(self, weights: dict[str, Tensor], optimizer: dict[str, Tensor]) -> None:
        """Put a consolidated state in place; every rank must call it."""
        ...


class TorchEngine:
    """One process, plain torch: the reference that overhead is measured against."""

    kind = "torch"
    zero_stage = 0

    def __init__(
        self,
        model: nn.Module,
        loss: LossSettings,
        optimizer: OptimizerSettings,
        device: torch.device,
        accumulation: int = 1,
    ) -> None:
        self.device = device
        self.module = LossModule(model, loss).to(device)
        self.accumulation = accumulation
        self._micro_batches = 0
        self.optimizer = adamw(self.module, optimizer)
        self.gradient = MeanGradient(self.module.parameters(), optimizer.clip_norm, world=1)

    def losses(self, batch: Batch, generators: Generators = None) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.module(batch, generators)
        return losses

    def backward(self, total: Tensor) -> None:
        (total / self.accumulation).backward()

    def step(self, lr: float) -> None:
        self._micro_batches += 1
        if self._micro_batches % self.accumulation:
            return
        set_lr(self.optimizer, lr)
        self.gradient.start()
        self.gradient.finish()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def weights(self) -> dict[str, Tensor]:
        return whole_weights(self.module)

    def optimizer_state(self) -> dict[str, Tensor]:
        return whole_optimizer_state(self.module, self.optimizer)

    def load(self, weights: dict[str, Tensor], optimizer: dict[str, Tensor]) -> None:
        load_whole(self.module, self.optimizer, weights, optimizer)


def adamw(module: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """The published optimizer, in torch's fastest form: one pass over a parameter."""
    return torch.optim.AdamW(
        module.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` for every parameter from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def model_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters under the model's own names (without the wrapper's prefix)."""
    return {name.removeprefix("model."): p for name, p in module.named_parameters()}


def model_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Persistent buffers under the model's own names."""
    parameters = model_parameters(module)
    state = {name.removeprefix("model."): v for name, v in module.state_dict().items()}
    return {name: v for name, v in state.items() if name not in parameters}


def whole_weights(module: nn.Module) -> dict[str, Tensor]:
    """CPU float32 copies of unpartitioned weights and buffers."""
    tensors = {**model_parameters(module), **model_buffers(module)}
    return {name: _cpu(value) for name, value in tensors.items()}


def whole_optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """CPU copies of an unpartitioned AdamW's moments; empty before the first step."""
    state: dict[str, Tensor] = {}
    for name, parameter in model_parameters(module).items():
        entry = optimizer.state.get(parameter, {})
        for slot in SLOTS:
            if slot in entry:
                state[f"{slot}/{name}"] = _cpu(entry[slot])
        if "step" in entry:
            state[STEP] = _cpu(entry["step"])
    return state


def load_whole(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    weights: dict[str, Tensor],
    state: dict[str, Tensor],
) -> None:
    """Load a consolidated state into unpartitioned parameters and a plain AdamW."""
    with torch.no_grad():
        for name, target in {**model_parameters(module), **model_buffers(module)}.items():
            target.copy_(weights[name])
    if STEP not in state:
        return
    for name, parameter in model_parameters(module).items():
        moments = {s: state[f"{s}/{name}"].to(parameter.device).clone() for s in SLOTS}
        optimizer.state[parameter] = {"step": step_count(state, parameter.device), **moments}


def step_count(state: Mapping[str, Tensor], device: torch.device) -> Tensor:
    """The number of updates of a consolidated state, where AdamW wants it: with the parameter."""
    return state[STEP].to(device, copy=True).reshape(())


def _cpu(value: Tensor) -> Tensor:
    return value.detach().to("cpu", torch.float32, copy=True)
