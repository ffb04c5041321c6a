"""Anybody's files scored by blocks, for a cluster: the same numbers as `score_items`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reactdist.data.hashing import sha256_of
from reactdist.evaluate.blocks import (
    BLOCK_ITEMS,
    Kept,
    Runner,
    Tick,
    code_hash,
    cut,
    run_here,
    score_blocks,
)
from reactdist.evaluate.clip_files import open_clips, open_npy
from reactdist.evaluate.sources import Row
from reactdist.evaluate.truth import Truth
from reactdist.metrics.inputs import check_inputs

if TYPE_CHECKING:
    import pandas as pd

SOURCE = "predictions"


@dataclass(frozen=True)
class FileSource:
    """Predictions on disk, which every node sees under this name; they hold no coefficients."""

    path: Path
    is_costly: bool = False

    def rows(self, items: Sequence[int]) -> Iterator[Row]:
        """As `Source.rows`."""
        clips = open_clips(self.path)
        for item in items:
            emotion = np.asarray(clips[item])
            yield item, emotion, emotion[..., :0]


def score_files(
    predictions: Path,
    listeners: Path,
    speakers: Path,
    neighbours: Path,
    *,
    metrics: Sequence[str] | None = None,
    binarize_au: bool = False,
    kept_in: Path | None = None,
    block_items: int = BLOCK_ITEMS,
    runner: Runner = run_here,
    tick: Tick = lambda what, done, total: None,
) -> pd.DataFrame:
    """The `score_items` table of files that `open_clips` reads.

    kept_in: folder of the blocks that are scored, so that the same call after a kill goes on
        where the killed one ended; None to keep nothing.

    Raises:
        InputError: as `open_clips` and `score_items`.
    """
    matrix = np.asarray(open_npy(neighbours))
    inputs = check_inputs(
        open_clips(predictions),
        open_clips(listeners),
        open_clips(speakers),
        matrix,
        binarize_au=binarize_au,
    )
    everyone = range(len(inputs))
    truth = Truth(
        np.stack([inputs.listener(item) for item in everyone]),
        np.stack([inputs.speaker(item) for item in everyone]),
        inputs.neighbours,
        sessions=(),
    )
    key = ""
    if kept_in is not None:
        files = (predictions, listeners, speakers, neighbours)
        contents = [sha256_of(file)[0] for file in files]
        settings = [metrics, binarize_au, block_items, np.__version__, code_hash()]
        key = hashlib.sha256(json.dumps([contents, settings]).encode()).hexdigest()
    [table] = score_blocks(
        {SOURCE: FileSource(predictions.absolute())},
        {SOURCE: Kept(None, kept_in, key)},
        truth,
        cut(SOURCE, everyone, block_items),
        metrics=metrics,
        binarize_au=binarize_au,
        runner=runner,
        tick=tick,
    ).values()
    return table
