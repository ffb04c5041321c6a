"""Rendered or real clips as pictures, for FRRea: a folder of mp4 or npy files, one clip each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from reactdist.errors import InputError
from reactdist.evaluate.clip_files import open_npy


def read_frames(folder: Path) -> Iterator[np.ndarray]:
    """Each clip of `folder` and below as (T, H, W, 3) uint8, in the order of the paths.

    Raises:
        InputError: no such folder, no clips in it, a file that cannot be decoded.
    """
    if not folder.is_dir():
        raise InputError("is not a folder", where=folder, fix="give a folder of clips")
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".mp4", ".npy"))
    if not files:
        raise InputError("holds no .mp4 or .npy clip", where=folder, fix="render the clips first")
    for path in files:
        yield open_npy(path) if path.suffix == ".npy" else _decode(path)


def _decode(path: Path) -> np.ndarray:
    import av

    try:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (av.FFmpegError, IndexError) as error:
        raise InputError(
            f"cannot be decoded ({error})", where=path, fix="render it again"
        ) from None
    return np.stack(frames)
