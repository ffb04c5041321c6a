"""Anybody's predictions and truth on disk, opened without reading them.

- `X.npy`: one array (N,K,T,25) or (N,T,25), memory-mapped.
- a folder of npy files: one item each, (K,T,25) or (T,25), in the numeric order of their names.
- `X.parquet`, or a folder of them: our predictions (see `predictions.py`).
"""

from __future__ import annotations

import re
from pathlib import Path
from tokenize import TokenError  # numpy's, of a header cut in the middle
from typing import TYPE_CHECKING, Any

import numpy as np

from reactdist.errors import InputError
from reactdist.evaluate.predictions import SUFFIX, read_predictions

if TYPE_CHECKING:
    from reactdist.metrics.inputs import Clips


def open_clips(path: str | Path) -> Clips:
    """The clips at `path`, one of the kinds above; a row is read when asked for.

    Raises:
        InputError: nothing there, an unknown kind of file, a damaged or pickled npy, files of a
            folder that differ in shape by more than one frame, Parquet without some items.
    """
    path = Path(path)
    if path.is_dir():
        if any(path.glob(f"*{SUFFIX}")):
            return _stored(path)
        return ClipFolder(path)
    if not path.exists():
        raise InputError("does not exist", where=path, fix="give an npy file or a folder")
    if path.suffix == SUFFIX:
        return _stored(path)
    if path.suffix == ".npy":
        return open_npy(path)
    raise InputError(
        f"cannot read {path.suffix or 'a file without suffix'}",
        where=path,
        fix="give .npy, .parquet, or a folder of one .npy an item",
    )


def open_npy(path: Path) -> np.ndarray:
    """A memory-mapped array; InputError when the file is missing, damaged or pickled."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError("does not exist", where=path, fix="give an npy file") from None
    except (OSError, ValueError, EOFError, TokenError) as error:
        problem = " ".join(str(error).split())
        raise InputError(f"is not a plain npy array ({problem})", where=path) from None


class ClipFolder:
    """A folder of one npy an item as one array, cut to the shortest clip."""

    def __init__(self, folder: Path) -> None:
        self._files = sorted(folder.glob("*.npy"), key=_numeric)
        if not self._files:
            raise InputError(
                "holds no .npy or .parquet file", where=folder, fix="one .npy an item is needed"
            )
        shapes = [open_npy(file).shape for file in self._files]
        for file, shape in zip(self._files, shapes, strict=True):
            same = len(shape) >= 2 and _but_frames(shape) == _but_frames(shapes[0])
            if not same or abs(shape[-2] - shapes[0][-2]) > 1:
                raise InputError(
                    f"has shape {shape}, {self._files[0].name} has {shapes[0]}",
                    where=file,
                    fix="all items must have the same shape, give or take one frame",
                )
        self._frames = min(shape[-2] for shape in shapes)
        *lead, _, attributes = shapes[0]
        self.shape: tuple[int, ...] = (len(shapes), *lead, self._frames, attributes)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row: Any) -> np.ndarray:
        """(K, T, 25) or (T, 25): the item of file `row`."""
        return np.asarray(open_npy(self._files[row]))[..., : self._frames, :]


def _numeric(file: Path) -> list[Any]:
    """`item_10` after `item_9`."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.stem)]


def _but_frames(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1])


def _stored(path: Path) -> Clips:
    stored = read_predictions(path)
    missing = np.setdiff1d(np.arange(len(stored.items)), stored.items)
    if len(missing):
        raise InputError(
            f"item {missing[0]} is missing ({len(stored.items)} items, highest {stored.items[-1]})",
            where=path,
            fix="predict every item of the split",
        )
    return stored.emotion
