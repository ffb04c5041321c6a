"""Confidence intervals of metrics, and whether two runs really differ.

Items of one session (and an item and its mirror) show the same two people, so the unit that is
resampled is the session. NaN is an undefined item: it is left out, here and in `score`.

- `bootstrap_interval`: the mean of per-item values; expanded percentile bootstrap (Hesterberg
  2015, The American Statistician 69:371): plain percentiles are too narrow for few sessions.
- `paired_difference`: the mean of a - b on the same items, by the same bootstrap.
- `jackknife_interval`: for FRDvs, which compares items with each other; a bootstrap would compare
  an item with its own copy. `frdvs.leave_one_session_out` gives its values.
- `metric_intervals`: all of a `score_items` table at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from reactdist.errors import InputError
from reactdist.metrics.frdvs import leave_one_session_out

if TYPE_CHECKING:
    import pandas as pd

NUM_RESAMPLES = 10_000
"""Enough that another seed moves an end by about 2 % of the interval's width."""
_CHUNK = 1_000_000
"""Resampled sessions held at once."""


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval.

    With nothing defined all three are NaN; with one session the ends are -inf and inf.
    """

    low: float
    high: float
    estimate: float

    @property
    def excludes_zero(self) -> bool:
        """True when a difference can be called real at the interval's level."""
        return self.low > 0 or self.high < 0


def bootstrap_interval(
    values: np.ndarray | Sequence[float],
    sessions: np.ndarray | Sequence[object],
    *,
    seed: int,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Interval of the mean of per-item `values` (N,), resampling whole sessions.

    sessions (N,): any label an item, equal for items of one session. Same seed, same interval.

    Raises:
        InputError: lengths differ, or `level` is not between 0 and 1.
    """
    values, groups = _by_session(values, sessions)
    _check_level(level)
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    sums = np.bincount(groups, weights=values)
    counts = np.bincount(groups)
    # The plain mean: what `score` reports, to the last bit.
    estimate = float(values.mean())
    if len(counts) < 2:
        return Interval(-math.inf, math.inf, estimate)
    means = _resampled_means(sums, counts, np.random.default_rng(seed), num_resamples)
    tail = _expanded_tail(level, len(counts))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high), estimate)


def paired_difference(
    a: np.ndarray | Sequence[float],
    b: np.ndarray | Sequence[float],
    sessions: np.ndarray | Sequence[object],
    *,
    seed: int,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Interval of the mean of a - b, per-item values (N,) of two runs on the same items.

    An item undefined in either run is left out. `Interval.excludes_zero` says whether the
    difference is real at `level`.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise InputError(
            f"the runs have {a.shape} and {b.shape} values", fix="compare runs on the same items"
        )
    return bootstrap_interval(a - b, sessions, seed=seed, level=level, num_resamples=num_resamples)


def jackknife_interval(
    estimate: float, left_out: np.ndarray | Sequence[float], *, level: float = 0.95
) -> Interval:
    """Interval of `estimate` from its values (S,) with one session left out each.

    Delete-a-group jackknife (Efron & Tibshirani 1993, ch. 11) with Student's t of S - 1 degrees.
    For a paired difference give the differences of both arguments.
    """
    left_out = np.asarray(left_out, np.float64)
    _check_level(level)
    sessions = len(left_out)
    if not np.isfinite(estimate) or sessions < 2 or not np.isfinite(left_out).all():
        return Interval(-math.inf, math.inf, float(estimate))
    error = math.sqrt((sessions - 1) * float(left_out.var()))
    reach = student_quantile((1 + level) / 2, sessions - 1) * error
    return Interval(estimate - reach, estimate + reach, float(estimate))


def metric_intervals(
    table: pd.DataFrame,
    predictions: Any,
    sessions: np.ndarray | Sequence[object],
    *,
    seed: int,
    level: float = 0.95,
    frames: int | None = None,
    binarize_au: bool = False,
) -> dict[str, Interval]:
    """Interval of every metric of a `score_items` table (N rows), FRDvs by the jackknife.

    predictions (N,K,T,25) are those that were scored, with the same `binarize_au` and on the first
    `frames` frames (default all); None leaves FRDvs without interval. sessions (N,) are labels in
    the table's order.
    """
    intervals = {}
    for name in table.select_dtypes("float").columns:
        values = table[name].to_numpy()
        if name == "FRDvs":
            if predictions is None:
                continue
            left_out = leave_one_session_out(
                predictions, sessions, frames=frames, binarize_au=binarize_au
            )
            intervals[name] = jackknife_interval(float(values.mean()), left_out, level=level)
        else:
            intervals[name] = bootstrap_interval(values, sessions, seed=seed, level=level)
    return intervals


def student_quantile(probability: float, degrees: int) -> float:
    """Quantile of Student's t, by bisection on its numerically integrated density.

    Substituting t = sqrt(v) tan(u) turns the density into cos(u)^(v - 1), smooth and bounded.
    """
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(math.pi)
    nodes, weights = np.polynomial.legendre.leggauss(64)

    def cumulative(angle: float) -> float:
        points = angle / 2 * (nodes + 1)
        return 0.5 + scale * angle / 2 * float(weights @ np.cos(points) ** (degrees - 1))

    low, high = -math.pi / 2, math.pi / 2
    while high - low > 1e-14:
        middle = (low + high) / 2
        low, high = (middle, high) if cumulative(middle) < probability else (low, middle)
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _by_session(
    values: np.ndarray | Sequence[float], sessions: np.ndarray | Sequence[object]
) -> tuple[np.ndarray, np.ndarray]:
    """Defined values and the number of each one's session; sessions without any are dropped."""
    values = np.asarray(values, np.float64)
    labels = np.asarray(sessions)
    if values.ndim != 1 or labels.shape != values.shape:
        raise InputError(
            f"{values.shape} values and {labels.shape} session labels",
            fix="one of each an item",
        )
    defined = ~np.isnan(values)
    _, groups = np.unique(labels[defined], return_inverse=True)
    return values[defined], groups


def _resampled_means(
    sums: np.ndarray, counts: np.ndarray, generator: np.random.Generator, num_resamples: int
) -> np.ndarray:
    sessions = len(sums)
    means = np.empty(num_resamples)
    step = max(1, _CHUNK // sessions)
    for start in range(0, num_resamples, step):
        size = min(step, num_resamples - start)
        drawn = generator.integers(sessions, size=(size, sessions))
        means[start : start + size] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


def _expanded_tail(level: float, sessions: int) -> float:
    """Share of resamples cut at each end: a little less than (1 - level) / 2 for few sessions."""
    reach = student_quantile((1 + level) / 2, sessions - 1)
    return NormalDist().cdf(-math.sqrt(sessions / (sessions - 1)) * reach)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"confidence level {level} is impossible", fix="give 0.95 or so")
