"""Settings of a study: a base run, the space around it, how it is searched."""

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
from reactdist.evaluate.objective import check_ranked
from reactdist.train.settings import TrainSettings

_SHORT_RANGE = 64


class Range(Settings):
    """Values of one searched key: exactly one of the fields."""

    choice: tuple[Any, ...] | None = None
    """One of these."""
    uniform: tuple[float, float] | None = None
    """A real number between the two."""
    loguniform: tuple[float, float] | None = None
    """A positive real number, uniform in its logarithm."""
    integer: tuple[int, int] | None = None
    """An integer from the first to the second, both included."""

    @model_validator(mode="after")
    def _one(self) -> Range:
        kinds = (self.choice, self.uniform, self.loguniform, self.integer)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("give exactly one of choice, uniform, loguniform, integer")
        bounds = self.uniform or self.loguniform or self.integer
        if bounds and bounds[0] >= bounds[1]:
            raise ValueError("the lower end must be below the upper end")
        if self.loguniform and self.loguniform[0] <= 0:
            raise ValueError("loguniform needs positive ends")
        if self.choice is not None and not self.choice:
            raise ValueError("choice is empty")
        return self

    def ends(self) -> tuple[Any, ...]:
        """Where conditions between keys are checked: every choice, every integer of a short range,
        both ends of another."""
        if self.integer and self.integer[1] - self.integer[0] < _SHORT_RANGE:
            return tuple(range(self.integer[0], self.integer[1] + 1))
        return self.choice or self.uniform or self.loguniform or self.integer or ()

    def holds(self, value: Any) -> bool:
        """Whether `value` is one of them."""
        if self.choice is not None:
            return value in self.choice
        low, *_, high = self.ends()
        return bool(low <= value <= high)


class SearcherSettings(Settings):
    """Who proposes the next configuration."""

    kind: Literal["random", "grid", "tpe"] = "tpe"
    """`tpe`: Optuna's multivariate tree-structured Parzen estimator."""
    seed: int = 0
    """Seed of the proposals."""
    startup_trials: PositiveInt = 10
    """TPE: random proposals before the model of the space is used."""
    first: tuple[dict[str, Any], ...] = ()
    """Configurations tried before all others (key -> value), as a guess."""
    warm_start: Path | None = None
    """Folder of an earlier study over the same keys: TPE is told of its trials."""


class SchedulerSettings(Settings):
    """Who is stopped early."""

    kind: Literal["fifo", "median", "asha"] = "asha"
    """`fifo` stops nobody."""
    grace_epochs: PositiveInt = 1
    """Epochs every trial may run."""
    reduction_factor: float = Field(default=3.0, gt=1)
    """ASHA: one in so many goes on at every rung."""

    @model_validator(mode="before")
    @classmethod
    def _no_populations(cls, values: Any) -> Any:
        kind = values.get("kind") if isinstance(values, dict) else None
        if kind in ("pbt", "pb2", "bohb", "hyperband"):
            raise ValueError(
                f"scheduler.kind {kind!r} is not offered: it exchanges Tune's own checkpoints, and "
                "a trial here resumes from its run folder, so nothing would be exchanged; use asha"
            )
        return values


class TrialSettings(Settings):
    """What a trial takes."""

    gpus: NonNegativeFloat = 0.0
    """GPUs an in-process trial reserves; a fraction puts several small models on one card. A Ray
    Train group (base.workers.count above 1) takes one a worker, see base.workers.gpu."""
    max_concurrent: PositiveInt | None = None
    """Most trials at a time; null: as many as the cluster holds."""
    max_failures: NonNegativeInt = 1
    """Times a trial whose process died is started again."""


class LimitSettings(Settings):
    """When the search ends before all trials were run."""

    wall_s: float | None = Field(default=None, gt=0)
    """Wall time of one `tune` command, seconds."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """GPU-hours of all trials together: the time each ran times the GPUs it reserves."""
    core_hours: float | None = Field(default=None, gt=0)
    """Core-hours of all trials together, for machines without GPUs."""
    patience_trials: PositiveInt | None = None
    """Trials that may come in (counted from their first result) without the best getting better;
    then the search ends, and trials that still run with it."""


class StudySettings(Settings):
    """One study."""

    study: str = "study"
    """Name: folder under base.output, MLflow parent run, prefix of its trials."""
    base: TrainSettings = TrainSettings()
    """The run that the space varies."""
    space: dict[str, Range] = Field(
        default={
            "loss.kl_weight": Range(loguniform=(1e-6, 1e-2)),
            "model.window_size": Range(choice=(8, 16, 32)),
            "model.latent_dim": Range(choice=(64, 128, 256)),
        },
        min_length=1,
    )
    """Dotted key of `base` -> its values."""
    trials: PositiveInt = 20
    """Configurations tried; ignored for `grid`, which tries every combination once."""
    pareto: dict[str, Literal["max", "min"]] = Field(
        default={"FRCorr": "max", "FRDist": "min"}, min_length=2
    )
    """Metrics whose trade-off is shown: no trial of the Pareto set is beaten in all of them."""
    searcher: SearcherSettings = SearcherSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    trial: TrialSettings = TrialSettings()
    limits: LimitSettings = LimitSettings()

    @field_validator("pareto")
    @classmethod
    def _ranked(cls, metrics: dict[str, str]) -> dict[str, str]:
        for name in metrics:
            check_ranked(name)
        return metrics

    @model_validator(mode="after")
    def _check_together(self) -> StudySettings:
        if self.searcher.warm_start is not None and self.searcher.kind != "tpe":
            raise ValueError(
                f"searcher.warm_start is for tpe; {self.searcher.kind} does not learn from trials"
            )
        workers = self.base.workers
        if self.trial.gpus and (workers.count > 1 or workers.ray):
            raise ValueError("trial.gpus is for trials of one process; use base.workers.gpu")
        return self
