"""An evaluation cut into blocks of items, for any number of processes on any number of machines.

Two passes over the blocks, since FRDvs compares every item with every other:
`Predicting` gives the reactions to a block's items and sums them up, `Scoring` gives its table.

What is worth keeping is a file that appears whole and carries a key, the hash of all it depends
on: the same evaluation after a kill computes only the blocks that are missing. The division into
blocks is fixed, so the numbers are the same, to the last bit, whoever runs them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

import reactdist
from reactdist.data.storage import Store
from reactdist.evaluate.predictions import KEY, PredictionWriter, read_predictions, stored_key
from reactdist.evaluate.sources import Source
from reactdist.evaluate.truth import Truth
from reactdist.metrics import AcrossItems, RealClips, centre_truth, score_items, summarise
from reactdist.metrics.suite import choose

if TYPE_CHECKING:
    import pandas as pd

BLOCK_ITEMS = 8
"""Items of a block: seconds of work, 20 MB of predictions of ten samples of 750 frames."""


@dataclass(frozen=True)
class Block:
    """Some items of one source; `number` counts the blocks of the source."""

    source: str
    number: int
    items: tuple[int, ...]


class Work(Protocol):
    """What is done with a block; pickled once for each process that does it."""

    @property
    def uses_gpu(self) -> bool:
        """Whether a GPU makes it faster."""

    def __call__(self, block: Block) -> Any:
        """The result for a block, which may be pickled."""


Runner = Callable[[Work, Sequence[Block]], Iterator[tuple[Block, Any]]]
"""Does the work on every block and yields the results as they come, in any order."""


Tick = Callable[[str, int, int], None]
"""Called with what is done, the items done and all of them."""


def run_here(work: Work, blocks: Sequence[Block]) -> Iterator[tuple[Block, Any]]:
    """One block after another in this process."""
    for block in blocks:
        yield block, work(block)


def cut(source: str, items: Sequence[int], size: int = BLOCK_ITEMS) -> list[Block]:
    """`items` in blocks of `size`, the last one perhaps smaller."""
    return [
        Block(source, number, tuple(items[start : start + size]))
        for number, start in enumerate(range(0, len(items), size))
    ]


@dataclass(frozen=True)
class Kept:
    """Where the blocks of one source are kept, one Parquet file each.

    predictions: folder of the reactions, None where they are made anew when needed.
    tables: folder of the scores, None where a killed evaluation may start anew.
    key: hash of all that both depend on.
    """

    predictions: Path | None
    tables: Path | None
    key: str

    def finished(self, block: Block) -> pd.DataFrame | None:
        """The scores of a block, if they and the reactions that are kept are there."""
        import pandas as pd

        there = self.predictions is None or self._has(self.predictions, block)
        if not there or self.tables is None or not self._has(self.tables, block):
            return None
        return pd.read_parquet(self.tables / _name(block))

    def reactions(self, block: Block) -> Path | None:
        """The file of a block's reactions, if it is there and whole."""
        if self.predictions is None or not self._has(self.predictions, block):
            return None
        return self.predictions / _name(block)

    def keep(self, block: Block, table: pd.DataFrame) -> None:
        """Write the scores of a block."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.tables is None:
            return
        arrow = pa.Table.from_pandas(table, preserve_index=False)
        arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), KEY: self.key})
        buffer = pa.BufferOutputStream()
        pq.write_table(arrow, buffer)
        Store.at(self.tables).write(_name(block), buffer.getvalue())

    def remove_others(self, blocks: Sequence[Block]) -> None:
        """Remove what an evaluation with other settings, or a killed writer, left behind."""
        names = {_name(block) for block in blocks}
        if self.predictions is not None and self.predictions.is_file():
            self.predictions.unlink()
        for folder in filter(None, (self.predictions, self.tables)):
            for file in sorted(folder.glob("*")):
                if file.name not in names or stored_key(Store.at(folder), file.name) != self.key:
                    file.unlink()

    def _has(self, folder: Path, block: Block) -> bool:
        return stored_key(Store.at(folder), _name(block)) == self.key


@dataclass(frozen=True)
class Predicting:
    """First pass: a block's reactions, kept where that is worth it, summed up for FRDvs.

    frames: of these the scores are taken; predictions are kept whole.
    """

    sources: Mapping[str, Source]
    kept: Mapping[str, Kept]
    frames: int
    binarize_au: bool = False
    uses_gpu: bool = True

    def __call__(self, block: Block) -> AcrossItems:
        block_reactions = reactions(self.sources, self.kept, block, self.frames)
        return summarise(block_reactions, binarize_au=self.binarize_au)


@dataclass(frozen=True)
class Scoring:
    """Second pass: the table of a block, a row an item.

    listeners, speakers (N,T,25), neighbours (N,N), real: the truth of the whole split;
    across: of every source, its blocks' sums added up.
    """

    sources: Mapping[str, Source]
    kept: Mapping[str, Kept]
    listeners: np.ndarray
    speakers: np.ndarray
    neighbours: np.ndarray
    real: RealClips | None
    across: Mapping[str, AcrossItems]
    metrics: tuple[str, ...] | None = None
    binarize_au: bool = False
    uses_gpu: bool = False

    def __call__(self, block: Block) -> pd.DataFrame:
        frames = self.listeners.shape[1]
        return score_items(
            reactions(self.sources, self.kept, block, frames),
            self.listeners,
            self.speakers,
            self.neighbours,
            self.metrics,
            rows=block.items,
            across=self.across.get(block.source),
            real=self.real,
            binarize_au=self.binarize_au,
        )


def score_blocks(
    sources: Mapping[str, Source],
    kept: Mapping[str, Kept],
    truth: Truth,
    blocks: Sequence[Block],
    *,
    metrics: Sequence[str] | None = None,
    binarize_au: bool = False,
    runner: Runner = run_here,
    tick: Tick = lambda what, done, total: None,
) -> dict[str, pd.DataFrame]:
    """The score table of every source, items in order; only blocks without one are computed.

    `metrics`, `binarize_au` and errors are those of `score_items`.
    """
    import pandas as pd

    for source, place in kept.items():
        place.remove_others([block for block in blocks if block.source == source])
    tables = {block: kept[block.source].finished(block) for block in blocks}
    missing = [block for block in blocks if tables[block] is None]
    if missing:
        chosen = {metric.name for metric in choose(metrics)}
        across: dict[str, AcrossItems] = {}
        if "FRDvs" in chosen:
            unfinished = {block.source for block in missing}
            summed = [block for block in blocks if block.source in unfinished]
            predicting = Predicting(sources, kept, truth.listeners.shape[1], binarize_au)
            across = _added_up(_ticking("predicting", runner, predicting, summed, tick), summed)
        scoring = Scoring(
            sources,
            kept,
            truth.listeners,
            truth.speakers,
            truth.neighbours,
            centre_truth(truth.listeners, truth.neighbours) if "ACC" in chosen else None,
            across,
            None if metrics is None else tuple(metrics),
            binarize_au,
        )
        for block, table in _ticking("scoring", runner, scoring, missing, tick):
            kept[block.source].keep(block, table)
            tables[block] = table
    return {
        source: pd.concat(
            [tables[block] for block in blocks if block.source == source], ignore_index=True
        )
        for source in sources
    }


def _ticking(
    what: str, runner: Runner, work: Work, blocks: Sequence[Block], tick: Tick
) -> Iterator[tuple[Block, Any]]:
    done, total = 0, sum(len(block.items) for block in blocks)
    tick(what, done, total)
    for block, result in runner(work, blocks):
        yield block, result
        done += len(block.items)
        tick(what, done, total)


def _added_up(
    sums: Iterator[tuple[Block, AcrossItems]], blocks: Sequence[Block]
) -> dict[str, AcrossItems]:
    """The sums of every source, added in the order of its blocks: rounding depends on it."""
    across: dict[str, AcrossItems] = {}
    waiting: dict[Block, AcrossItems] = {}
    order = list(reversed(blocks))
    for block, sums_of_block in sums:
        waiting[block] = sums_of_block
        while order and order[-1] in waiting:
            first = order.pop()
            ready = waiting.pop(first)
            known = across.get(first.source)
            across[first.source] = ready if known is None else known + ready
    return across


def reactions(
    sources: Mapping[str, Source], kept: Mapping[str, Kept], block: Block, frames: int
) -> np.ndarray:
    """(B, K, frames, 25) float32: read if they are kept, else made, and kept if they are costly."""
    source, place = sources[block.source], kept[block.source]
    file = place.reactions(block)
    if file is not None:
        return np.asarray(read_predictions(file).emotion)[:, :, :frames]
    rows = source.rows(block.items)
    if place.predictions is None:
        return np.stack([emotion[:, :frames] for _, emotion, _ in rows])
    emotions = []
    with PredictionWriter(place.predictions / _name(block), key=place.key) as writer:
        for item, emotion, coefficients in rows:
            writer.append(item, emotion, coefficients)
            emotions.append(emotion[:, :frames])
    return np.stack(emotions)


def code_hash() -> str:
    """sha256 of the source that predictions and scores come from: changed code, other results."""
    root = Path(reactdist.__file__).parent
    hasher = hashlib.sha256()
    for package in ("data", "models", "metrics", "evaluate"):
        for file in sorted((root / package).rglob("*.py")):
            hasher.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return hasher.hexdigest()


def _name(block: Block) -> str:
    return f"{block.number:05d}.parquet"
