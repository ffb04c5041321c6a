"""Dynamic time warping of one pair of clips, exact, by anti-diagonals in vector registers.

DTW(a, b) = sqrt(min over warping paths of the summed squared Euclidean distances), the definition
of tslearn's `dtw` and of the published FRDist.

A row-by-row table has a serial chain (each cell waits for its left neighbour). Along an
anti-diagonal no cell depends on another, so a strip of STRIP rows is walked diagonal by diagonal:
row r of the strip is at column g - r, which makes every load contiguous once b is stored reversed.
Cells left or right of the table read padding so far away that no path enters them.

Letters: S rows of a (frames), T columns (frames of b), D attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import uintp

from reactdist.metrics.jit import kernel

STRIP = 64
"""Rows walked together; a multiple of every vector width, and D * STRIP floats stay in L1."""
FAR = np.float32(1e17)
"""Padding value: its square times 25 attributes is finite in float32, and no path pays it."""
CACHE_LINE = 16
"""float32 values in 64 bytes."""
_SAFE = 1 - 1e-4
"""Far more than the rounding of a float32 sum over a path."""


def pack_rows(clip: np.ndarray) -> np.ndarray:
    """(S, D) -> (D, S rounded up to a strip) float32, zero-padded: the `rows` of the kernel."""
    frames, attributes = clip.shape
    packed = _aligned(attributes, -(-frames // STRIP) * STRIP, np.float32(0))
    packed[:, :frames] = clip.T
    return packed


def pack_columns(clip: np.ndarray) -> np.ndarray:
    """(T, D) -> (D, STRIP + T + STRIP) float32, reversed in time: the `columns` of the kernel."""
    frames, attributes = clip.shape
    packed = _aligned(attributes, frames + 2 * STRIP, FAR)
    packed[:, STRIP : STRIP + frames] = clip.T[:, ::-1]
    return packed


def _aligned(rows: int, columns: int, fill: np.float32) -> np.ndarray:
    """(rows, columns) float32 that starts at a cache line: loads across two lines cost double."""
    room = np.empty(rows * columns + CACHE_LINE, np.float32)
    start = -(room.ctypes.data // room.itemsize) % CACHE_LINE
    array = room[start : start + rows * columns].reshape(rows, columns)
    array[:] = fill
    return array


def squared_dtw_kernel(attributes: int) -> Callable[..., Any]:
    """The kernel for a fixed number of attributes (fixed, so that the compiler unrolls the sum).

    It is called as `kernel(rows, columns, num_rows, num_columns, limit, to_come)` with packed
    float32 clips and returns DTW squared as float32, or infinity once no path can stay at or
    under `limit`: every path crosses the last row of every strip, and the rows after strip s cost
    at least `to_come[s]` (zeros, or `box_bound`).
    """

    @kernel
    def squared_dtw(
        rows: np.ndarray,
        columns: np.ndarray,
        num_rows: int,
        num_columns: int,
        limit: float,
        to_come: np.ndarray,
    ) -> np.float32:
        infinity = np.float32(np.inf)
        # above[j + 1]: the cell of column j in the last row of the strip above.
        above = np.full(num_columns + 2 * STRIP, infinity, np.float32)
        above[0] = np.float32(0)  # the corner every path starts from
        older = np.empty(STRIP + 1, np.float32)  # diagonal g - 2; slot 0 is the row above
        old = np.empty(STRIP + 1, np.float32)  # diagonal g - 1
        now = np.empty(STRIP + 1, np.float32)
        for strip in range((num_rows + STRIP - 1) // STRIP):
            first_row = uintp(strip * STRIP)
            last = min(STRIP, num_rows - strip * STRIP) - 1
            old[:] = infinity
            older[:] = infinity
            older[0] = above[0]
            above[0] = infinity
            least = infinity
            for g in range(num_columns + last):
                # Unsigned indices: a signed one could wrap, and that stops vectorisation.
                shift = uintp(STRIP + num_columns - 1 - g)
                old[0] = above[uintp(g + 1)]
                for signed_row in range(STRIP):
                    row = uintp(signed_row)
                    cost = np.float32(0)
                    for signed_attribute in range(attributes):
                        attribute = uintp(signed_attribute)
                        step = rows[attribute, first_row + row] - columns[attribute, shift + row]
                        cost += step * step
                    below = row + uintp(1)
                    now[below] = cost + min(min(old[row], old[below]), older[row])
                column = g - last
                if column >= 0:
                    value = now[uintp(last + 1)]
                    above[uintp(column + 1)] = value
                    least = min(least, value)
                older, old, now = old, now, older
            if least + to_come[strip] > limit:
                return infinity
        return above[uintp(num_columns)]

    return squared_dtw


@kernel
def box_bound(
    clip: np.ndarray, frames: int, low: np.ndarray, high: np.ndarray
) -> tuple[float, np.ndarray]:
    """What warping a packed `clip` (D, at least T) onto any clip within a box must cost.

    Each frame is matched with some frame of the other clip, whose attributes lie in
    [low, high] (D,), so it costs at least its squared distance to the box (LB_Keogh without a
    window). Returns the sum over the T frames, and (strips,) the sum over the frames after each
    strip, both a little low, so that they stay bounds of a float32 sum.
    """
    strips = (frames + STRIP - 1) // STRIP
    costs = np.zeros(strips * STRIP, np.float32)
    for attribute in range(len(low)):
        series = clip[attribute]
        bottom, top = low[attribute], high[attribute]
        for t in range(frames):
            outside = max(series[t] - top, np.float32(0)) + max(bottom - series[t], np.float32(0))
            costs[t] += outside * outside
    to_come = np.zeros(strips)
    total = 0.0
    for strip in range(strips - 1, -1, -1):
        to_come[strip] = total * _SAFE
        for t in range(strip * STRIP, min((strip + 1) * STRIP, frames)):
            total += costs[t]
    return total * _SAFE, to_come
