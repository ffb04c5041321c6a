"""Video as one float array a clip: `SITE/SESSION/ROLE/1.npy`, (T, 3, 224, 224) in [-1, 1]."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from reactdist.data.coefficients import read_npy
from reactdist.data.faults import NonFinite, OutOfRange, WrongShape
from reactdist.data.layouts.base import Frame, VideoHeader, checked_size

PROBES = 8
"""Frames looked at without reading the whole 452 MB."""
SLACK = 1e-3


class PackedVideo:
    """Frames packed as float32, already cropped and scaled."""

    name = "packed"
    suffix = ".npy"

    def is_clip(self, path: Path) -> bool:
        return path.suffix == self.suffix

    def header(self, path: Path) -> VideoHeader:
        """Reads the header, compares it with the file's size and looks at a few frames."""
        array = self._open(path)
        header = checked_size(VideoHeader(len(array), *array.shape[2:]), path)
        for number in np.unique(np.linspace(0, len(array) - 1, PROBES, dtype=int)):
            _to_uint8(array[number], path, int(number))
        return header

    def frames(self, path: Path) -> Iterator[Frame]:
        array = self._open(path)
        for number in range(len(array)):
            yield _to_uint8(array[number], path, number)

    def _open(self, path: Path) -> np.ndarray:
        array = read_npy(path, mmap=True)
        if array.ndim != 4 or array.shape[1] != 3 or array.dtype.kind != "f":
            raise WrongShape(
                f"has shape {array.shape} of {array.dtype}, expected (T, 3, 224, 224) of float32",
                where=path,
            )
        return array


def _to_uint8(frame: np.ndarray, path: Path, number: int) -> Frame:
    """(3, H, W) in [-1, 1] -> (H, W, 3) uint8."""
    if not np.isfinite(frame).all():
        raise NonFinite(f"frame {number} is not finite", where=path)
    if np.abs(frame).max() > 1 + SLACK:
        raise OutOfRange(f"frame {number} leaves [-1, 1]", where=path)
    scaled = np.rint((frame.transpose(1, 2, 0) + 1) * 127.5)
    return scaled.clip(0, 255).astype(np.uint8)
