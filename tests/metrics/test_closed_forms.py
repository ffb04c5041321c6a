"""Metrics where the answer is known without computing it."""

import numpy as np
import pytest

from reactdist.metrics import score, score_items


def _noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random((*shape, 25), np.float32)


@pytest.fixture(scope="module")
def uniform() -> dict[str, float]:
    truth = _noise(1, 40, 100)
    return score(_noise(0, 40, 10, 100), truth, truth, np.eye(40), ["FRDiv", "FRVar", "FRDvs"])


@pytest.mark.parametrize(("name", "value"), [("FRVar", 1 / 12), ("FRDiv", 1 / 6), ("FRDvs", 1 / 6)])
def test_uniform_noise(uniform, name, value) -> None:
    # A million draws: the means are known to about 1e-4.
    assert uniform[name] == pytest.approx(value, abs=5e-4)


def test_the_truth_as_prediction(clips, neighbours) -> None:
    truth, speakers = clips(0, 6), clips(1, 6)
    truth[2, :, :5] = 0.5  # five constant attributes count 0
    predictions = np.repeat(truth[:, None], 10, axis=1)
    table = score_items(predictions, truth, speakers, neighbours(0, 6))
    assert (table["FRDist"] == 0).all()
    assert (table["ACC"] == 1).all()
    assert (table["FRDiv"] == 0).all()
    varying = (truth != truth[:, :1]).any(axis=1).mean(axis=1)  # share of attributes, an item
    np.testing.assert_allclose(table["FRCorr"], 10 * varying, rtol=1e-4)


@pytest.mark.parametrize("shift", [0, 1, 17, 49, -1, -30, -49])
def test_a_shifted_copy_is_out_of_sync_by_the_shift(shift) -> None:
    track = _noise(2, 1, 400)
    speaker = track[:, 100:300]
    prediction = track[:, 100 - shift : 300 - shift]
    result = score(prediction[:, None], prediction, speaker, np.eye(1), ["FRSyn"])
    assert result["FRSyn"] == abs(shift)
    assert result["published_FRSyn"] == abs(shift)


def test_synchrony_without_a_varying_attribute_is_undefined_not_a_number(clips) -> None:
    truth = clips(3, 3)
    predictions = np.repeat(clips(4, 3)[:, None], 2, axis=1)
    predictions[1] = 0.5
    result = score(predictions, truth, truth, np.eye(3))
    table = score_items(predictions, truth, truth, np.eye(3))
    assert result["FRSyn_undefined_items"] == 1
    assert np.isnan(table["FRSyn"]).tolist() == [False, True, False]
    assert result["FRSyn"] == table["FRSyn"][[0, 2]].mean()


def test_one_constant_attribute_decides_the_published_synchrony_and_not_ours() -> None:
    speaker = _noise(5, 1, 150)
    prediction = speaker.copy()
    prediction[..., 3] = 0
    result = score(prediction[:, None], speaker, speaker, np.eye(1), ["FRSyn"])
    assert result["published_FRSyn"] == 49
    assert result["FRSyn"] == 0


def test_periodic_motion_takes_the_smallest_lag() -> None:
    wave = np.sin(2 * np.pi * np.arange(200) / 10)[None, :, None] * np.ones(25)
    result = score(wave[:, None], wave, wave, np.eye(1), ["FRSyn"])
    assert result["FRSyn"] == 0


def test_a_clip_shorter_than_the_lags_has_no_synchrony() -> None:
    short = _noise(6, 2, 50)
    result = score(short[:, None], short, short, np.eye(2), ["FRSyn"])
    assert np.isnan(result["FRSyn"])
    assert result["FRSyn_undefined_items"] == 2


def test_identical_predictions_have_no_diversity(clips) -> None:
    one = clips(7, 1, 1)
    predictions = np.broadcast_to(one, (5, 4, *one.shape[2:]))
    truth = clips(8, 5)
    result = score(predictions, truth, truth, np.eye(5))
    assert result["FRDiv"] == 0
    assert result["FRDvs"] == 0


def test_constant_predictions_have_no_variance_and_no_correlation(clips) -> None:
    truth = clips(9, 2)
    result = score(np.full((2, 3, 120, 25), 0.3, np.float32), truth, truth, np.eye(2))
    assert result["FRVar"] == pytest.approx(0, abs=1e-15)
    assert result["FRCorr"] == pytest.approx(0, abs=1e-12)
    assert np.isnan(result["ACC"])  # concordant with nothing, so neither right nor wrong
    assert result["ACC_undefined_items"] == 2


def test_accuracy_is_over_the_predictions_that_move(clips) -> None:
    truth = clips(9, 3)
    predictions = np.stack([truth, np.roll(truth, 1, axis=0), np.full_like(truth, 0.5)], axis=1)
    assert score(predictions, truth, truth, np.eye(3), ["ACC"])["ACC"] == 0.5


def test_one_sample_one_item_one_neighbour(clips) -> None:
    truth = clips(10, 1)
    result = score(clips(11, 1, 1), truth, truth, np.eye(1))
    assert np.isnan(result["FRDiv"])
    assert result["FRDiv_undefined_items"] == 1
    assert np.isnan(result["FRDvs"])
    assert result["FRDvs_undefined_items"] == 1
    assert result["FRCorr"] == result["FRCorr_mean"]
    assert result["ACC"] == 1


def test_normalised_values_do_not_depend_on_k(clips, neighbours) -> None:
    predictions, truth, matrix = clips(12, 3, 2), clips(13, 3), neighbours(1, 3)
    two = score(predictions, truth, truth, matrix)
    ten = score(np.tile(predictions, (1, 5, 1, 1)), truth, truth, matrix)
    assert ten["FRCorr"] == pytest.approx(5 * two["FRCorr"])
    for name in ("FRCorr_mean", "FRDist_mean"):
        assert ten[name] == pytest.approx(two[name])
