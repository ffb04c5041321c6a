"""What a layout is: one way a release may store the video or name the emotion files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from reactdist.data.faults import Empty, WrongShape
from reactdist.schema import CROP_PIXELS, FRAME_PIXELS

Frame = npt.NDArray[np.uint8]
"""(H, W, 3) RGB."""


@dataclass(frozen=True)
class VideoHeader:
    """What is known of a video without decoding it."""

    num_frames: int
    height: int
    width: int


class VideoLayout(Protocol):
    """One way to store a clip's frames. Errors are FileFault and name the file."""

    name: str
    suffix: str
    """What follows the clip's index in the path: `.mp4`, or nothing for a folder."""

    def is_clip(self, path: Path) -> bool:
        """Whether `path` looks like one clip stored this way."""
        ...

    def header(self, path: Path) -> VideoHeader:
        """Frames and size, having checked everything that needs no full decoding."""
        ...

    def frames(self, path: Path) -> Iterator[Frame]:
        """All frames in order; raises at the first one that cannot be decoded."""
        ...


class EmotionLayout(Protocol):
    """One way to name the emotion files."""

    name: str

    def path(self, clip: str) -> str | None:
        """Path of a clip's csv inside the emotion folder, None if the role is not known."""
        ...


def checked_size(header: VideoHeader, path: Path) -> VideoHeader:
    """`header` if the frames are the published face crops (256) or their centre (224)."""
    if header.num_frames < 1:
        raise Empty("the video has no frames", where=path)
    if header.height != header.width or header.height not in (FRAME_PIXELS, CROP_PIXELS):
        raise WrongShape(
            f"frames are {header.width}x{header.height}, "
            f"expected {FRAME_PIXELS}x{FRAME_PIXELS} (or {CROP_PIXELS}x{CROP_PIXELS} packed)",
            where=path,
        )
    return header


def centre_crop(frame: Frame) -> Frame:
    """The centre 224x224 that the model sees."""
    top, left = ((side - CROP_PIXELS) // 2 for side in frame.shape[:2])
    return frame[top : top + CROP_PIXELS, left : left + CROP_PIXELS]
