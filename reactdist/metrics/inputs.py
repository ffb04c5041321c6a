"""What the metrics read: prediction and truth arrays checked once, then read an item at a time.

Nothing here holds the whole prediction set: `predictions` may be a memory-mapped file or any
object with `shape` and `[item] -> (K, T, 25)`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from reactdist.errors import InputError
from reactdist.schema import AU_SLICE, NUM_ATTRIBUTES

AU_THRESHOLD = 0.5
"""`binarize_au`: an action unit occurs where its value is at least this."""


class Clips(Protocol):
    """Rows of clips that can be read one at a time: an ndarray, a memmap, a folder of files."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, K, T, 25) or (N, T, 25)."""

    def __getitem__(self, row: Any) -> Any:
        """Row `row` as an array."""


@dataclass(frozen=True)
class Item:
    """One item, ready for the metrics.

    row: its place among all N items (and in `neighbours`).
    predictions: (K, T, 25), finite, the caller's float type but never half precision.
    listeners: (J, T, 25) the J appropriate real reactions.  speaker: (T, 25).
    """

    row: int
    predictions: np.ndarray
    listeners: np.ndarray
    speaker: np.ndarray


@dataclass(frozen=True)
class Inputs:
    """Arrays of one scoring, checked; `item(b)` reads the b-th item of the block.

    predictions (B,K,T,25) of the items `rows` (B,); listeners (N,T,25), speakers (N,T,25),
    neighbours (N,N) bool. `num_frames` is the shorter of prediction and truth.
    """

    predictions: Clips
    listeners: Clips
    speakers: Clips
    neighbours: np.ndarray
    rows: np.ndarray
    num_frames: int
    binarize_au: bool = False

    @property
    def num_samples(self) -> int:
        """K, the predictions of an item."""
        return int(self.predictions.shape[1])

    def __len__(self) -> int:
        return len(self.rows)

    def item(self, block_row: int) -> Item:
        """The item at `block_row` of the block; raises InputError when a value is not finite."""
        row = int(self.rows[block_row])
        return Item(
            row=row,
            predictions=self.sample(block_row),
            listeners=np.stack(
                [self.listener(int(j)) for j in np.flatnonzero(self.neighbours[row])]
            ),
            speaker=self.speaker(row),
        )

    def sample(self, block_row: int) -> np.ndarray:
        """(K, T, 25): the predictions of the item at `block_row`."""
        row = int(self.rows[block_row])
        values = self._read(self.predictions, block_row, "predictions", row)
        if self.binarize_au:
            values = values.copy()
            values[..., AU_SLICE] = values[..., AU_SLICE] >= AU_THRESHOLD
        return values

    def listener(self, row: int) -> np.ndarray:
        """(T, 25): the real reaction of item `row` of all N."""
        return self._read(self.listeners, row, "listeners")

    def speaker(self, row: int) -> np.ndarray:
        """(T, 25): the speaker of item `row` of all N."""
        return self._read(self.speakers, row, "speakers")

    def _read(self, clips: Clips, row: int, name: str, item: int | None = None) -> np.ndarray:
        values = np.asarray(clips[row])[..., : self.num_frames, :]
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise InputError(
                "holds NaN or infinity",
                where=f"{name}[{row if item is None else item}]",
                fix="find what produced it",
            )
        return values


def check_inputs(
    predictions: Any,
    listeners: Any,
    speakers: Any,
    neighbours: Any,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    binarize_au: bool = False,
) -> Inputs:
    """The arguments of `score` as `Inputs`.

    Raises:
        InputError: a shape that does not fit, a matrix whose size is not N, an item without an
            appropriate neighbour, fewer than two frames. Values are checked as they are read.
    """
    predictions, listeners, speakers = map(as_clips, (predictions, listeners, speakers))
    _check_shape("predictions", predictions, "(N, K, T, 25)", 4)
    _check_shape("listeners", listeners, "(N, T, 25)", 3)
    _check_shape("speakers", speakers, "(N, T, 25)", 3)
    total = listeners.shape[0]
    if speakers.shape[0] != total:
        raise InputError(
            f"there are {speakers.shape[0]} speakers and {total} listeners",
            fix="give both for the same items",
        )
    chosen = np.arange(total) if rows is None else np.asarray(rows, dtype=np.int64)
    if predictions.shape[0] != len(chosen):
        raise InputError(
            f"predictions hold {predictions.shape[0]} items, there are {len(chosen)}",
            fix="score the items of the lists, in their order",
        )
    if len(chosen) == 0:
        raise InputError("no items to score", fix="give at least one")
    if chosen.min() < 0 or chosen.max() >= total:
        raise InputError(f"rows must be 0 to {total - 1}", fix="count items as the lists do")
    return Inputs(
        predictions=predictions,
        listeners=listeners,
        speakers=speakers,
        neighbours=_check_neighbours(neighbours, total, chosen),
        rows=chosen,
        num_frames=_common_frames(predictions.shape[2], listeners.shape[1], speakers.shape[1]),
        binarize_au=binarize_au,
    )


def check_predictions(
    predictions: Any, *, frames: int | None = None, binarize_au: bool = False
) -> Inputs:
    """`Inputs` of predictions (B,K,T,25) alone, for what needs no truth.

    frames: the first frames of each clip only, where the truth they are scored against is shorter.
    """
    predictions = as_clips(predictions)
    _check_shape("predictions", predictions, "(N, K, T, 25)", 4)
    block, _, length, attributes = predictions.shape
    truth = np.broadcast_to(np.float32(0), (block, length, attributes))
    neighbours = np.eye(block, dtype=bool)
    inputs = check_inputs(predictions, truth, truth, neighbours, binarize_au=binarize_au)
    return replace(inputs, num_frames=min(length, frames or length))


def as_clips(values: Any) -> Clips:
    """Anything array-like as `Clips`."""
    # Memory maps and readers of folders pass as they are; lists and tensors become arrays.
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return values if hasattr(values, "shape") else np.asarray(values)


def _check_shape(name: str, clips: Clips, wanted: str, dimensions: int) -> None:
    shape = tuple(clips.shape)
    if len(shape) != dimensions or shape[-1] != NUM_ATTRIBUTES or 0 in shape:
        raise InputError(f"{name} have shape {shape}", fix=f"{wanted} is needed")
    dtype = getattr(clips, "dtype", np.dtype(np.float32))
    if dtype.kind not in "fiub":
        raise InputError(f"{name} hold no numbers but {dtype}", fix="give float arrays")


def _check_neighbours(neighbours: Any, total: int, rows: np.ndarray) -> np.ndarray:
    matrix = np.asarray(neighbours)
    if matrix.shape != (total, total):
        raise InputError(
            f"neighbours have shape {matrix.shape}, there are {total} items",
            fix=f"({total}, {total}) is needed; data.neighbours.cut_neighbours cuts the full one",
        )
    if not np.isin(matrix, (0, 1)).all():
        raise InputError("neighbours hold other values than 0 and 1", fix="give a 0/1 matrix")
    matrix = matrix.astype(bool)
    lonely = rows[~matrix[rows].any(axis=1)]
    if len(lonely):
        raise InputError(
            f"item {lonely[0]} has no appropriate neighbour ({len(lonely)} such items)",
            where="neighbours",
            fix="an item's own listener is always appropriate: set the diagonal",
        )
    return matrix


def _common_frames(predicted: int, listeners: int, speakers: int) -> int:
    lengths = (predicted, listeners, speakers)
    frames = min(lengths)
    said = f"predictions have {predicted} frames, listeners {listeners}, speakers {speakers}"
    if max(lengths) - frames > 1:
        raise InputError(said, fix="a difference of one frame is cut; more is another clip")
    if max(lengths) != frames:
        warnings.warn(f"{said}: scored on the first {frames}", stacklevel=4)
    if frames < 2:
        raise InputError("clips have one frame", fix="at least two are needed")
    return frames
