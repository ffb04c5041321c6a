"""What checkpoints and trials are ranked by: challenge metrics on fixed clips, never a loss.

objective = sum of weight x metric - sum of relative guard violations. A guard that holds costs
nothing, so that among runs which keep their guards the metric alone decides.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, field_validator, model_validator

from reactdist.config import Settings, nearest

OBJECTIVE = "objective"
"""Name under which the value stands among the metrics; higher is better."""

RANKED = (
    "FRCorr", "FRDist", "FRDiv", "FRVar", "FRDvs", "FRSyn", "ACC", "FRCorr_mean", "FRDist_mean",
)  # fmt: skip
"""Metrics that may be ranked by."""

PER_SAMPLE = ("FRDist_mean", "FRVar", "FRSyn")
"""Metrics whose value does not depend on the number of samples."""

BASELINE_OF_LIMITS = "MeanFr"


def check_ranked(name: str) -> str:
    """`name` when it may be ranked by; ValueError with the reason otherwise."""
    if name in RANKED:
        return name
    if any(word in name.lower() for word in ("loss", "kl", "total", "elbo")):
        raise ValueError(
            f"{name!r} is no objective: a loss that contains the KL weight being searched cannot "
            "be compared between trials; use a challenge metric such as FRCorr"
        )
    raise ValueError(f"{name!r} is not a metric; {nearest(name, RANKED)}")


class Guard(Settings):
    """A metric that must not get worse than a limit."""

    metric: str
    """Metric that is guarded."""
    max: float | None = None
    """Largest value that costs nothing."""
    min: float | None = None
    """Smallest value that costs nothing."""
    max_ratio_to_mean_face: float | None = Field(default=None, gt=0)
    """Largest multiple of the value that MeanFr (a frozen mean face) gets on the same clips."""
    weight: float = Field(default=1.0, gt=0)
    """Objective lost when the limit is missed by 100%."""

    @field_validator("metric")
    @classmethod
    def _known(cls, name: str) -> str:
        return check_ranked(name)

    @model_validator(mode="after")
    def _comparable(self) -> Guard:
        # MeanFr is scored with one sample: a sum over ten, or a diversity, would not compare.
        if self.max_ratio_to_mean_face is not None and self.metric not in PER_SAMPLE:
            raise ValueError(
                "max_ratio_to_mean_face is for " + ", ".join(PER_SAMPLE) + f", not {self.metric}"
            )
        return self


class ObjectiveSettings(Settings):
    """A stated combination of challenge metrics."""

    terms: dict[str, float] = Field(default={"FRCorr": 1.0}, min_length=1)
    """Metric -> weight; a negative weight for metrics where lower is better."""
    guards: tuple[Guard, ...] = (
        Guard(metric="FRDist_mean", max_ratio_to_mean_face=1.0),
        Guard(metric="FRDiv", min=1e-6),
    )
    """Default: no farther from the truth than a frozen mean face, and not ten equal samples."""

    @field_validator("terms")
    @classmethod
    def _known(cls, terms: dict[str, float]) -> dict[str, float]:
        for name in terms:
            check_ranked(name)
        return terms

    @property
    def needs_mean_face(self) -> bool:
        """Whether a limit refers to the MeanFr baseline."""
        return any(guard.max_ratio_to_mean_face is not None for guard in self.guards)


def objective(
    metrics: Mapping[str, float],
    settings: ObjectiveSettings,
    mean_face: Mapping[str, float] | None = None,
) -> float:
    """Value of the objective, higher is better; NaN when a ranked metric is undefined.

    Args:
        mean_face: metrics of the MeanFr baseline on the same clips, where a guard refers to them.
    """
    value = sum(weight * metrics[name] for name, weight in settings.terms.items())
    for guard in settings.guards:
        value -= guard.weight * violation(metrics[guard.metric], guard, mean_face)
    return value


def violation(value: float, guard: Guard, mean_face: Mapping[str, float] | None = None) -> float:
    """By what share of its limit a guard is missed; 0 where it holds."""
    missed = 0.0
    upper = [guard.max] if guard.max is not None else []
    if guard.max_ratio_to_mean_face is not None:
        if mean_face is None:
            raise ValueError("a guard refers to MeanFr, whose metrics are not given")
        upper.append(guard.max_ratio_to_mean_face * mean_face[guard.metric])
    for limit in upper:
        missed = max(missed, (value - limit) / max(abs(limit), 1e-12))
    if guard.min is not None:
        missed = max(missed, (guard.min - value) / max(abs(guard.min), 1e-12))
    return missed
