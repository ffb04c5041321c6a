"""The 3DMM npy of a person clip: (T, 1, 58) or (T, 58) coefficients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from reactdist.errors import DataError
from reactdist.schema import NUM_COEFFICIENTS

LIMIT = 100.0
"""Published coefficients have means up to 3 and standard deviations under 1."""
MEAN_FACE = Path(__file__).with_name("mean_face.npy")
STD_FACE = Path(__file__).with_name("std_face.npy")


def read_npy(path: str | Path, mmap: bool = False) -> npt.NDArray[np.generic]:
    """A plain npy array; never unpickles.

    Raises:
        DataError: missing, empty, cut short, a damaged header, pickled objects.
    """
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read the npy ({reason})", where=path) from None


def read_coefficients(path: str | Path) -> npt.NDArray[np.float32]:
    """(T, 58) as stored, mean face included; may hold NaN, which `coefficients_fault` names.

    Raises:
        DataError: unreadable, or of another shape.
    """
    array = read_npy(path)
    shape = array.shape
    if array.ndim == 3 and shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 2 or array.shape[1] != NUM_COEFFICIENTS:
        raise DataError(
            f"has shape {shape}, expected (T, 1, {NUM_COEFFICIENTS}) or (T, {NUM_COEFFICIENTS})",
            where=path,
        )
    if array.dtype.kind != "f":
        raise DataError(f"holds {array.dtype}, expected float32", where=path)
    return array.astype(np.float32, copy=False)


def coefficients_fault(values: npt.NDArray[np.float32]) -> tuple[str, str] | None:
    """(kind, detail) of the first thing wrong with coefficients (T, 58), or None."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        frame, column = bad[0]
        return "non-finite", f"coefficient {column} at frame {frame} is not finite"
    bad = np.argwhere(np.abs(values) > LIMIT)
    if len(bad):
        frame, column = bad[0]
        return "out-of-range", f"coefficient {column} at frame {frame} is {values[frame, column]:g}"
    return None


def read_mean_face(path: str | Path | None = None) -> npt.NDArray[np.float32]:
    """(58,) mean that model space is relative to; the published one by default."""
    array = read_npy(path or MEAN_FACE)
    if array.size != NUM_COEFFICIENTS or not np.isfinite(array).all():
        raise DataError(f"is not a mean face of {NUM_COEFFICIENTS} numbers", where=path)
    return array.reshape(NUM_COEFFICIENTS).astype(np.float32)
