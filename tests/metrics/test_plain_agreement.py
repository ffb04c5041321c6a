"""The fast suite against the same definitions in loops over tslearn's dtw and numpy's corrcoef."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tslearn.metrics import dtw

from reactdist.metrics import score
from reactdist.metrics.dtw import STRIP, box_bound, pack_rows
from reactdist.metrics.frdist import nearest_distances
from reactdist.metrics.frsyn import lagged_correlations
from reactdist.metrics.plain import PLAIN, correlation_at, distance, plain_score


@pytest.mark.parametrize(("seed", "frames"), [(0, 64), (1, 65), (2, 129)])
def test_every_metric_agrees(seed, frames, clips, neighbours) -> None:
    arrays = (
        clips(seed, 3, 2, frames=frames),
        clips(seed + 10, 3, frames=frames),
        clips(seed + 20, 3, frames=frames),
        neighbours(seed, 3),
    )
    fast, plain = score(*arrays), plain_score(*arrays)
    assert set(plain) == set(PLAIN) <= set(fast)
    for name, value in plain.items():
        assert fast[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    """Any small problem: steps, still stretches, ties, constant attributes, other levels."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    items, samples = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    frames = draw(st.integers(52, 70))
    still, levels = draw(st.floats(0, 1)), draw(st.sampled_from([2, 5, 1000]))

    def clip(*shape: int) -> np.ndarray:
        values = generator.integers(0, levels, (*shape, frames, 25)) / levels
        stops = generator.random((*shape, 1, 25)) < still  # attributes that never move
        return np.where(stops, values[..., :1, :], values).astype(np.float32)

    matrix = np.eye(items, dtype=bool) | (generator.random((items, items)) < 0.5)
    return clip(items, samples), clip(items), clip(items), matrix


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(problems())
def test_every_metric_agrees_on_any_problem(problem) -> None:
    fast, plain = score(*problem), plain_score(*problem)
    for name, value in plain.items():
        assert fast[name] == pytest.approx(value, rel=1e-5, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_types_agree(dtype, clips, neighbours) -> None:
    arrays = [clips(7, 2, 2).astype(dtype), clips(8, 2).astype(dtype), clips(9, 2).astype(dtype)]
    names = ["FRCorr", "FRDist", "FRDiv", "FRVar", "FRDvs"]
    plain = plain_score(*(array.astype(np.float64) for array in arrays), neighbours(7, 2), names)
    fast = score(*arrays, neighbours(7, 2))
    for name, value in plain.items():
        assert fast[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name


@pytest.mark.parametrize("kind", ["noise", "motion", "far apart", "copies"])
def test_pruning_changes_no_bit(kind, clips) -> None:
    generator = np.random.default_rng(5)
    predictions, listeners = clips(1, 4, frames=200), clips(2, 9, frames=200)
    if kind == "noise":
        predictions = generator.random((4, 200, 25), np.float32)
        listeners = generator.random((9, 200, 25), np.float32)
    elif kind == "far apart":
        listeners = listeners + np.arange(9, dtype=np.float32)[:, None, None]
    elif kind == "copies":
        listeners[3:6] = predictions[:3]
    pruned = nearest_distances(predictions, listeners)
    assert (pruned == nearest_distances(predictions, listeners, prune=False)).all()
    plain = [min(distance(truth, one) for truth in listeners) for one in predictions]
    np.testing.assert_allclose(pruned, plain, rtol=1e-5)


def test_pruning_keeps_a_winner_that_looks_worse_for_long() -> None:
    # The first listener starts with no distance in affect, the second wins by its action units;
    # all ranges overlap, so bounds say nothing and only the limits can go wrong.
    prediction = np.zeros((1, 200, 25), np.float32)
    prediction[0, 0, :15] = 1
    listeners = np.zeros((2, 200, 25), np.float32)
    listeners[0, 1:-1, :15], listeners[1, 1:-1, :15] = 0.5, 0.2
    listeners[:, 0, :15] = 1
    listeners[1, :, 15] = 1 / np.sqrt(200)
    expected = min(distance(truth, prediction[0]) for truth in listeners)
    assert expected == pytest.approx(1 + np.sqrt(198 * 0.04 * 15) / 15)
    assert nearest_distances(prediction, listeners)[0] == pytest.approx(expected)


def test_bounds_hold_and_are_tight_against_a_motionless_clip(clips) -> None:
    moving, other = clips(1, frames=150)[:, 15:17], clips(2, frames=130)[:, 15:17] + 0.8
    still = np.full((150, 2), 3, np.float32)
    for clip, tight in ((other, False), (still, True)):
        bound, to_come = box_bound(pack_rows(moving), 150, clip.min(axis=0), clip.max(axis=0))
        true = dtw(moving, clip) ** 2
        assert bound <= true
        assert not tight or bound > 0.999 * true
        # What comes after a strip is what the rest of the clip must cost.
        rest = dtw(moving[STRIP:], clip) ** 2
        assert to_come[0] <= rest
        assert not tight or to_come[0] > 0.999 * np.square(moving[STRIP:] - clip[0]).sum()
        assert to_come[-1] == 0


def test_correlations_at_every_lag_agree(clips) -> None:
    predictions, speaker = clips(3, 2, frames=90), clips(4, frames=90)
    # Constant at one end only: undefined at some lags; and a wiggle beside a huge step, where
    # running sums alone would lose every digit.
    predictions[0, :60, 2] = 0.25
    speaker[30:, 4] = 0.25
    predictions = predictions.astype(np.float64)
    predictions[1, :, 20] = np.where(np.arange(90) < 5, 1e4, 1e-5 * predictions[1, :, 20])
    ours = lagged_correlations(
        np.ascontiguousarray(predictions.transpose(0, 2, 1)),
        np.ascontiguousarray(speaker.T.astype(np.float64)),
    )
    for k in range(2):
        for index, lag in enumerate(range(-49, 50)):
            plain = correlation_at(lag, predictions[k], speaker.astype(np.float64))
            np.testing.assert_allclose(ours[k, :, index], plain, rtol=1e-6, atol=1e-8)
