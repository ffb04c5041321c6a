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
from reactdist.train.settings import TrainSettings

log = logging.getLogger("reactdist.train")


class Feed:
    """This rank's share of every global batch from `progress` on, in `accumulation` parts.

    A damaged clip is met by one rank and answered by all. The rank that meets it goes through the
    step with an item that stands in, so that nobody waits for it, and before anything is updated
    all ranks `settle` it.
    """

    def __init__(
        self, settings: TrainSettings, shards: Shards, ranks: ProcessRanks, progress: Progress
    ) -> None:
        self._settings, self._ranks, self._progress = settings, ranks, progress
        self._met: list[Damaged] = []  # while reading
        self._found: list[Damaged] = []  # in the present batch, not settled
        self._ahead: tuple[Batch | DataError, list[Damaged]] | None = None
        self._parts: Iterator[Batch] = iter(())
        data = settings.data
        self._batches = train_batches(
            shards,
            split="train",
            batch_size=settings.batch_size,
            crop_frames=data.crop_frames,
            seed=settings.seed,
            consumed=progress.step * settings.batch_size,
            rank=ranks.rank,
            world=ranks.world,
            workers=data.workers,
            on_damaged=self._met.append,
            stand_ins=data.max_skipped if data.damaged == "skip" else 1,
        )

    def __next__(self) -> Batch:
        """The next micro-batch.

        Raises:
            DataError: what would stand in cannot be read either; on this rank only.
        """
        part = next(self._parts, None)
        if part is None:
            batch, self._found = self._ahead or self._read()
            self._ahead = None
            if isinstance(batch, DataError):
                raise batch
            count = self._settings.accumulation
            chunks = {name: batch[name].chunk(count) for name in TRAIN_COLUMNS}
            self._parts = iter([{k: v[i] for k, v in chunks.items()} for i in range(count)])
            part = next(self._parts)
        return part

    def read_ahead(self) -> None:
        """Read the batch after this one; what is wrong with it is told when it is asked for."""
        if self._ahead is None:
            self._ahead = self._read()

    @property
    def damaged(self) -> bool:
        """Whether a clip of the present batch could not be read here, and is not settled."""
        return bool(self._found)

    def _read(self) -> tuple[Batch | DataError, list[Damaged]]:
        try:
            batch: Batch | DataError = next(self._batches)
        except DataError as error:
            batch = error
        met = list(self._met)
        self._met.clear()
        return batch, met

    def settle(self) -> None:
        """Raise what any rank met, or count and log it; every rank must call it.

        Raises:
            DataError: a damaged clip, where `data.damaged` is "fail", or more different ones than
                `data.max_skipped`; the same on all ranks.
        """
        every = self._ranks.broadcast(self._ranks.gather(self._found))
        self._found = []
        data, skipped = self._settings.data, self._progress.skipped
        for damaged in (one for ones in every for one in ones):
            error: DataError = damaged.error
            if data.damaged == "fail":
                raise error
            if damaged.item not in skipped:
                log.warning(
                    "training item %d is skipped and the next of its epoch is used: %s",
                    damaged.item,
                    error.line(),
                )
            skipped[damaged.item] = skipped.get(damaged.item, 0) + 1
            if len(skipped) > data.max_skipped:
                raise DataError(
                    f"{len(skipped)} training items cannot be read, data.max_skipped allows "
                    f"{data.max_skipped}; the last: {error.what}",
                    where=error.where,
                    fix="build the shards again, or raise data.max_skipped",
                )
