"""Decoded frames of ffmpeg as RGB arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class RgbConverter:
    """Converts many frames of one size; a converter made for each frame would cost more than
    the conversion."""

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any, out: npt.NDArray[np.uint8] | None = None) -> Any:
        """An `av.VideoFrame` -> (H, W, 3) uint8, written to `out` if given."""
        # No pixel is moved, so the choice only decides how half-resolution colour is spread.
        picture = self._reformatter.reformat(frame, format="rgb24", interpolation="POINT")
        plane: Any = picture.planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(picture.height, plane.line_size)
        pixels = rows[:, : 3 * picture.width].reshape(picture.height, picture.width, 3)
        if out is None:
            return pixels.copy()
        out[:] = pixels
        return out
