"""Learning rate, step arithmetic and seeds: pure functions of integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reactdist.train.settings import OptimizerSettings, TrainSettings

# Keeps the two apart, and from the draws of reactdist.data.order, though all share the seed.
_NOISE, _DROPOUT = 3, 4


def learning_rate(step: int, total_steps: int, settings: OptimizerSettings) -> float:
    """Learning rate of optimizer step `step` (0-based): linear warm-up, then constant or cosine."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return settings.lr
    span = max(1, total_steps - settings.warmup_steps)
    return settings.lr * 0.5 * (1.0 + math.cos(math.pi * (step - settings.warmup_steps) / span))


def steps_until_epoch(epoch: int, num_items: int, batch_size: int) -> int:
    """Optimizer steps after which every item was used `epoch` times.

    Batches straddle epoch borders (reactdist.data.order), so nothing is dropped or padded.
    """
    return -(-epoch * num_items // batch_size)


@dataclass(frozen=True)
class Plan:
    """When a run evaluates and ends, in optimizer steps."""

    num_items: int
    batch_size: int
    evaluations: Mapping[int, int]
    """Step -> epochs finished, for every evaluation; the last epoch is always evaluated."""

    @classmethod
    def of(cls, settings: TrainSettings, num_items: int) -> Plan:
        """The plan of a run over `num_items` training items."""
        epochs, every = settings.epochs, settings.validation.every_epochs
        due = sorted({*range(every, epochs + 1, every), epochs})
        size = settings.batch_size
        return cls(num_items, size, {steps_until_epoch(e, num_items, size): e for e in due})

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return max(self.evaluations)

    def epoch_of(self, step: int) -> int:
        """Epoch, from 1, of the last item of step `step` (from 1)."""
        return (step * self.batch_size - 1) // self.num_items + 1


def noise_seed(seed: int, place: int) -> int:
    """Seed of the model's noise for the item at a place of the sample stream."""
    return _mixed(_NOISE, seed, place)


def dropout_seed(seed: int, micro_step: int, rank: int) -> int:
    """Seed of the dropout of one micro-batch on one rank."""
    return _mixed(_DROPOUT, seed, micro_step, rank)


def _mixed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
