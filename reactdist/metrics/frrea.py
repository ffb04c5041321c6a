"""FRRea, realism: the Fréchet distance between rendered predicted frames and real listener frames.

With Gaussians fitted to the features of both sets,
d^2 = |mean_a - mean_b|^2 + trace(A + B - 2 (A B)^(1/2)). Lower is better; 0 and up.
Source: Heusel et al. 2017 (arXiv:1706.08500); REACT 2024 calls the FID of its renderings FRRea.

The features are a parameter: `inception.load_inception` for the published numbers (the user brings
the weights), or any callable. The frames that count are fixed: every FRAME_STEP-th of a clip from
the first one on, of all K predictions of all items and of every real listener clip once. The
published set depends on the batch size, so its numbers compare with ours only roughly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reactdist.errors import InputError

FRAME_STEP = 25
"""frames; one frame a second of each clip is compared."""

Extractor = Callable[[Tensor], Tensor]
"""(B, 3, H, W) uint8 -> (B, F) float features."""


@dataclass(frozen=True)
class FeatureStatistics:
    """Moments of a set of features; sets add up with `+`.

    count: pictures; mean (F,) and scatter (F, F), sum of (f - mean)(f - mean)^T, float64.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> FeatureStatistics:
        """Of features (n, F)."""
        features = np.asarray(features, np.float64)
        mean = features.mean(axis=0)
        step = features - mean
        return cls(len(features), mean, step.T @ step)

    def __add__(self, other: FeatureStatistics) -> FeatureStatistics:
        count = self.count + other.count
        step = other.mean - self.mean
        share = self.count * other.count / count
        return FeatureStatistics(
            count,
            self.mean + step * (other.count / count),
            self.scatter + other.scatter + share * np.outer(step, step),
        )

    @property
    def covariance(self) -> np.ndarray:
        """(F, F), unbiased."""
        return self.scatter / (self.count - 1)


def frrea(
    predicted: Iterable[np.ndarray],
    real: Iterable[np.ndarray],
    extractor: Extractor,
    *,
    frame_step: int = FRAME_STEP,
    batch: int = 32,
    device: str | torch.device = "cpu",
) -> float:
    """FRRea of rendered clips against real ones, each (T, H, W, 3) uint8.

    Clips are read one at a time. `batch` changes memory and speed only.

    Raises:
        InputError: a clip of another shape or type; fewer than two frames on a side.
    """
    sides = []
    for name, clips in (("predicted", predicted), ("real", real)):
        statistics = feature_statistics(
            clips, extractor, frame_step=frame_step, batch=batch, device=device
        )
        if statistics is None or statistics.count < 2:
            raise InputError(f"fewer than two {name} frames", fix="give at least one longer clip")
        sides.append(statistics)
    return frechet_distance(*sides)


def feature_statistics(
    clips: Iterable[np.ndarray],
    extractor: Extractor,
    *,
    frame_step: int = FRAME_STEP,
    batch: int = 32,
    device: str | torch.device = "cpu",
) -> FeatureStatistics | None:
    """Moments of the features of every `frame_step`-th frame of clips (T,H,W,3) uint8."""
    total = None
    for number, clip in enumerate(clips):
        frames = np.asarray(clip)[::frame_step]
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise InputError(
                f"clip {number} has shape {frames.shape} of {frames.dtype}",
                fix="(T, H, W, 3) uint8 is needed",
            )
        features = []
        for start in range(0, len(frames), batch):
            pictures = torch.from_numpy(np.ascontiguousarray(frames[start : start + batch]))
            with torch.inference_mode():
                answer = extractor(pictures.permute(0, 3, 1, 2).to(device))
            features.append(answer.double().cpu().numpy())
        statistics = FeatureStatistics.of(np.concatenate(features))
        total = statistics if total is None else total + statistics
    return total


def frechet_distance(one: FeatureStatistics, other: FeatureStatistics) -> float:
    """Squared Fréchet distance of the two Gaussians.

    trace((A B)^(1/2)) is the sum of the roots of the eigenvalues of A^(1/2) B A^(1/2), which is
    symmetric: no matrix square root of a product, no complex rounding.
    """
    a, b = one.covariance, other.covariance
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ b @ root)
    step = one.mean - other.mean
    distance = step @ step + np.trace(a) + np.trace(b) - 2 * np.sqrt(np.maximum(mixed, 0)).sum()
    return float(max(distance, 0.0))
