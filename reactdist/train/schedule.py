"""Learning rate and step arithmetic: pure functions of integers."""

from __future__ import annotations

import math

from reactdist.train.settings import OptimizerSettings


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


def evaluation_steps(
    epochs: int, every_epochs: int, num_items: int, batch_size: int
) -> dict[int, int]:
    """Step count -> finished epochs, for every evaluation; the last epoch is always evaluated."""
    due = sorted({*range(every_epochs, epochs + 1, every_epochs), epochs})
    return {steps_until_epoch(e, num_items, batch_size): e for e in due}


def step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of the noise and dropout of one step on one rank, so that a resumed run repeats it."""
    # A 64-bit mix (SplitMix64 finaliser, Steele et al. 2014) of the three numbers.
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % (
        1 << 64
    )
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) % (1 << 64)
    return (mixed ^ (mixed >> 31)) % (1 << 63)
