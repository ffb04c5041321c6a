"""FRDist, appropriateness by distance.

FRDist = mean over items of sum over the K predictions of min over appropriate real reactions j of
DTW(action units)/15 + DTW(valence, arousal) + DTW(expressions)/8. Lower is better; 0 and up.
`FRDist_mean` is FRDist / K. Source: REACT 2024 challenge; the published FRD (tslearn's `dtw`).

The minimum is searched best-first and exactly: lower bounds order the candidates, the groups that
cost least are computed first, and a DTW stops when its candidate can no longer win.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reactdist.metrics.dtw import box_bound, pack_columns, pack_rows, squared_dtw_kernel
from reactdist.metrics.inputs import Item
from reactdist.schema import AFFECT_SLICE, AU_SLICE, EXPRESSION_SLICE


@dataclass(frozen=True)
class Group:
    """Attributes that are warped together; their DTW is divided by `divisor`."""

    attributes: slice
    divisor: int
    kernel: Callable[..., Any]


GROUPS = (
    Group(AFFECT_SLICE, 1, squared_dtw_kernel(2)),
    Group(EXPRESSION_SLICE, 8, squared_dtw_kernel(8)),
    Group(AU_SLICE, 15, squared_dtw_kernel(15)),
)
"""In the order of what they cost to compute."""
_ROUNDING = 1 + 1e-6
"""A limit is squared and divided in float64; the kernel compares in float32."""


@dataclass(frozen=True)
class _Part:
    """One group of attributes of a clip as the kernels read it; low, high (D,) is its range."""

    rows: np.ndarray
    columns: np.ndarray
    low: np.ndarray
    high: np.ndarray
    frames: int


def frdist(item: Item, _: object = None) -> dict[str, float]:
    """FRDist of one item: predictions (K,T,25) against its listeners (J,T,25)."""
    distances = nearest_distances(item.predictions, item.listeners)
    return {"FRDist": float(distances.sum())}


def nearest_distances(
    predictions: np.ndarray, listeners: np.ndarray, *, prune: bool = True
) -> np.ndarray:
    """(K,) distance of each prediction (K,T,25) to the nearest of the listeners (J,T,25).

    Pruning changes no bit of the result; with `prune=False` every pair is computed whole.
    """
    candidates = [_pack(clip) for clip in listeners]
    search = _search if prune else _exhaust
    return np.array([search(_pack(clip), candidates) for clip in predictions])


def _pack(clip: np.ndarray) -> list[_Part]:
    parts = [np.ascontiguousarray(clip[:, group.attributes], np.float32) for group in GROUPS]
    return [
        _Part(pack_rows(part), pack_columns(part), part.min(axis=0), part.max(axis=0), len(part))
        for part in parts
    ]


def _exhaust(prediction: list[_Part], candidates: Sequence[list[_Part]]) -> float:
    nothing = np.zeros(len(prediction[0].rows[0]))
    totals = []
    for candidate in candidates:
        total = 0.0
        for group, mine, theirs in zip(GROUPS, prediction, candidate, strict=True):
            total += _distance(group, mine, theirs, np.inf, nothing)
        totals.append(total)
    return min(totals)


def _search(prediction: list[_Part], candidates: Sequence[list[_Part]]) -> float:
    """A* over (candidate, groups computed): the first complete candidate popped is the nearest."""
    floors = np.empty((len(candidates), len(GROUPS) + 1))
    to_come = [[np.empty(0)] * len(GROUPS) for _ in candidates]
    for j, candidate in enumerate(candidates):
        for g, (group, mine, theirs) in enumerate(zip(GROUPS, prediction, candidate, strict=True)):
            least, to_come[j][g] = box_bound(mine.rows, mine.frames, theirs.low, theirs.high)
            also, _ = box_bound(theirs.rows, theirs.frames, mine.low, mine.high)
            floors[j, g] = np.sqrt(max(least, also)) / group.divisor
    floors[:, -1] = 0
    # floors[j, g]: what the groups from g on must add.
    floors = floors[:, ::-1].cumsum(axis=1)[:, ::-1]
    best = np.inf
    queue = [(floors[j, 0], j, 0, 0.0) for j in range(len(candidates))]
    heapq.heapify(queue)
    while True:
        bound, j, g, known = heapq.heappop(queue)
        if g == len(GROUPS):
            return float(bound)
        limit = best - known - floors[j, g + 1]
        known += _distance(GROUPS[g], prediction[g], candidates[j][g], limit, to_come[j][g])
        if known == np.inf:
            continue
        if g + 1 == len(GROUPS):
            best = min(best, known)
        heapq.heappush(queue, (known + floors[j, g + 1], j, g + 1, known))


def _distance(group: Group, mine: _Part, theirs: _Part, limit: float, to_come: np.ndarray) -> float:
    """DTW of one group over its divisor; infinity when it must exceed `limit`."""
    squared_limit = (max(limit, 0.0) * group.divisor) ** 2 * _ROUNDING
    squared = group.kernel(
        mine.rows, theirs.columns, mine.frames, theirs.frames, squared_limit, to_come
    )
    return float(np.sqrt(np.float64(squared))) / group.divisor
