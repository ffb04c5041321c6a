"""Which items are predicted, with whose noise, and what the control shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reactdist.data.shards import Shards
from reactdist.errors import DataError
from reactdist.evaluate.predict import (
    Predictions,
    other_speakers,
    predict,
    predict_baseline,
    validation_items,
)
from reactdist.evaluate.truth import Truth, means
from reactdist.models.registry import build_model


@pytest.fixture(scope="module")
def shards(small_shards: str) -> Shards:
    return Shards.open(small_shards)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    values = {"task": "online", "image_size": 40, "feature_dim": 16, "latent_dim": 8}
    return build_model("transvae", {**values, "window_size": 8, "video_norm": "frame"})


def test_an_items_noise_does_not_depend_on_who_predicts_it(
    shards: Shards, model: torch.nn.Module
) -> None:
    together = {i: e for i, e, _ in predict(model, shards, "test", frames=20, num_samples=2)}
    for item in (3, 0, 2):
        [(_, alone, _)] = predict(model, shards, "test", items=[item], frames=20, num_samples=2)
        assert np.array_equal(alone, together[item])
    [(_, other, _)] = predict(model, shards, "test", items=[0], frames=20, num_samples=2, seed=1)
    assert not np.allclose(other, together[0])


def test_the_control_shows_another_speaker_to_the_same_item(
    shards: Shards, model: torch.nn.Module
) -> None:
    [(item, swapped, _)] = predict(
        model, shards, "test", items=[1], frames=20, num_samples=2, speaker_of=[2]
    )
    [(_, own, _)] = predict(model, shards, "test", items=[1], frames=20, num_samples=2)
    assert item == 1
    assert not np.allclose(swapped, own)


def test_gt_and_random_give_what_the_metrics_promise(shards: Shards) -> None:
    truth = Truth.read(shards, "test")
    gt = means(truth.score_items(predict_baseline("GT", shards, "test", num_samples=3)), 3)
    varying = (truth.listeners.std(axis=1) > 0).mean()
    assert gt["FRDist"] == pytest.approx(0.0, abs=1e-4)
    assert gt["FRCorr_mean"] == pytest.approx(varying, abs=1e-3)
    random = means(truth.score_items(predict_baseline("Random", shards, "test")), 10)
    assert random["FRVar"] == pytest.approx(1 / 12, rel=0.02)
    assert random["FRDiv"] == pytest.approx(1 / 6, rel=0.02)


def test_predictions_are_in_item_order_and_cut_to_the_shortest() -> None:
    rows = [
        (i, np.full((2, frames, 25), i, np.float32), np.zeros((2, frames, 58), np.float32))
        for i, frames in ((4, 751), (1, 750), (2, 751))
    ]
    found = Predictions.stack(rows)
    assert found.items.tolist() == [1, 2, 4]
    assert found.emotion.shape == (3, 2, 750, 25)
    assert found.emotion[:, 0, 0, 0].tolist() == [1, 2, 4]
    assert found.rows([4, 1]).emotion[:, 0, 0, 0].tolist() == [4, 1]


def test_the_validation_subset_is_the_same_every_time() -> None:
    chosen = validation_items(100, 16, seed=5)
    assert chosen == validation_items(100, 16, seed=5) == sorted(set(chosen))
    assert len(chosen) == 16
    assert chosen != validation_items(100, 16, seed=6)
    assert validation_items(7, 16, seed=5) == validation_items(7, None, seed=5) == list(range(7))


def test_other_speakers_are_unrelated() -> None:
    rng = np.random.default_rng(0)
    neighbours = rng.random((30, 30)) < 0.4
    np.fill_diagonal(neighbours, True)
    sessions = [f"s{i // 3}" for i in range(30)]
    for item, other in enumerate(other_speakers(neighbours, sessions)):
        assert not neighbours[item, other]
        assert not neighbours[other, item]
        assert sessions[item] != sessions[other]
    with pytest.raises(DataError, match="no unrelated speaker"):
        other_speakers(np.ones((4, 4), bool), list("abcd"))
