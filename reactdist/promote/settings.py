"""Settings of the promotion gate."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from reactdist.config import Settings, nearest

GATED = ("FRCorr", "FRDist", "FRDiv", "FRVar", "FRSyn", "ACC")
"""Metrics with a value of its own for every item, which a paired comparison needs."""


def _gated(name: str) -> str:
    if name not in GATED:
        raise ValueError(f"{name!r} cannot be gated on; {nearest(name, GATED)}")
    return name


class GuardSettings(Settings):
    """A metric that a candidate must keep."""

    metric: str
    """Metric of the per-item tables."""
    margin: float = Field(default=0.0, ge=0)
    """How much worse it may be, as a share of the reference's own value (0.05: 5%)."""
    against_baselines: bool = True
    """Whether it is also held against the naive baselines when there is no champion yet. Off for
    diversity: uniform noise has the most."""
    min: float | None = None
    """Smallest mean allowed, whatever the reference has."""
    max: float | None = None
    """Largest mean allowed."""

    @field_validator("metric")
    @classmethod
    def _known(cls, name: str) -> str:
        return _gated(name)


class GateSettings(Settings):
    """What a candidate must show before it takes the alias."""

    objective: str = "FRCorr"
    """Metric on which it must beat the champion (or every baseline) by the paired interval."""
    guards: tuple[GuardSettings, ...] = (
        GuardSettings(metric="FRDist", margin=0.05),
        GuardSettings(metric="FRDiv", margin=0.5, against_baselines=False, min=1e-6),
    )
    """Metrics that must not get worse than their margins."""
    baselines: tuple[str, ...] = Field(default=("Random", "MeanSeq", "MeanFr"), min_length=1)
    """What the first candidate of a name must beat."""
    level: float = Field(default=0.95, gt=0.5, lt=1)
    """Level of the intervals."""
    seed: int = Field(default=0, ge=0)
    """Seed of the bootstrap."""
    redraw_top: int = Field(default=3, ge=1)
    """How many of the best runs are drawn again before one is chosen."""
    noise_seed: int = Field(default=7_919, ge=0)
    """Seed of the fresh noise; must differ from the one the search was scored with."""
    reproduction_error: float = Field(default=1e-5, gt=0)
    """Largest relative difference between stored predictions and those of the exported weights."""

    @field_validator("objective")
    @classmethod
    def _known(cls, name: str) -> str:
        return _gated(name)

    @model_validator(mode="after")
    def _no_duplicates(self) -> GateSettings:
        names = [guard.metric for guard in self.guards]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name} is guarded twice")
        if self.objective in names:
            raise ValueError(f"{self.objective} is the objective and a guard")
        return self
