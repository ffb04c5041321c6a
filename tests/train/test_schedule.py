"""Learning rate and step arithmetic against plain counting."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactdist.train.schedule import evaluation_steps, learning_rate, step_seed, steps_until_epoch
from reactdist.train.settings import OptimizerSettings


def test_warm_up_then_cosine() -> None:
    settings = OptimizerSettings(lr=2.0, schedule="cosine", warmup_steps=4)
    rates = [learning_rate(step, 24, settings) for step in range(24)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4] == 2.0
    assert rates[14] == pytest.approx(1.0)  # half way down at half time
    assert all(a >= b for a, b in itertools.pairwise(rates[4:]))
    assert rates[-1] == pytest.approx(1 + math.cos(math.pi * 19 / 20))


def test_constant() -> None:
    settings = OptimizerSettings(lr=1e-5)
    assert {learning_rate(step, 9, settings) for step in range(9)} == {1e-5}


@given(st.integers(1, 40), st.integers(1, 100), st.integers(1, 17))
def test_steps_until_epoch_by_counting_items(epoch: int, items: int, batch: int) -> None:
    taken, steps = 0, 0
    while taken < epoch * items:
        taken, steps = taken + batch, steps + 1
    assert steps_until_epoch(epoch, items, batch) == steps


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 60))
def test_the_last_epoch_is_always_evaluated(epochs: int, every: int, items: int) -> None:
    due = evaluation_steps(epochs, every, items, 4)
    assert max(due.values()) == epochs
    assert max(due) == steps_until_epoch(epochs, items, 4)
    assert all(e % every == 0 or e == epochs for e in due.values())


def test_seeds_of_steps_and_ranks_differ() -> None:
    seeds = {step_seed(s, step, rank) for s in range(3) for step in range(200) for rank in range(4)}
    assert len(seeds) == 3 * 200 * 4
    assert all(0 <= seed < 2**63 for seed in seeds)
