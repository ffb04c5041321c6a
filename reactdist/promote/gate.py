"""The promotion gate: evidence in, checks with numbers out. Nothing here reads or writes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from reactdist.errors import InputError
from reactdist.metrics.intervals import Interval, paired_difference
from reactdist.metrics.suite import METRICS
from reactdist.promote.settings import GateSettings, GuardSettings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Evaluation:
    """A model (or baseline) scored on a split."""

    name: str
    """Run id, `models:/NAME/3`, or the baseline's name."""
    table: pd.DataFrame
    """A row an item: columns `item`, `session`, and one a metric (NaN: undefined)."""
    fingerprint: str
    """Of the data it was trained and chosen on, "" when that is not known."""
    noise_seed: int | None = None
    """Seed of the latent noise; None where there is none."""


@dataclass(frozen=True)
class Evidence:
    """All that the gate looks at."""

    candidate: Evaluation
    references: Sequence[Evaluation]
    """The present champion alone, or the naive baselines when there is none."""
    champion: bool
    """Whether the reference is a champion."""
    fingerprint: str
    """Of the data that all of them were scored on here."""
    split_items: int
    """Items of the full validation split."""
    search_seeds: Collection[int]
    """Noise seeds that the candidate was chosen by."""
    reproduction_error: float | None
    """Largest relative difference of the exported weights' predictions from the stored ones;
    None where nothing was stored to compare with."""


@dataclass(frozen=True)
class Check:
    """One condition of the gate."""

    name: str
    passed: bool
    detail: str
    """What a user reads: the numbers and what was asked of them."""
    numbers: Mapping[str, float] = field(default_factory=dict)


def gate(evidence: Evidence, settings: GateSettings) -> list[Check]:
    """Every check of the gate, in the order they are printed; all must pass.

    Raises:
        InputError: a table lacks a metric, or there is no reference.
    """
    if not evidence.references:
        raise InputError("the gate has nothing to compare with", fix="evaluate the baselines first")
    checks = [
        _same_data(evidence),
        _full_split(evidence),
        _fresh_noise(evidence),
        _reproduced(evidence, settings),
    ]
    comparable = [r for r in evidence.references if _same_items(evidence.candidate, r)]
    checks += [_beats(evidence.candidate, reference, settings) for reference in comparable]
    for guard in settings.guards:
        checks += _limits(evidence.candidate, guard)
        if evidence.champion or guard.against_baselines:
            checks += [_keeps(evidence.candidate, r, guard, settings) for r in comparable]
    return checks


def best_of(redrawn: Sequence[Evaluation], settings: GateSettings) -> Evaluation:
    """The evaluation with the best mean objective; of equal ones the first.

    The best of many trials is optimistic about its own draw of noise, so give evaluations made
    anew with `settings.noise_seed`.
    """
    if not redrawn:
        raise InputError("no candidate to choose from", fix="train or tune first")
    sign = _sign(settings.objective)
    means = [sign * _mean(evaluation, settings.objective) for evaluation in redrawn]
    return redrawn[int(np.nanargmax(means)) if np.isfinite(means).any() else 0]


def relative_error(stored: np.ndarray, again: np.ndarray) -> float:
    """Largest |again - stored| over the stored values' largest magnitude; inf on other shapes."""
    if stored.shape != again.shape:
        return math.inf
    scale = float(np.abs(stored).max(initial=0.0)) or 1.0
    difference = np.abs(again.astype(np.float64) - stored.astype(np.float64))
    return float(difference.max(initial=0.0)) / scale


def _same_data(evidence: Evidence) -> Check:
    here = evidence.fingerprint
    everyone = (evidence.candidate, *evidence.references)
    others = [e for e in everyone if e.fingerprint != here]
    detail = f"all trained and scored on {here[:12]}"
    if others:
        theirs = others[0].fingerprint[:12] or "unknown data"
        detail = f"{others[0].name} was trained on {theirs}, all were scored on {here[:12]}"
    return Check("same data", not others, detail)


def _full_split(evidence: Evidence) -> Check:
    items = len(evidence.candidate.table)
    different = [r for r in evidence.references if not _same_items(evidence.candidate, r)]
    detail = f"{items} of {evidence.split_items} items"
    if different:
        detail += f"; {different[0].name} has other items"
    numbers = {"items": float(items), "split_items": float(evidence.split_items)}
    return Check(
        "full validation split", items == evidence.split_items and not different, detail, numbers
    )


def _fresh_noise(evidence: Evidence) -> Check:
    seed = evidence.candidate.noise_seed
    used = sorted(set(evidence.search_seeds))
    fresh = seed is not None and seed not in used
    detail = f"drawn with seed {seed}, chosen with {', '.join(map(str, used)) or 'none'}"
    return Check("fresh noise", fresh, detail)


def _reproduced(evidence: Evidence, settings: GateSettings) -> Check:
    error, limit = evidence.reproduction_error, settings.reproduction_error
    name = "exported weights reproduce the stored predictions"
    if error is None:
        return Check(name, False, "no stored predictions to compare with")
    detail = f"largest relative difference {error:.1e}, at most {limit:.0e} allowed"
    return Check(name, error <= limit, detail, {"error": error, "limit": limit})


def _beats(candidate: Evaluation, reference: Evaluation, settings: GateSettings) -> Check:
    metric, sign = settings.objective, _sign(settings.objective)
    better_by = _better_by(candidate, reference, metric, settings)
    direction = "higher" if sign > 0 else "lower"
    own, theirs = _mean(candidate, metric), _mean(reference, metric)
    detail = (
        f"{own:.4g} against {theirs:.4g}; better by {_shown(better_by, settings)}, which must "
        f"lie above 0 ({direction} is better)"
    )
    numbers = _numbers(own, theirs, better_by)
    return Check(f"{metric} beats {reference.name}", better_by.low > 0, detail, numbers)


def _keeps(
    candidate: Evaluation, reference: Evaluation, guard: GuardSettings, settings: GateSettings
) -> Check:
    better_by = _better_by(candidate, reference, guard.metric, settings)
    own, theirs = _mean(candidate, guard.metric), _mean(reference, guard.metric)
    allowed = guard.margin * abs(theirs)
    detail = (
        f"{own:.4g} against {theirs:.4g}; better by {_shown(better_by, settings)}, at most "
        f"{allowed:.4g} worse allowed ({guard.margin:.0%})"
    )
    numbers = _numbers(own, theirs, better_by) | {"allowed": allowed}
    # The estimate decides: the interval of a guard says how sure that is.
    passed = better_by.estimate >= -allowed
    return Check(f"{guard.metric} not worse than {reference.name}", passed, detail, numbers)


def _limits(candidate: Evaluation, guard: GuardSettings) -> list[Check]:
    value = _mean(candidate, guard.metric)
    checks = []
    if guard.min is not None:
        detail = f"{value:.4g}, at least {guard.min:.4g} asked"
        numbers = {"value": value, "min": guard.min}
        checks.append(Check(f"{guard.metric} large enough", value >= guard.min, detail, numbers))
    if guard.max is not None:
        detail = f"{value:.4g}, at most {guard.max:.4g} asked"
        numbers = {"value": value, "max": guard.max}
        checks.append(Check(f"{guard.metric} small enough", value <= guard.max, detail, numbers))
    return checks


def _better_by(
    candidate: Evaluation, reference: Evaluation, metric: str, settings: GateSettings
) -> Interval:
    """How much better the candidate is, in the metric's unit, whichever direction is better."""
    own, theirs = _sorted(candidate), _sorted(reference)
    sign = _sign(metric)
    return paired_difference(
        sign * _column(own, candidate, metric),
        sign * _column(theirs, reference, metric),
        own["session"].to_numpy(),
        seed=settings.seed,
        level=settings.level,
    )


def _same_items(a: Evaluation, b: Evaluation) -> bool:
    return list(_sorted(a)["item"]) == list(_sorted(b)["item"])


def _sorted(evaluation: Evaluation) -> pd.DataFrame:
    return evaluation.table.sort_values("item", kind="stable")


def _column(table: pd.DataFrame, evaluation: Evaluation, metric: str) -> np.ndarray:
    if metric not in table:
        raise InputError(
            f"{evaluation.name} has no {metric} per item",
            where="promotion gate",
            fix="evaluate it again with that metric",
        )
    return table[metric].to_numpy(dtype=float)


def _mean(evaluation: Evaluation, metric: str) -> float:
    values = _column(evaluation.table, evaluation, metric)
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


def _sign(metric: str) -> int:
    higher = {m.name: m.higher_is_better for m in METRICS}
    return 1 if higher[metric] else -1


def _shown(interval: Interval, settings: GateSettings) -> str:
    ends = f"{interval.low:.4g}, {interval.high:.4g}"
    return f"{interval.estimate:.4g} [{ends}] ({settings.level:.0%})"


def _numbers(own: float, theirs: float, better_by: Interval) -> dict[str, float]:
    return {
        "candidate": own,
        "reference": theirs,
        "better_by": better_by.estimate,
        "low": better_by.low,
        "high": better_by.high,
    }
