"""Naive predictors that every score is shown beside (react2024.md, section 5).

GT repeats the truth, Random draws uniform noise, Mime repeats the speaker, MeanSeq and MeanFr
repeat what people do on average. None of them learns, none looks at pictures.

Letters: K samples, T frames of a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from reactdist.errors import InputError
from reactdist.schema import NUM_ATTRIBUTES, NUM_COEFFICIENTS

Array = NDArray[np.float32]


class Predictor(Protocol):
    """Predicts reactions of a clip from its annotations."""

    def predict(
        self,
        speaker_emotion: Array,
        speaker_coefficients: Array,
        listener_emotion: Array,
        listener_coefficients: Array,
        num_samples: int,
        generator: torch.Generator | None,
    ) -> tuple[Array, Array]:
        """Emotion (K, T, 25) and coefficients (K, T, 58), float32.

        Takes (T, 25) and (T, 58) arrays of the speaker and of the listener; only GT reads the
        listener's values, the others its number of frames.
        """
        ...


class GT:
    """The listener's truth, K times."""

    def predict(
        self,
        speaker_emotion: Array,
        speaker_coefficients: Array,
        listener_emotion: Array,
        listener_coefficients: Array,
        num_samples: int,
        generator: torch.Generator | None,
    ) -> tuple[Array, Array]:
        """As `Predictor.predict`."""
        return _repeat(listener_emotion, num_samples), _repeat(listener_coefficients, num_samples)


class Random:
    """Uniform in [0, 1], independent for each sample, frame and channel."""

    def predict(
        self,
        speaker_emotion: Array,
        speaker_coefficients: Array,
        listener_emotion: Array,
        listener_coefficients: Array,
        num_samples: int,
        generator: torch.Generator | None,
    ) -> tuple[Array, Array]:
        """As `Predictor.predict`."""
        shape = (num_samples, len(listener_emotion), NUM_ATTRIBUTES + NUM_COEFFICIENTS)
        drawn = torch.rand(shape, generator=generator).numpy()
        return drawn[..., :NUM_ATTRIBUTES].copy(), drawn[..., NUM_ATTRIBUTES:].copy()


class Mime:
    """The speaker's own face, K times; cut to the listener's frames or its last frame held."""

    def predict(
        self,
        speaker_emotion: Array,
        speaker_coefficients: Array,
        listener_emotion: Array,
        listener_coefficients: Array,
        num_samples: int,
        generator: torch.Generator | None,
    ) -> tuple[Array, Array]:
        """As `Predictor.predict`."""
        frames = len(listener_emotion)
        return (
            _repeat(_fit(speaker_emotion, frames), num_samples),
            _repeat(_fit(speaker_coefficients, frames), num_samples),
        )


@dataclass(frozen=True)
class MeanSeq:
    """The mean of the training clips (both roles), frame by frame.

    A frame's mean is taken over the clips that have that frame. A clip longer than every training
    clip gets the last mean frame held to its end.
    """

    emotion: Array  # (T, 25)
    coefficients: Array  # (T, 58)

    @classmethod
    def fit(cls, clips: Iterable[tuple[Array, Array]]) -> MeanSeq:
        """From (emotion (T, 25), coefficients (T, 58)) of each training clip.

        Raises:
            InputError: no clips, or a clip whose two arrays differ in length or are of another
                width.
        """
        sums = np.zeros((0, NUM_ATTRIBUTES + NUM_COEFFICIENTS))
        counts = np.zeros((0, 1))
        for index, (emotion, coefficients) in enumerate(clips):
            _check_clip(index, emotion, coefficients)
            missing = max(0, len(emotion) - len(sums))
            sums = np.pad(sums, ((0, missing), (0, 0)))
            counts = np.pad(counts, ((0, missing), (0, 0)))
            sums[: len(emotion)] += np.concatenate([emotion, coefficients], 1)
            counts[: len(emotion)] += 1
        if not len(sums):
            raise InputError("no training clips to take a mean of", fix="check the train split")
        mean = (sums / counts).astype(np.float32)
        return cls(mean[:, :NUM_ATTRIBUTES], mean[:, NUM_ATTRIBUTES:])

    def predict(
        self,
        speaker_emotion: Array,
        speaker_coefficients: Array,
        listener_emotion: Array,
        listener_coefficients: Array,
        num_samples: int,
        generator: torch.Generator | None,
    ) -> tuple[Array, Array]:
        """As `Predictor.predict`."""
        frames = len(listener_emotion)
        return (
            _repeat(_fit(self.emotion, frames), num_samples),
            _repeat(_fit(self.coefficients, frames), num_samples),
        )


class MeanFr(MeanSeq):
    """`MeanSeq`'s mean over time, the same in every frame."""

    @classmethod
    def fit(cls, clips: Iterable[tuple[Array, Array]]) -> MeanFr:
        """As `MeanSeq.fit`."""
        sequence = MeanSeq.fit(clips)
        return cls(
            sequence.emotion.mean(0, keepdims=True), sequence.coefficients.mean(0, keepdims=True)
        )


BASELINES: dict[str, Callable[[Iterable[tuple[Array, Array]]], Predictor]] = {
    "GT": lambda clips: GT(),
    "Random": lambda clips: Random(),
    "Mime": lambda clips: Mime(),
    "MeanSeq": MeanSeq.fit,
    "MeanFr": MeanFr.fit,
}
"""Name -> a function of the training clips that gives the predictor; three of them read no clip."""


def _repeat(clip: Array, num_samples: int) -> Array:
    """(T, C) -> (K, T, C), every sample its own copy."""
    return np.repeat(np.asarray(clip, np.float32)[None], num_samples, 0)


def _fit(clip: Array, frames: int) -> Array:
    """`clip` with exactly `frames` frames: cut, or its last frame held."""
    return clip[np.minimum(np.arange(frames), len(clip) - 1)]


def _check_clip(index: int, emotion: Array, coefficients: Array) -> None:
    expected = ((len(emotion), NUM_ATTRIBUTES), (len(emotion), NUM_COEFFICIENTS))
    if (emotion.shape, coefficients.shape) != expected or not len(emotion):
        raise InputError(
            f"emotion {emotion.shape} and coefficients {coefficients.shape} do not fit, "
            "expected (T, 25) and (T, 58)",
            where=f"training clip {index}",
            fix="check the split with `reactdist data check`",
        )
