"""Learning rate and step arithmetic against plain counting."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactdist.data.order import stream
from reactdist.train.schedule import (
    Plan,
    dropout_seed,
    learning_rate,
    noise_seed,
    steps_until_epoch,
)
from reactdist.train.settings import OptimizerSettings, TrainSettings


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
    settings = TrainSettings(epochs=epochs, validation={"every_epochs": every})
    plan = Plan.of(settings, items)
    assert max(plan.evaluations.values()) == epochs
    assert plan.total_steps == steps_until_epoch(epochs, items, settings.batch_size)
    assert all(e % every == 0 or e == epochs for e in plan.evaluations.values())


@given(st.integers(1, 60), st.integers(1, 9))
def test_the_epoch_of_a_step_by_looking_at_the_stream(items: int, batch: int) -> None:
    plan = Plan(items, batch, {1: 1})
    for step in range(1, 30):
        _, epochs = stream(items, 0, (step - 1) * batch, step * batch)
        assert plan.epoch_of(step) == epochs[-1] + 1


def test_no_two_draws_share_a_seed() -> None:
    noise = {noise_seed(seed, place) for seed in range(3) for place in range(500)}
    dropout = {dropout_seed(s, n, rank) for s in range(3) for n in range(200) for rank in range(4)}
    assert len(noise | dropout) == 3 * 500 + 3 * 200 * 4
    # torch's CPU generator takes the lower half of a seed.
    assert len({seed % 2**32 for seed in noise | dropout}) == 3 * 500 + 3 * 200 * 4
