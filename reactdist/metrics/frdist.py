"""FRDist, appropriateness by distance.

FRDist = mean over items of sum over the K predictions of min over appropriate real reactions j of
DTW(action units)/15 + DTW(valence, arousal) + DTW(expressions)/8. Lower is better; 0 and up.
`FRDist_mean` is FRDist / K. Source: REACT 2024 challenge; the published FRD (tslearn's `dtw`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reactdist.metrics.dtw import pack_columns, pack_rows, squared_dtw_kernel
from reactdist.metrics.inputs import Item
from reactdist.schema import AFFECT_SLICE, AU_SLICE, EXPRESSION_SLICE

_affect_kernel = squared_dtw_kernel(2)
_expression_kernel = squared_dtw_kernel(8)
_action_kernel = squared_dtw_kernel(15)

_SLACK = 1 + 1e-6
"""Rounding allowance of a limit: a candidate is given up only when it is worse by more."""


@dataclass(frozen=True)
class _Packed:
    """One clip in the layout of the DTW kernels, an array a group of attributes."""

    affect: np.ndarray
    expressions: np.ndarray
    actions: np.ndarray


def frdist(item: Item, _: object = None) -> dict[str, float]:
    """FRDist of one item: predictions (K,T,25) against its listeners (J,T,25)."""
    distances = nearest_distances(item.predictions, item.listeners)
    return {"FRDist": float(distances.sum())}


def nearest_distances(
    predictions: np.ndarray, listeners: np.ndarray, *, prune: bool = True
) -> np.ndarray:
    """(K,) distance of each prediction (K,T,25) to the nearest of the listeners (J,T,25).

    Pruning is exact: the same numbers to the last bit, with `prune=False` every pair is computed.
    """
    frames = (predictions.shape[1], listeners.shape[1])
    columns = [_pack(clip, pack_columns) for clip in listeners]
    search = _nearest if prune else _nearest_of_all
    return np.array([search(_pack(clip, pack_rows), columns, frames) for clip in predictions])


def _pack(clip: np.ndarray, pack) -> _Packed:  # type: ignore[no-untyped-def]
    return _Packed(
        affect=pack(clip[:, AFFECT_SLICE]),
        expressions=pack(clip[:, EXPRESSION_SLICE]),
        actions=pack(clip[:, AU_SLICE]),
    )


def _total(affect: float, expressions: float, actions: float) -> float:
    return affect + expressions / 8 + actions / 15


def _nearest_of_all(rows: _Packed, columns: list[_Packed], frames: tuple[int, int]) -> float:
    return min(
        _total(
            _dtw(_affect_kernel, rows.affect, column.affect, frames),
            _dtw(_expression_kernel, rows.expressions, column.expressions, frames),
            _dtw(_action_kernel, rows.actions, column.actions, frames),
        )
        for column in columns
    )


def _nearest(rows: _Packed, columns: list[_Packed], frames: tuple[int, int]) -> float:
    """The cheapest group decides the order; the dearer ones run only while they can still win."""
    affect = [_dtw(_affect_kernel, rows.affect, column.affect, frames) for column in columns]
    best = np.inf
    for j in np.argsort(affect, kind="stable"):
        if affect[j] > best:
            break
        expressions = _dtw(
            _expression_kernel,
            rows.expressions,
            columns[j].expressions,
            frames,
            limit=8 * (best - affect[j]),
        )
        so_far = affect[j] + expressions / 8
        if so_far > best:
            continue
        actions = _dtw(
            _action_kernel, rows.actions, columns[j].actions, frames, limit=15 * (best - so_far)
        )
        best = min(best, _total(affect[j], expressions, actions))
    return float(best)


def _dtw(kernel, rows, columns, frames, limit: float = np.inf) -> float:  # type: ignore[no-untyped-def]
    return float(np.sqrt(np.float64(kernel(rows, columns, *frames, limit**2 * _SLACK))))
