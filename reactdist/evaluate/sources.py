"""Who reacts: a model, the same model shown other speakers, a naive baseline, somebody's files.

A source can be pickled and gives the same reactions to an item wherever and beside whichever
others it is asked for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from reactdist.data.shards import Shards
from reactdist.evaluate.predict import baseline_rows, predict
from reactdist.models.baselines import Predictor

Row = tuple[int, np.ndarray, np.ndarray]
"""item, emotion (K,T,25) float32, coefficients (K,T,58) float32."""


class Source(Protocol):
    """K reactions to each item of a split."""

    @property
    def is_costly(self) -> bool:
        """Whether what it gives is worth keeping until the end of an evaluation."""

    def rows(self, items: Sequence[int]) -> Iterator[Row]:
        """The reactions to `items`, in this order."""


@dataclass(frozen=True)
class Draw:
    """Of which clips, and how many reactions with which noise.

    frames: first frames of each clip, None for whole clips.
    """

    shards: Shards
    split: str
    frames: int | None
    num_samples: int
    seed: int


@dataclass(frozen=True)
class ModelSource:
    """A trained model, on the GPU where the process that runs it sees one.

    speaker_of: item -> the item whose speaker is shown instead.
    """

    model: nn.Module
    draw: Draw
    speaker_of: Mapping[int, int] | None = None
    is_costly: bool = True

    def rows(self, items: Sequence[int]) -> Iterator[Row]:
        """As `Source.rows`."""
        draw, shown = self.draw, self.speaker_of
        return predict(
            self.model.to("cuda" if torch.cuda.is_available() else "cpu"),
            draw.shards,
            draw.split,
            items=items,
            frames=draw.frames,
            num_samples=draw.num_samples,
            seed=draw.seed,
            speaker_of=None if shown is None else [shown[item] for item in items],
        )


@dataclass(frozen=True)
class BaselineSource:
    """A naive baseline, fitted already."""

    baseline: Predictor
    draw: Draw
    is_costly: bool = False

    def rows(self, items: Sequence[int]) -> Iterator[Row]:
        """As `Source.rows`."""
        draw = self.draw
        return baseline_rows(
            self.baseline,
            draw.shards,
            draw.split,
            items=items,
            frames=draw.frames,
            num_samples=draw.num_samples,
            seed=draw.seed,
        )
