"""How much faster the suite is than the plain arithmetic: same process, same data, one core.

Times are processor seconds of one thread (`time.thread_time`), the least of a few repeats, so that
a busy machine disturbs little; the JIT has compiled before anything is timed. Every item costs the
plain arithmetic the same, so it is timed on one and both are stated an item.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reactdist.metrics.frdist import nearest_distances
from reactdist.metrics.inputs import Inputs, Item, check_inputs
from reactdist.metrics.plain import PLAIN
from reactdist.metrics.registry import Metric
from reactdist.metrics.suite import METRICS
from reactdist.schema import AU_SLICE, EXPRESSION_SLICE, NUM_ATTRIBUTES, NUM_SAMPLES

PUBLISHED = ("FRCorr", "FRDist", "FRDiv", "FRVar", "FRDvs", "FRSyn")
"""The suite whose total is compared: ACC is ours and nobody else computes it."""
TIMED_ITEMS = 4
"""Items the fast suite is timed on; pruning makes them differ a little."""
REPEATS = 3


@dataclass(frozen=True)
class Row:
    """Seconds of one core an item; `unpruned`: every DTW computed whole (else equal to `fast`)."""

    name: str
    plain: float
    fast: float
    unpruned: float


def measure(inputs: Inputs, on_row: Callable[[], None] = lambda: None) -> list[Row]:
    """A row a metric, then `whole suite` (their sum without ACC).

    Set OMP_NUM_THREADS=1 before numpy is imported: the comparison is one core against one.
    """
    rows = []
    for metric in METRICS:
        rows.append(_row(metric, inputs))
        on_row()
    suite = [row for row in rows if row.name in PUBLISHED]
    total = Row(
        "whole suite",
        plain=sum(row.plain for row in suite),
        fast=sum(row.fast for row in suite),
        unpruned=sum(row.unpruned for row in suite),
    )
    return [*rows, total]


def made_up(
    items: int = 16,
    samples: int = NUM_SAMPLES,
    frames: int = 750,
    neighbours: int = 12,
    seed: int = 0,
) -> Inputs:
    """Seeded clips that move as people do, with `neighbours` appropriate clips an item.

    Random walks around a level of their own: action units on where the walk is high, expressions
    a softmax. Neighbours differ as real ones do, which is what pruning lives on.
    """
    generator = np.random.default_rng(seed)
    matrix = _neighbours(generator, items, neighbours)
    predictions = motion(generator, items, samples, frames)
    listeners, speakers = motion(generator, items, frames), motion(generator, items, frames)
    return check_inputs(predictions, listeners, speakers, matrix)


def write_problem(
    folder: Path,
    made: Callable[..., np.ndarray],
    *,
    items: int,
    samples: int,
    frames: int,
    neighbours: int,
    seed: int = 0,
    on_item: Callable[[], None] = lambda: None,
) -> None:
    """predictions, listeners, speakers and neighbours as npy files that `reactdist score` takes.

    made: `motion` or `noise`, called an item at a time: the files may exceed the memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    np.save(folder / "neighbours.npy", _neighbours(generator, items, neighbours))
    shapes = {"predictions": (samples, frames), "listeners": (frames,), "speakers": (frames,)}
    files = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", np.float32, (items, *shape, NUM_ATTRIBUTES)
        )
        for name, shape in shapes.items()
    }
    for item in range(items):
        for name, shape in shapes.items():
            files[name][item] = made(generator, *shape)
        on_item()


def noise(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """(*shape, 25) float32, uniform in [0, 1): nothing about it can be pruned."""
    return generator.random((*shape, NUM_ATTRIBUTES), np.float32)


def motion(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """(*shape, 25) float32 that moves as people do (see `made_up`)."""
    walk = np.cumsum(generator.normal(size=(*shape, 25)), axis=-2) * 0.05
    walk += generator.normal(size=(*shape[:-1], 1, 25)) - walk.mean(axis=-2, keepdims=True)
    attributes = np.tanh(walk).astype(np.float32)
    attributes[..., AU_SLICE] = walk[..., AU_SLICE] > 0.5
    weights = np.exp(walk[..., EXPRESSION_SLICE])
    attributes[..., EXPRESSION_SLICE] = weights / weights.sum(axis=-1, keepdims=True)
    return attributes


def _neighbours(generator: np.random.Generator, items: int, neighbours: int) -> np.ndarray:
    """(N, N) bool, `neighbours` a row, the diagonal among them."""
    matrix = np.eye(items, dtype=bool)
    for row in range(items):
        others = np.delete(np.arange(items), row)
        matrix[row, generator.choice(others, min(neighbours, items) - 1, replace=False)] = True
    return matrix


def _row(metric: Metric, inputs: Inputs) -> Row:
    prepared = metric.prepare(inputs) if metric.prepare else None
    items = [inputs.item(row) for row in range(min(len(inputs), TIMED_ITEMS))]
    fast = _seconds(partial(_each, metric.per_item, items, prepared)) / len(items)
    if metric.prepare:
        fast += _seconds(partial(metric.prepare, inputs)) / len(inputs)
    unpruned = fast
    if metric.name == "FRDist":
        unpruned = _seconds(partial(_each, _whole_distances, items, None)) / len(items)
    plain = PLAIN[metric.name]
    few = Item(0, items[0].predictions[:1], items[0].listeners[:1], items[0].speaker)
    plain(few, inputs)  # tslearn compiles on its first call
    return Row(metric.name, _seconds(partial(plain, items[0], inputs), 1), fast, unpruned)


def _whole_distances(item: Item, _: Any) -> np.ndarray:
    return nearest_distances(item.predictions, item.listeners, prune=False)


def _each(work: Callable[[Item, Any], Any], items: Sequence[Item], prepared: Any) -> None:
    for item in items:
        work(item, prepared)


def _seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Processor seconds of this thread, the least of `repeats` after one run to warm up."""
    if repeats > 1:
        work()
    taken = []
    for _ in range(repeats):
        start = time.thread_time()
        work()
        taken.append(time.thread_time() - start)
    return min(taken)
