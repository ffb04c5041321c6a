"""The 3DMM npy of a person clip: (T, 1, 58) or (T, 58) coefficients."""

from __future__ import annotations

import math
from pathlib import Path
from tokenize import TokenError  # numpy's, of a header cut in the middle

import numpy as np
import numpy.typing as npt

from reactdist.data.faults import (
    Damaged,
    Empty,
    Missing,
    NonFinite,
    OutOfRange,
    Truncated,
    WrongShape,
)
from reactdist.schema import NUM_COEFFICIENTS

LIMIT = 100.0
"""Published coefficients have means up to 3 and standard deviations under 1."""
MEAN_FACE = Path(__file__).with_name("mean_face.npy")
STD_FACE = Path(__file__).with_name("std_face.npy")


def read_npy(path: str | Path, mmap: bool = False) -> npt.NDArray[np.generic]:
    """A plain npy array; never unpickles.

    Raises:
        FileFault: missing, empty, cut short, a damaged header, pickled objects.
    """
    path = Path(path)
    if not path.is_file():
        raise Missing("is missing", where=path)
    size = path.stat().st_size
    if size == 0:
        raise Empty("is empty", where=path)
    expected = _npy_bytes(path)
    if expected > size:
        raise Truncated(f"has {size} bytes, its header says {expected}", where=path)
    if expected < size:
        raise Damaged(f"has {size} bytes, its header says {expected}", where=path)
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Damaged(f"cannot be read ({error})", where=path) from None


def _npy_bytes(path: Path) -> int:
    """Bytes that the header of an npy file promises for the whole file."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):
                raise Damaged(f"npy format {version} is not one that is published", where=path)
            read = np.lib.format.read_array_header_1_0
            if version == (2, 0):
                read = np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
            if dtype.hasobject:
                raise Damaged("holds pickled objects, which are never loaded", where=path)
            return file.tell() + math.prod(shape) * dtype.itemsize
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, TokenError) as error:
        reason = " ".join(str(error).split())
        raise Damaged(f"has no readable npy header ({reason})", where=path) from None


def read_coefficients(path: str | Path) -> npt.NDArray[np.float32]:
    """(T, 58) as stored, mean face included; may hold NaN, which `check_coefficients` refuses.

    Raises:
        FileFault: unreadable, or of another shape.
    """
    array = read_npy(path)
    shape = array.shape
    if array.ndim == 3 and shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 2 or array.shape[1] != NUM_COEFFICIENTS:
        raise WrongShape(
            f"has shape {shape}, expected (T, 1, {NUM_COEFFICIENTS}) or (T, {NUM_COEFFICIENTS})",
            where=path,
        )
    if array.dtype.kind != "f":
        raise WrongShape(f"holds {array.dtype}, expected float32", where=path)
    return array.astype(np.float32, copy=False)


def check_coefficients(values: npt.NDArray[np.float32], path: str | Path) -> None:
    """Refuse coefficients (T, 58) that are not finite or far outside of what was published.

    Raises:
        FileFault: names the first coefficient and frame.
    """
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        frame, column = bad[0]
        raise NonFinite(f"coefficient {column} at frame {frame} is not finite", where=path)
    bad = np.argwhere(np.abs(values) > LIMIT)
    if len(bad):
        frame, column = bad[0]
        value = values[frame, column]
        raise OutOfRange(f"coefficient {column} at frame {frame} is {value:g}", where=path)


def read_mean_face(path: str | Path | None = None) -> npt.NDArray[np.float32]:
    """(58,) mean that model space is relative to; the published one by default."""
    array = read_npy(path or MEAN_FACE)
    if array.size != NUM_COEFFICIENTS or not np.isfinite(array).all():
        raise WrongShape(f"is not a mean face of {NUM_COEFFICIENTS} numbers", where=path)
    return array.reshape(NUM_COEFFICIENTS).astype(np.float32)
