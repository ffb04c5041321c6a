"""Seeded clips that resemble real ones: steps, constant stretches, smooth motion."""

from collections.abc import Callable

import numpy as np
import pytest


@pytest.fixture
def clips() -> Callable[..., np.ndarray]:
    """`clips(seed, *shape, frames=...)` -> (*shape, frames, 25) float32."""

    def make(seed: int, *shape: int, frames: int = 120) -> np.ndarray:
        generator = np.random.default_rng(seed)
        walk = np.cumsum(generator.normal(size=(*shape, frames, 25)), axis=-2) * 0.15
        walk += generator.normal(size=(*shape, 1, 25))
        attributes = np.empty(walk.shape, np.float32)
        attributes[..., :15] = walk[..., :15] > 0.5
        attributes[..., 15:17] = np.tanh(walk[..., 15:17])
        weights = np.exp(walk[..., 17:])
        attributes[..., 17:] = weights / weights.sum(axis=-1, keepdims=True)
        return attributes

    return make


@pytest.fixture
def neighbours() -> Callable[[int, int], np.ndarray]:
    """`neighbours(seed, N)` -> (N, N) bool with a true diagonal and some more."""

    def make(seed: int, items: int) -> np.ndarray:
        return np.eye(items, dtype=bool) | (np.random.default_rng(seed).random((items,) * 2) < 0.3)

    return make
