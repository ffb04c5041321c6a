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

from reactdist.metrics.inputs import Item
from reactdist.metrics.jit import kernel

MAX_LAG = 49
"""frames; the published 2 s at 25 frames/s, less one."""
_TIE = 1e-9
"""Peaks closer than this are one peak (periodic motion): rounding must not choose."""


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
    """(M, T, 25) -> (M, 25, T) float64, each attribute less its first value.

    Subtracting a value of the series leaves a constant attribute exactly zero.
    """
    rows = np.ascontiguousarray(clips.transpose(0, 2, 1), dtype=np.float64)
    return rows - rows[:, :, :1]


def lagged_correlations(predictions: np.ndarray, speaker: np.ndarray) -> np.ndarray:
    """(K, 25, 99) Pearson's r of predictions (K, 25, T) and speaker (25, T) at lags -49..49.

    At lag l > 0 frame t + l of the prediction meets frame t of the speaker. Means and variances
    are those of the overlap itself. NaN where either side is constant in the overlap.
    """
    return _lagged_correlations(predictions, speaker, MAX_LAG)


@kernel
def _lagged_correlations(predictions: np.ndarray, speaker: np.ndarray, max_lag: int) -> np.ndarray:
    samples, attributes, frames = predictions.shape
    result = np.empty((samples, attributes, 2 * max_lag + 1))
    for attribute in range(attributes):
        other = speaker[attribute] - speaker[attribute].mean()
        other_runs = _edge_runs(speaker[attribute])
        for k in range(samples):
            one = predictions[k, attribute] - predictions[k, attribute].mean()
            one_runs = _edge_runs(predictions[k, attribute])
            for index in range(2 * max_lag + 1):
                lag = index - max_lag
                length = frames - abs(lag)
                # Overlaps are a tail of one side and a head of the other.
                if lag >= 0:
                    constant = length <= one_runs[1] or length <= other_runs[0]
                    tail, head = one[lag:], other[:length]
                else:
                    constant = length <= one_runs[0] or length <= other_runs[1]
                    tail, head = other[-lag:], one[:length]
                result[k, attribute, index] = np.nan if constant else _pearson(tail, head)
    return result


@kernel
def _edge_runs(series: np.ndarray) -> tuple[int, int]:
    """Lengths of the constant stretches at the head and at the tail of a series."""
    frames = len(series)
    head = 1
    while head < frames and series[head] == series[0]:
        head += 1
    tail = 1
    while tail < frames and series[frames - 1 - tail] == series[frames - 1]:
        tail += 1
    return head, tail


@kernel
def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    sum_x = sum_y = sum_xx = sum_yy = sum_xy = 0.0
    for t in range(len(x)):
        sum_x += x[t]
        sum_y += y[t]
        sum_xx += x[t] * x[t]
        sum_yy += y[t] * y[t]
        sum_xy += x[t] * y[t]
    length = len(x)
    covariance = sum_xy - sum_x * sum_y / length
    spread = (sum_xx - sum_x * sum_x / length) * (sum_yy - sum_y * sum_y / length)
    return covariance / np.sqrt(spread)
