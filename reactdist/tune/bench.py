"""Random, TPE and TPE+ASHA compared on recorded curves: `reactdist bench tune`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reactdist.evaluate.objective import OBJECTIVE
from reactdist.metrics.intervals import Interval, bootstrap_interval
from reactdist.tune.curves import CURVES, read_curves, recorded_study
from reactdist.tune.replay import Curves, Moment, replay
from reactdist.tune.settings import StudySettings

if TYPE_CHECKING:
    pass

REFERENCE = "random"
METHODS: Mapping[str, Mapping[str, Any]] = {
    REFERENCE: {"searcher": "random", "scheduler": "fifo"},
    "TPE": {"searcher": "tpe", "scheduler": "fifo"},
    "TPE + ASHA": {"searcher": "tpe", "scheduler": "asha"},
}
WORKERS = 2
POINTS = 200
"""Places along an axis at which best-so-far is read off."""
NUM_RESAMPLES = 2000


@dataclass(frozen=True)
class Along:
    """Best-so-far against something that is spent, mean over the seeds."""

    spent: np.ndarray
    """(P,) trials or optimizer steps."""
    mean: np.ndarray
    """(P,) mean over the seeds of the best objective so far."""
    low: np.ndarray
    high: np.ndarray
    """(P,) each: 95% bootstrap interval of the mean."""


@dataclass(frozen=True)
class Searched:
    """One method over all seeds."""

    method: str
    by_steps: Along
    by_trials: Along
    final: Interval
    """Best objective when the budget is spent."""
    trials: float
    """Trials that had ended then, mean over the seeds."""
    share: Interval
    """Steps until the mean best-so-far reaches the reference's final mean, over the budget; NaN
    when it never does. Its interval resamples the seeds of both."""
    reached: float
    """Share of the seeds that reach it within the budget."""


@dataclass(frozen=True)
class Comparison:
    """All methods on one set of recorded curves."""

    configurations: int
    budget_steps: int
    seeds: int
    workers: int
    best: float
    """Best objective of all recorded configurations."""
    levels: Sequence[float]
    """Quartiles of the recorded configurations' best objectives."""
    repeat_sd: float
    """Standard deviation between two seeds of one configuration."""
    between_sd: float
    """Standard deviation between configurations."""
    methods: Sequence[Searched]


def compare_searches(
    seeds: int, path: Path = CURVES, on_done: Callable[[], None] = lambda: None
) -> Comparison:
    """Replay every method over `seeds` seeds with the step budget of the study's own trials."""
    study = recorded_study()
    both = read_curves(study.space, path)
    curves = {config: curve for (config, seed), curve in both.items() if seed == 0}
    longest = max(curve[-1].step for curve in curves.values())
    budget = study.trials * longest
    histories: dict[str, list[list[Moment]]] = {}
    for method, kinds in METHODS.items():
        histories[method] = []
        for seed in range(seeds):
            histories[method].append(
                replay(_with(study, kinds, seed), curves, budget_steps=budget, workers=WORKERS)
            )
            on_done()
    repeat, between = _spreads(curves, {c: v for (c, seed), v in both.items() if seed == 1})
    best = sorted(_best(curve) for curve in curves.values())
    return Comparison(
        configurations=len(curves),
        budget_steps=budget,
        seeds=seeds,
        workers=WORKERS,
        best=best[-1],
        levels=[float(v) for v in np.quantile(best, [0.25, 0.5, 0.75])],
        repeat_sd=repeat,
        between_sd=between,
        methods=[_searched(method, histories, budget, study.trials) for method in METHODS],
    )


def _with(study: StudySettings, kinds: Mapping[str, str], seed: int) -> StudySettings:
    searcher = study.searcher.model_copy(update={"kind": kinds["searcher"], "seed": seed})
    scheduler = study.scheduler.model_copy(update={"kind": kinds["scheduler"]})
    return study.model_copy(update={"searcher": searcher, "scheduler": scheduler})


def _searched(
    method: str, histories: Mapping[str, list[list[Moment]]], budget: int, trials: int
) -> Searched:
    mine = histories[method]
    steps = np.linspace(0, budget, POINTS + 1)[1:]
    values = np.array([_read(h, [m.steps for m in h], steps) for h in mine])
    reference = np.array([_read(h, [m.steps for m in h], steps)[-1] for h in histories[REFERENCE]])
    most = min(h[-1].ended for h in mine)
    counts = np.arange(1, most + 1)
    by_trials = np.array([_read(h, [m.ended for m in h], counts) for h in mine])
    seeds = np.arange(len(mine))
    return Searched(
        method=method,
        by_steps=_along(steps, values),
        by_trials=_along(counts, by_trials),
        final=bootstrap_interval(values[:, -1], seeds, seed=0),
        trials=float(np.mean([h[-1].ended for h in mine])),
        share=_share(values, reference, steps / budget),
        reached=float(np.mean(values[:, -1] >= reference.mean())),
    )


def _read(history: Sequence[Moment], spent: Sequence[int], at: np.ndarray) -> np.ndarray:
    """(P,) best objective when `at` of something was spent; NaN before the first evaluation."""
    best = np.array([np.nan, *(moment.best for moment in history)])
    return best[np.searchsorted(np.asarray(spent), at, side="right")]


def _along(spent: np.ndarray, values: np.ndarray) -> Along:
    seeds = np.arange(len(values))
    intervals = [
        bootstrap_interval(column, seeds, seed=0, num_resamples=NUM_RESAMPLES)
        if np.isfinite(column).all()
        else Interval(np.nan, np.nan, np.nan)
        for column in values.T
    ]
    return Along(
        spent,
        np.array([i.estimate for i in intervals]),
        np.array([i.low for i in intervals]),
        np.array([i.high for i in intervals]),
    )


def _share(values: np.ndarray, reference: np.ndarray, spent: np.ndarray) -> Interval:
    """Share of the budget at which the mean of `values` (S, P) reaches the mean of `reference`."""
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(NUM_RESAMPLES):
        rows = generator.integers(len(values), size=(2, len(values)))
        drawn.append(_reaches(values[rows[0]].mean(0), reference[rows[1]].mean(), spent))
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    estimate = _reaches(values.mean(0), reference.mean(), spent)
    return Interval(float(low), float(high), estimate)


def _reaches(mean: np.ndarray, target: float, spent: np.ndarray) -> float:
    there = np.flatnonzero(mean >= target)
    return float(spent[there[0]]) if len(there) else float("inf")


def _best(curve: Sequence[Any]) -> float:
    return max(point.metrics[OBJECTIVE] for point in curve)


def _spreads(curves: Curves, again: Curves) -> tuple[float, float]:
    """Standard deviation between two seeds of a configuration, and between configurations."""
    pairs = [_best(curves[config]) - _best(curve) for config, curve in again.items()]
    repeat = float(np.sqrt(np.mean(np.square(pairs)) / 2)) if pairs else float("nan")
    return repeat, float(np.std([_best(curve) for curve in curves.values()], ddof=1))
