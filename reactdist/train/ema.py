"""Exponential moving average of the weights, or nothing."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from reactdist.train.engine import Engine


class Average(Protocol):
    """Averaged weights that a run may keep."""

    def update(self, engine: Engine) -> None: ...

    def weights(self) -> dict[str, Tensor]:
        """CPU float32 averages by parameter name; empty when none are kept."""
        ...

    def load(self, weights: dict[str, Tensor]) -> None: ...


class NoAverage:
    """The null object: the weights themselves are used."""

    def update(self, engine: Engine) -> None:
        """Keep nothing."""

    def weights(self) -> dict[str, Tensor]:
        return {}

    def load(self, weights: dict[str, Tensor]) -> None:
        """Nothing to restore."""


class ExponentialAverage:
    """`average <- decay * average + (1 - decay) * weights` after every step."""

    def __init__(self, decay: float, initial: dict[str, Tensor]) -> None:
        self.decay = decay
        self._average = {name: value.clone() for name, value in initial.items()}

    def update(self, engine: Engine) -> None:
        current = engine.weights()
        with torch.no_grad():
            for name, value in self._average.items():
                value.lerp_(current[name], 1.0 - self.decay)

    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self._average.items()}

    def load(self, weights: dict[str, Tensor]) -> None:
        self._average = {name: value.clone() for name, value in weights.items()}
