"""What predictions of a split are scored against, read from the shards once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from reactdist.data.clips import whole_items
from reactdist.data.shards import Shards
from reactdist.evaluate.predict import Predictions


@dataclass(frozen=True)
class Truth:
    """The real reactions of a split.

    Attributes:
        listeners, speakers: (N, T, 25) float32 attributes of every item, cut to the shortest clip.
        neighbours: (N, N) bool, [i, j]: listener j reacts appropriately to speaker i.
        sessions: N session names; items of a session are not independent.
    """

    listeners: np.ndarray
    speakers: np.ndarray
    neighbours: np.ndarray
    sessions: tuple[str, ...]

    @classmethod
    def read(cls, shards: Shards, split: str, frames: int | None = None) -> Truth:
        """Attributes of all items, of their first `frames` frames where given."""
        clips = list(whole_items(shards, split, frames=frames, with_video=False))
        shortest = min(len(clip["listener_emotion"]) for clip in clips)
        return cls(
            np.stack([clip["listener_emotion"][:shortest] for clip in clips]),
            np.stack([clip["speaker_emotion"][:shortest] for clip in clips]),
            shards.neighbours(split),
            tuple(item.session for item in shards.items(split)),
        )

    def score_items(
        self, predictions: Predictions, metrics: tuple[str, ...] | None = None
    ) -> pd.DataFrame:
        """Per-item scores, a row for each predicted item, with a `session` column."""
        from reactdist.metrics import score_items, summarise

        frames = min(predictions.emotion.shape[2], self.listeners.shape[1])
        emotion = predictions.emotion[:, :, :frames]
        table = score_items(
            emotion,
            self.listeners[:, :frames],
            self.speakers[:, :frames],
            self.neighbours,
            metrics,
            rows=predictions.items,
            across=summarise(emotion),
        )
        table.insert(1, "session", [self.sessions[int(item)] for item in table["item"]])
        return table


def means(table: pd.DataFrame, num_samples: int) -> dict[str, float]:
    """The metrics of a table of `Truth.score_items`."""
    from reactdist.metrics import reduce_items

    return reduce_items(table.drop(columns="session"), num_samples)
