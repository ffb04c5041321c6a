"""Intervals against coverage on simulated sessions, Student's tables and hand arithmetic."""

import math

import numpy as np
import pytest

from reactdist.errors import InputError
from reactdist.metrics.intervals import (
    bootstrap_interval,
    jackknife_interval,
    paired_difference,
    student_quantile,
)


def _sessions(generator: np.random.Generator, sessions: int, items: int):
    """Per-item values that share most of their noise within a session; the true mean is 0."""
    shared = generator.normal(size=(sessions, 1))
    values = (shared + 0.1 * generator.normal(size=(sessions, items))).ravel()
    return values, np.repeat(np.arange(sessions), items)


@pytest.mark.parametrize("sessions", [6, 30])
def test_interval_covers_the_true_mean_as_often_as_it_says(sessions: int) -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for trial in range(400):
        values, labels = _sessions(generator, sessions, 5)
        interval = bootstrap_interval(values, labels, seed=trial, num_resamples=500)
        hits += interval.low <= 0 <= interval.high
    # Treating the items as independent would cover about 0.6; binomial noise is 0.011.
    assert 0.91 <= hits / 400 <= 0.985


def test_same_seed_same_interval_and_estimate_is_the_mean() -> None:
    values, labels = _sessions(np.random.default_rng(1), 8, 4)
    one = bootstrap_interval(values, labels, seed=3)
    assert one == bootstrap_interval(values, labels, seed=3)
    assert one != bootstrap_interval(values, labels, seed=4)
    assert one.estimate == values.mean()
    assert one.low < one.estimate < one.high


def test_undefined_items_are_left_out() -> None:
    values, labels = _sessions(np.random.default_rng(2), 8, 4)
    holes = values.copy()
    holes[[3, 9]] = np.nan
    keep = ~np.isnan(holes)
    assert bootstrap_interval(holes, labels, seed=0) == bootstrap_interval(
        values[keep], labels[keep], seed=0
    )
    nothing = bootstrap_interval(np.full(4, np.nan), np.arange(4), seed=0)
    assert math.isnan(nothing.estimate)
    assert math.isnan(nothing.low)


def test_one_session_says_nothing() -> None:
    interval = bootstrap_interval([1.0, 2.0], ["s", "s"], seed=0)
    assert (interval.low, interval.high, interval.estimate) == (-math.inf, math.inf, 1.5)
    assert not interval.excludes_zero


def test_pairing_finds_a_small_real_difference_and_no_false_one() -> None:
    generator = np.random.default_rng(3)
    values, labels = _sessions(generator, 12, 6)
    better = values + 0.05 + 0.02 * generator.normal(size=values.shape)
    assert paired_difference(better, values, labels, seed=0).excludes_zero
    same = values + 0.02 * generator.permutation(np.tile([-1.0, 1.0], 36))
    assert not paired_difference(same, values, labels, seed=0).excludes_zero
    better[0] = np.nan
    assert np.isfinite(paired_difference(better, values, labels, seed=0).estimate)


@pytest.mark.parametrize(
    ("degrees", "expected"), [(1, 12.7062), (2, 4.3027), (7, 2.3646), (30, 2.0423), (1000, 1.9623)]
)
def test_student_quantile_agrees_with_the_tables(degrees: int, expected: float) -> None:
    assert student_quantile(0.975, degrees) == pytest.approx(expected, abs=6e-5)
    assert student_quantile(0.025, degrees) == pytest.approx(-expected, abs=6e-5)


def test_jackknife_of_a_mean_is_the_classical_interval() -> None:
    values = np.random.default_rng(4).normal(size=9)
    left_out = (values.sum() - values) / 8
    interval = jackknife_interval(float(values.mean()), left_out)
    reach = student_quantile(0.975, 8) * values.std(ddof=1) / 3
    assert interval.high - interval.estimate == pytest.approx(reach)
    assert interval.estimate - interval.low == pytest.approx(reach)


def test_bad_arguments_are_one_line() -> None:
    with pytest.raises(InputError, match="session labels"):
        bootstrap_interval([1.0, 2.0], ["a"], seed=0)
    with pytest.raises(InputError, match="level"):
        bootstrap_interval([1.0, 2.0], ["a", "b"], seed=0, level=95)
    with pytest.raises(InputError, match="same items"):
        paired_difference([1.0], [1.0, 2.0], ["a"], seed=0)
