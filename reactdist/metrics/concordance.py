"""Concordance correlation (CCC) of every prediction with every real clip, as matrix products.

CCC(x, y) = 2 cov(x, y) / (var x + var y + (mean x - mean y)^2 + 1e-8), population moments over
time (Lin 1989; the 1e-8 is the published code's). A constant attribute has cov = 0, hence CCC 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STABILISER = 1e-8
"""Added to the denominator by the published code."""
_SINGLE_THREAD = 2**18
"""Multiply-adds up to which OpenBLAS stays in the calling thread. Items already run on threads;
larger products would start more of them, which made ACC five times slower on two cores."""


@dataclass(frozen=True)
class Centred:
    """Clips without their temporal means.

    values (25, M, T); mean, variance (25, M): population moments of each attribute of each clip.
    """

    values: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def part(self, clips: slice) -> Centred:
        """Only these clips."""
        return Centred(self.values[:, clips], self.mean[:, clips], self.variance[:, clips])


def centre(clips: np.ndarray, dtype: type[np.floating] = np.float64) -> Centred:
    """(M, T, 25) -> `Centred`, moments in float64, values in `dtype`."""
    values = np.ascontiguousarray(clips.transpose(2, 0, 1), dtype=np.float64)
    mean = values.mean(axis=2)
    values -= mean[:, :, None]
    variance = np.einsum("dmt,dmt->dm", values, values) / values.shape[2]
    return Centred(values.astype(dtype, copy=False), mean, variance)


def concordance(one: Centred, other: Centred) -> np.ndarray:
    """(M, M') mean over the 25 attributes of CCC between clips of `one` and of `other`."""
    _, clips, frames = one.values.shape
    chunk = max(1, _SINGLE_THREAD // (clips * frames))
    parts = [
        _concordance(one, other.part(slice(start, start + chunk)))
        for start in range(0, other.values.shape[1], chunk)
    ]
    return np.concatenate(parts, axis=1)


def _concordance(one: Centred, other: Centred) -> np.ndarray:
    covariance = np.matmul(one.values, other.values.transpose(0, 2, 1)) / one.values.shape[2]
    difference = one.mean[:, :, None] - other.mean[:, None, :]
    spread = one.variance[:, :, None] + other.variance[:, None, :]
    return (2 * covariance / (spread + difference**2 + STABILISER)).mean(axis=0)
