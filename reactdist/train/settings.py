"""Settings of one training run. A YAML in configs/ holds differences from these defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from reactdist.config import Settings
from reactdist.evaluate.objective import ObjectiveSettings
from reactdist.models.registry import MODELS, config_values, model_config
from reactdist.schema import NUM_SAMPLES
from reactdist.train.deepspeed_json import check_json, read_json

Precision = Literal["float32", "bfloat16", "float16"]


class DataSettings(Settings):
    """What is read."""

    shards: str = "shards"
    """Folder (or s3:// address) that `reactdist data build` wrote."""
    crop_frames: PositiveInt = 256
    """Frames of the random crop of every training item (25 a second)."""
    workers: NonNegativeInt = 0
    """Loader processes a training worker; 0 reads in the worker itself."""
    damaged: Literal["fail", "skip"] = "fail"
    """A training clip that cannot be read: stop, or use the next item of the epoch in its stead."""
    max_skipped: PositiveInt = 10
    """Different items that may be skipped before the run stops."""


class LossSettings(Settings):
    """Weights of the loss terms (react2024.md section 4)."""

    kl_weight: NonNegativeFloat = 1e-5
    """Weight of the KL divergence of the posterior from the standard normal."""
    diversity_weight: NonNegativeFloat = 10.0
    """Weight of the diversity term; 0 leaves out the second forward pass."""


class OptimizerSettings(Settings):
    """AdamW and its learning-rate schedule."""

    lr: float = Field(default=1e-5, gt=0)
    """Peak learning rate."""
    weight_decay: NonNegativeFloat = 5e-4
    """Decoupled weight decay."""
    schedule: Literal["constant", "cosine"] = "constant"
    """After the warm-up: stay at lr, or fall to 0 along a half cosine."""
    warmup_steps: NonNegativeInt = 0
    """Steps over which lr rises linearly from 0."""
    clip_norm: NonNegativeFloat = 1.0
    """Largest global gradient norm; 0 does not clip."""


class EngineSettings(Settings):
    """The DeepSpeed engine."""

    zero_stage: Literal[0, 1, 2, 3] = 0
    """What is partitioned over the workers: 1 optimizer state, 2 + gradients, 3 + parameters."""
    precision: Precision = "float32"
    """Arithmetic of the forward pass; weights and optimizer stay float32. float16 scales the
    loss."""
    compile: bool = False
    """Train through torch.compile, where it works: for GPUs and long runs; on a CPU the first step
    takes longer and the others gain nothing."""
    deepspeed: dict[str, Any] = Field(default={})
    """More of DeepSpeed's configuration: the path of its JSON, or what it holds. What other
    settings decide must agree with them (reactdist/train/deepspeed_json.py)."""

    @field_validator("deepspeed", mode="before")
    @classmethod
    def _read(cls, value: Any) -> dict[str, Any]:
        return read_json(value)


class ValidationSettings(Settings):
    """Scoring during training: fixed clips, the run's own window, the challenge metrics."""

    split: Literal["val", "test"] = "val"
    """Which items; `test` is for the final numbers only."""
    items: PositiveInt | None = 64
    """Size of the seeded subset, the same every time; null scores the whole split."""
    frames: PositiveInt | None = None
    """First frames of every clip; null takes whole clips."""
    every_epochs: PositiveInt = 1
    """Epochs between two evaluations (and checkpoints)."""
    num_samples: PositiveInt = NUM_SAMPLES
    """Reactions generated an item."""
    seed: int = 0
    """Seed of the subset and of the noise."""
    objective: ObjectiveSettings = ObjectiveSettings()
    """What ranks the checkpoints of a run and the trials of a study."""


class CheckpointSettings(Settings):
    """Which checkpoints stay."""

    keep_best: PositiveInt = 1
    """Best ones by the validation objective, besides the latest."""


class WorkerSettings(Settings):
    """Where the run computes."""

    count: PositiveInt = 1
    """Training workers; above 1 (or with `ray: true`) Ray Train starts them."""
    min_count: PositiveInt | None = None
    """Elastic: go on with as few as this when nodes are lost; null keeps `count` fixed."""
    ray: bool = False
    """Use Ray Train for a single worker too."""
    gpu: bool | Literal["auto"] = "auto"
    """One GPU a worker; `auto` uses CUDA where it is present."""
    cpus: float = Field(default=1.0, gt=0)
    """CPU cores a worker reserves; also its number of compute threads."""
    max_failures: NonNegativeInt = 3
    """Lost workers or nodes after which the run gives up."""
    hang_timeout_s: float = Field(default=600.0, gt=0)
    """A collective that waits longer counts as a hung worker."""


class TrainSettings(Settings):
    """One training run."""

    name: str = "run"
    """Name of the run; its folder is output/name."""
    experiment: str = "reactdist"
    """MLflow experiment."""
    output: Path = Path("runs")
    """Folder of checkpoints, logs and exports; shared by all nodes on a cluster."""
    seed: int = 0
    """Seed of initial weights, sample order, crops and noise."""
    epochs: PositiveInt = 50
    """Passes over the training items, both directions of every pair."""
    batch_size: PositiveInt = 4
    """Items of an optimizer step, over all workers."""
    accumulation: PositiveInt = 1
    """Micro-batches a worker splits its share of a batch into."""
    ema_decay: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Decay of averaged weights used for validation and export; 0 keeps none."""
    log_every_steps: PositiveInt = 10
    """Optimizer steps between two points of a loss curve."""
    profile: str | None = Field(default=None, pattern=r"^[1-9][0-9]*:[1-9][0-9]*$")
    """`a:b` stores a torch profiler trace of optimizer steps a to b, counted from 1."""
    data: DataSettings = DataSettings()
    model: dict[str, Any] = Field(default={"name": "transvae"}, validate_default=True)
    """`name` of a registered model and its settings (reactdist/models)."""
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    engine: EngineSettings = EngineSettings()
    validation: ValidationSettings = ValidationSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    workers: WorkerSettings = WorkerSettings()

    @model_validator(mode="before")
    @classmethod
    def _resolve_model(cls, values: Any) -> Any:
        """Fill in the model's own defaults, so that a resolved config says everything."""
        if not isinstance(values, dict):
            return values
        model = dict(values.get("model") or {})
        name = model.pop("name", "transvae")
        return {**values, "model": {"name": name, **config_values(model_config(name, model))}}

    @model_validator(mode="after")
    def _check_together(self) -> TrainSettings:
        most, least = self.workers.count, self.workers.min_count or self.workers.count
        if least > most:
            raise ValueError("workers.min_count is larger than workers.count")
        for count in range(least, most + 1):  # an elastic group may have any of these sizes
            share = count * self.accumulation
            if self.batch_size % share:
                raise ValueError(
                    f"batch_size {self.batch_size} cannot be split over {count} workers x "
                    f"{self.accumulation} micro-batches; take a multiple of {share}"
                )
        window = self.model.get("window_size")
        online = self.model.get("task") == "online"
        if online and window is not None and window > self.data.crop_frames:
            raise ValueError(
                f"model.window_size {window} is larger than data.crop_frames "
                f"{self.data.crop_frames}; no window would fit"
            )
        if self.profiled and self.profiled[0] > self.profiled[1]:
            raise ValueError(f"profile {self.profile} ends before it begins")
        check_json(self.engine.deepspeed, deepspeed_values(self, self.workers.count))
        if self.ema_decay and self.engine.zero_stage == 3:
            raise ValueError("ema_decay needs whole parameters; use engine.zero_stage 0, 1 or 2")
        if self.engine.compile and self.engine.zero_stage == 3:
            raise ValueError("engine.compile needs whole parameters; use zero_stage 0, 1 or 2")
        if self.engine.compile and not hasattr(MODELS[self.model["name"]].model, "compile_parts"):
            raise ValueError(f"engine.compile: {self.model['name']} has no parts to compile")
        return self

    def absolute(self) -> TrainSettings:
        """With absolute paths: workers have other working folders."""
        shards = self.data.shards
        if "://" not in shards:
            shards = str(Path(shards).resolve())
        data = self.data.model_copy(update={"shards": shards})
        return self.model_copy(update={"data": data, "output": self.output.resolve()})

    @property
    def profiled(self) -> tuple[int, int] | None:
        """First and last step of the trace."""
        if self.profile is None:
            return None
        first, _, last = self.profile.partition(":")
        return int(first), int(last)

    @property
    def on_ray(self) -> bool:
        """Whether Ray Train starts the workers; else the run is in the command's own process."""
        return self.workers.count > 1 or self.workers.ray

    @property
    def folder(self) -> Path:
        """Where this run keeps its files."""
        return self.output / self.name


def deepspeed_values(settings: TrainSettings, world: int) -> dict[str, Any]:
    """What the typed settings decide of DeepSpeed's configuration: "section.key" -> value."""
    engine, accumulation = settings.engine, settings.accumulation
    return {
        "train_batch_size": settings.batch_size,
        "train_micro_batch_size_per_gpu": settings.batch_size // world // accumulation,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": settings.optimizer.clip_norm,
        "zero_optimization.stage": engine.zero_stage,
        "fp16.enabled": engine.precision == "float16",
        "bf16.enabled": engine.precision == "bfloat16",
    }
