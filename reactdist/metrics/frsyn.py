"""FRSyn, synchrony of a reaction with the speaker.

For lags -49..49 frames the prediction and the speaker are cut to their overlap, Pearson's
correlation is taken for each attribute and averaged; FRSyn is the absolute lag of the peak,
averaged over predictions. Lower is better; 0 to 49. Source: REACT 2024 challenge (TLCC).

Corrected against the published code, which scores the first prediction only and lets a constant
attribute decide (its correlation is NaN and argmax takes the first NaN): here all K predictions
count, an attribute counts only if it varies on both sides in every overlap, a tie goes to the
smaller lag, and where no attribute is left the prediction is undefined. `published_FRSyn` is the
published arithmetic, NaN included.
"""

from __future__ import annotations

import numpy as np
from numba import uintp

from reactdist.metrics.inputs import Item
from reactdist.metrics.jit import kernel

MAX_LAG = 49
"""frames; the published 2 s at 25 frames/s, less one."""
NUM_LAGS = 2 * MAX_LAG + 1
_TIE = 1e-9
"""Peaks closer than this are one peak (periodic motion): rounding must not choose."""
_FAINT = 1e-6
"""Share of a series' variation under which running sums lose digits in an overlap."""


def frsyn(item: Item, _: object = None) -> dict[str, float]:
    """FRSyn and published_FRSyn of one item: predictions (K,T,25) against its speaker (T,25).

    FRSyn is the mean over predictions that have a varying attribute, NaN when none has, or when
    the clip is shorter than two frames more than the largest lag.
    """
    if len(item.speaker) < MAX_LAG + 2:
        return {"FRSyn": float("nan"), "published_FRSyn": float("nan")}
    lags, published = synchrony_lags(item.predictions, item.speaker)
    defined = lags[~np.isnan(lags)]
    return {
        "FRSyn": float(defined.mean()) if len(defined) else float("nan"),
        "published_FRSyn": float(published[0]),
    }


def synchrony_lags(predictions: np.ndarray, speaker: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Absolute peak lags (K,) in frames: ours (NaN when undefined) and the published ones.

    predictions (K,T,25), speaker (T,25), T at least 51.
    """
    mine = _rows(predictions)  # (K, 25, T)
    theirs = _rows(speaker[None])[0]  # (25, T)
    correlations = lagged_correlations(mine, theirs)  # (K, 25, 99), NaN where a side is constant
    varies = ~np.isnan(correlations).any(axis=2)  # (K, 25)
    ours = np.full(len(predictions), np.nan)
    for k in np.flatnonzero(varies.any(axis=1)):
        mean = correlations[k, varies[k]].mean(axis=0)
        ours[k] = np.abs(np.flatnonzero(mean >= mean.max() - _TIE) - MAX_LAG).min()
    # The published code keeps its correlations in float32; argmax takes the first NaN, else peak.
    mean = correlations.astype(np.float32).mean(axis=1)
    return ours, np.abs(np.argmax(mean, axis=1) - MAX_LAG).astype(np.float64)


def _rows(clips: np.ndarray) -> np.ndarray:
    """(M, T, 25) -> (M, 25, T) float64."""
    return np.ascontiguousarray(clips.transpose(0, 2, 1), dtype=np.float64)


@kernel
def lagged_correlations(predictions: np.ndarray, speaker: np.ndarray) -> np.ndarray:
    """(K, 25, 99) Pearson's r of predictions (K, 25, T) and speaker (25, T) at lags -49..49.

    At lag l > 0 frame t + l of the prediction meets frame t of the speaker. Means and variances
    are those of the overlap itself, from running sums. NaN where a side is constant in it.
    """
    samples, attributes, frames = predictions.shape
    result = np.empty((samples, attributes, NUM_LAGS))
    for attribute in range(attributes):
        raw_other = speaker[attribute]
        other = raw_other - raw_other.mean()  # keeps the running sums small, hence exact
        other_sums, other_squares = _running_sums(other)
        other_head, other_tail = _constant_ends(raw_other)
        for k in range(samples):
            raw = predictions[k, attribute]
            one = raw - raw.mean()
            sums, squares = _running_sums(one)
            head, tail = _constant_ends(raw)
            products = _lagged_products(one, other)
            for index in range(NUM_LAGS):
                lag = index - MAX_LAG
                length = frames - abs(lag)
                # The overlap is frames [start, start + length) of each side.
                start, other_start = max(lag, 0), max(-lag, 0)
                ends = (head, other_tail) if lag < 0 else (tail, other_head)
                if length <= ends[0] or length <= ends[1]:
                    result[k, attribute, index] = np.nan
                    continue
                x = sums[start + length] - sums[start]
                y = other_sums[other_start + length] - other_sums[other_start]
                xx = squares[start + length] - squares[start]
                yy = other_squares[other_start + length] - other_squares[other_start]
                spread, other_spread = xx - x * x / length, yy - y * y / length
                faint = spread < _FAINT * squares[frames]
                if faint or other_spread < _FAINT * other_squares[frames]:
                    overlap = one[start : start + length]
                    meets = other[other_start : other_start + length]
                    result[k, attribute, index] = _pearson(overlap, meets)
                else:
                    covariance = products[index] - x * y / length
                    result[k, attribute, index] = covariance / np.sqrt(spread * other_spread)
    return result


@kernel
def _lagged_products(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(99,) sums over the overlap of one[t + lag] * other[t], lags side by side in registers."""
    frames = len(one)
    padded = np.zeros(frames + NUM_LAGS + 3)  # zeros outside the clip add nothing
    padded[MAX_LAG : MAX_LAG + frames] = one
    steady = np.zeros(frames + 3)
    steady[:frames] = other
    result = np.zeros(NUM_LAGS)
    for signed_frame in range(0, frames, 4):
        t = uintp(signed_frame)
        y0, y1 = steady[t], steady[t + uintp(1)]
        y2, y3 = steady[t + uintp(2)], steady[t + uintp(3)]
        for signed_index in range(NUM_LAGS):
            x = t + uintp(signed_index)
            result[signed_index] += (padded[x] * y0 + padded[x + uintp(1)] * y1) + (
                padded[x + uintp(2)] * y2 + padded[x + uintp(3)] * y3
            )
    return result


@kernel
def _pearson(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's r in two passes: the exact but slow way."""
    x, y = one - one.mean(), other - other.mean()
    return (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())


@kernel
def _running_sums(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T + 1,) sums of the first n values and of their squares."""
    sums, squares = np.zeros(len(series) + 1), np.zeros(len(series) + 1)
    for t in range(len(series)):
        sums[t + 1] = sums[t] + series[t]
        squares[t + 1] = squares[t] + series[t] * series[t]
    return sums, squares


@kernel
def _constant_ends(series: np.ndarray) -> tuple[int, int]:
    """Lengths of the constant stretches at the head and at the tail of a series."""
    frames = len(series)
    head = 1
    while head < frames and series[head] == series[0]:
        head += 1
    tail = 1
    while tail < frames and series[frames - 1 - tail] == series[frames - 1]:
        tail += 1
    return head, tail
