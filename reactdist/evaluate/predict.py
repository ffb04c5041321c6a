"""Ten reactions for every item of a split: what the challenge asks for and what is scored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from reactdist.data.clips import whole_items
from reactdist.data.shards import Shards
from reactdist.errors import DataError
from reactdist.models.baselines import BASELINES, Predictor
from reactdist.models.protocol import Reaction
from reactdist.schema import NUM_SAMPLES


@dataclass(frozen=True)
class Predictions:
    """K reactions to each of n speakers; rows follow `items`.

    Attributes:
        items: (n,) int64 item numbers of the split, ascending.
        emotion: (n, K, T, 25) float32 attributes.
        coefficients: (n, K, T, 58) float32 3DMM coefficients in model space (value - mean_face).
    """

    items: np.ndarray
    emotion: np.ndarray
    coefficients: np.ndarray

    def rows(self, items: Sequence[int]) -> Predictions:
        """Only these items, all of which must be there."""
        at = np.searchsorted(self.items, np.asarray(items))
        return Predictions(self.items[at], self.emotion[at], self.coefficients[at])

    @classmethod
    def stack(cls, rows: Iterable[tuple[int, np.ndarray, np.ndarray]]) -> Predictions:
        """From (item, emotion (K,T,25), coefficients (K,T,58)) in any order.

        Clips of a release differ by a frame (750 or 751); all are cut to the shortest.
        """
        ordered = sorted(rows, key=lambda row: row[0])
        if not ordered:
            raise DataError("no items to predict", fix="choose a split that holds pairs")
        frames = min(emotion.shape[1] for _, emotion, _ in ordered)
        return cls(
            np.array([item for item, _, _ in ordered], dtype=np.int64),
            np.stack([emotion[:, :frames] for _, emotion, _ in ordered]),
            np.stack([coefficients[:, :frames] for _, _, coefficients in ordered]),
        )


def predict(
    model: nn.Module,
    shards: Shards,
    split: str,
    *,
    items: Sequence[int] | None = None,
    frames: int | None = None,
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
    speaker_of: Sequence[int] | None = None,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Reactions of a trained model, one item at a time.

    The noise of an item depends on (seed, item) alone: any division of the items over workers
    gives the same predictions.

    Args:
        items: which items, None for all of the split.
        frames: first frames of each clip, None for whole clips.
        speaker_of: for every item of `items`, the item whose speaker is shown instead (the
            control that tells whether a model uses the speaker at all).

    Yields:
        item, emotion (K,T,25) float32, coefficients (K,T,58) float32.
    """
    chosen = list(range(len(shards.items(split)))) if items is None else list(items)
    shown = chosen if speaker_of is None else list(speaker_of)
    device = next(model.parameters()).device
    model.eval()
    clips = whole_items(shards, split, shown, frames=frames)
    for item, clip in zip(chosen, clips, strict=True):
        # Drawn on the CPU wherever the model is: a GPU's generator gives other numbers, and stored
        # predictions must be repeatable on another machine.
        generator = torch.Generator().manual_seed(item_seed(seed, item))
        video = torch.from_numpy(clip["speaker_video"]).unsqueeze(0).to(device)
        audio = torch.from_numpy(clip["speaker_audio"]).unsqueeze(0).to(device)
        with torch.inference_mode():
            reaction: Reaction = model.sample(video, audio, num_samples, generator)  # type: ignore[operator]
        yield (
            item,
            reaction.emotion[0].float().cpu().numpy(),
            reaction.coefficients[0].float().cpu().numpy(),
        )


def predict_baseline(
    name: str,
    shards: Shards,
    split: str,
    *,
    frames: int | None = None,
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
    skip_damaged: bool = False,
) -> Predictions:
    """A naive baseline's reactions to every item of a split (GT, Random, Mime, MeanSeq, MeanFr).

    `skip_damaged` leaves training clips that cannot be read out of what the baseline learns from.
    """
    baseline = BASELINES[name](training_clips(shards, skip_damaged=skip_damaged))
    return Predictions.stack(
        baseline_rows(baseline, shards, split, frames=frames, num_samples=num_samples, seed=seed)
    )


def baseline_rows(
    baseline: Predictor,
    shards: Shards,
    split: str,
    *,
    items: Sequence[int] | None = None,
    frames: int | None = None,
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Reactions of a fitted baseline, one item at a time, as `predict` gives a model's."""
    for clip in whole_items(shards, split, items, frames=frames, with_video=False):
        item = clip["item"].index
        generator = torch.Generator().manual_seed(item_seed(seed, item))
        emotion, coefficients = baseline.predict(
            clip["speaker_emotion"],
            clip["speaker_coefficients"],
            clip["listener_emotion"],
            clip["listener_coefficients"],
            num_samples=num_samples,
            generator=generator,
        )
        yield item, emotion, coefficients


def training_clips(
    shards: Shards, *, skip_damaged: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(emotion, coefficients) of every person clip of the training split, both roles, once each.

    Raises:
        DataError: a damaged clip, unless those are skipped.
    """
    for key in sorted({k for item in shards.items("train") for k in (item.speaker, item.listener)}):
        try:
            clip = shards.read(key, columns=("emotion", "coefficients"))
        except DataError:
            if not skip_damaged:
                raise
            continue
        yield clip["emotion"], clip["coefficients"]


def item_seed(seed: int, item: int) -> int:
    """Seed of one item's noise."""
    return int(np.random.SeedSequence([seed, item]).generate_state(1, np.uint64)[0] >> 1)


def validation_items(num_items: int, count: int | None, seed: int) -> list[int]:
    """A seeded subset of a split's items, the same every time; all of them where count is None."""
    if count is None or count >= num_items:
        return list(range(num_items))
    chosen = np.random.default_rng(seed).choice(num_items, size=count, replace=False)
    return sorted(int(i) for i in chosen)


def other_speakers(neighbours: np.ndarray, sessions: Sequence[str], seed: int = 0) -> list[int]:
    """For every item, another item whose speaker it is not right to react to in the same way.

    The other item is not an appropriate neighbour in either direction and is of another session.

    Raises:
        DataError: an item has no such other.
    """
    generator = np.random.default_rng(seed)
    names = np.asarray(sessions)
    chosen = []
    for item in range(len(names)):
        strange = ~neighbours[item] & ~neighbours[:, item] & (names != names[item])
        if not strange.any():
            raise DataError(
                f"item {item} has no unrelated speaker to be swapped with",
                fix="use a split with more sessions",
            )
        chosen.append(int(generator.choice(np.flatnonzero(strange))))
    return chosen
