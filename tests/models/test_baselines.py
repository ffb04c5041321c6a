"""Naive baselines by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reactdist.errors import InputError
from reactdist.models.baselines import BASELINES, Array


def clip(frames: int, value: float) -> tuple[Array, Array]:
    return (
        np.full((frames, 25), value, np.float32),
        np.full((frames, 58), -value, np.float32),
    )


def predict(name: str, train: list[tuple[Array, Array]], frames: int = 6) -> tuple[Array, Array]:
    speaker, listener = clip(frames, 5), clip(frames, 7)
    generator = torch.Generator().manual_seed(0)
    predictor = BASELINES[name](train)
    emotion, coefficients = predictor.predict(*speaker, *listener, 3, generator)
    assert emotion.shape == (3, frames, 25)
    assert coefficients.shape == (3, frames, 58)
    assert emotion.dtype == coefficients.dtype == np.float32
    return emotion, coefficients


def test_truth_and_mime_copy_a_person() -> None:
    for name, value in (("GT", 7), ("Mime", 5)):
        emotion, coefficients = predict(name, [])
        assert (emotion == value).all()
        assert (coefficients == -value).all()


def test_random_is_uniform_and_seeded() -> None:
    emotion, coefficients = predict("Random", [], frames=2000)
    assert emotion.mean() == pytest.approx(0.5, abs=0.01)
    assert emotion.var() == pytest.approx(1 / 12, abs=0.002)
    assert coefficients.min() >= 0
    assert np.array_equal(emotion, predict("Random", [], frames=2000)[0])


def test_means_are_of_the_clips_that_have_the_frame() -> None:
    train = [clip(4, 1), clip(2, 3)]
    emotion, coefficients = predict("MeanSeq", train)
    # Frames 0-1 have both clips, 2-3 one; 4-5 are beyond every clip and hold the last.
    assert emotion[1, :, 0].tolist() == [2, 2, 1, 1, 1, 1]
    assert coefficients[2, :, 57].tolist() == [-2, -2, -1, -1, -1, -1]
    still, _ = predict("MeanFr", train)
    assert (still == 1.5).all()


def test_clips_that_do_not_fit_are_named() -> None:
    with pytest.raises(InputError, match="training clip 1: emotion"):
        BASELINES["MeanSeq"]([clip(3, 1), (clip(3, 1)[0], clip(2, 1)[1])])
    with pytest.raises(InputError, match="no training clips"):
        BASELINES["MeanFr"]([])
