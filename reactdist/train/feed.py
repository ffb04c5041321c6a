"""What a rank trains on, and what all ranks agree on when a clip cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from reactdist.data.clips import TRAIN_COLUMNS, Damaged, train_batches
from reactdist.data.shards import Shards
from reactdist.errors import DataError
from reactdist.train.engine import Batch
from reactdist.train.loop import Progress
from reactdist.train.ranks import ProcessRanks
from reactdist.train.settings import DataSettings, TrainSettings

log = logging.getLogger("reactdist.train")


def micro_batches(
    settings: TrainSettings, shards: Shards, ranks: ProcessRanks, progress: Progress
) -> Iterator[Batch]:
    """This rank's share of every global batch from `progress` on, in `accumulation` parts.

    A damaged clip is met by one rank and answered by all: they stop with its error, or, where
    `data.damaged` is "skip", count it in `progress.skipped`.

    Raises:
        DataError: a damaged clip, or more of them than `data.max_skipped`; on all ranks.
    """
    found: list[Damaged] = []
    batches = train_batches(
        shards,
        split="train",
        batch_size=settings.batch_size,
        crop_frames=settings.data.crop_frames,
        seed=settings.seed,
        consumed=progress.step * settings.batch_size,
        rank=ranks.rank,
        world=ranks.world,
        workers=settings.data.workers,
        on_damaged=found.append if settings.data.damaged == "skip" else None,
    )
    while True:
        batch: Batch = {}
        fault = None
        try:
            batch = next(batches)
        except DataError as error:
            fault = error
        if ranks.any(fault is not None or bool(found)):
            settle(settings.data, ranks, progress, found, fault)
            found.clear()
        chunked = {name: batch[name].chunk(settings.accumulation) for name in TRAIN_COLUMNS}
        for part in range(settings.accumulation):
            yield {name: chunks[part] for name, chunks in chunked.items()}


def settle(
    data: DataSettings,
    ranks: ProcessRanks,
    progress: Progress,
    found: list[Damaged],
    fault: DataError | None,
) -> None:
    """Let all ranks know what each could not read: raise it, or count and log it.

    Args:
        found: items of this rank's batch that were replaced.
        fault: why this rank has no batch.
    """
    every = ranks.broadcast(ranks.gather((found, fault)))
    for _, error in every:
        if error is not None:
            raise error
    for damaged in (one for ones, _ in every for one in ones):
        if damaged.item not in progress.skipped:
            log.warning(
                "training item %d is skipped and the next of its epoch is used: %s",
                damaged.item,
                damaged.error.line(),
            )
        progress.skipped[damaged.item] = progress.skipped.get(damaged.item, 0) + 1
        if len(progress.skipped) > data.max_skipped:
            raise DataError(
                f"{len(progress.skipped)} training items cannot be read, data.max_skipped allows "
                f"{data.max_skipped}; the last: {damaged.error.what}",
                where=damaged.error.where,
                fix="build the shards again, or raise data.max_skipped",
            )
