"""Video as a folder of pictures a clip: `SITE/SESSION/ROLE/1/1.png` to `751.png`."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from reactdist.data.faults import Damaged, Empty, Missing, Truncated, Undecodable, WrongShape
from reactdist.data.layouts.base import Frame, VideoHeader, checked_size

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TRAILER = b"\0\0\0\0IEND\xaeB`\x82"


class PngVideo:
    """Frames as numbered PNG files; numbers start at 1 and have no gaps."""

    name = "png"
    suffix = ""

    def is_clip(self, path: Path) -> bool:
        return path.is_dir()

    def header(self, path: Path) -> VideoHeader:
        """Looks at the head and tail of every picture."""
        files = self._files(path)
        sizes = {_png_size(file) for file in files}
        if len(sizes) != 1:
            raise WrongShape(f"pictures of {len(sizes)} sizes", where=path)
        width, height = sizes.pop()
        return checked_size(VideoHeader(len(files), height, width), path)

    def frames(self, path: Path) -> Iterator[Frame]:
        from PIL import Image

        for file in self._files(path):
            try:
                with Image.open(file) as picture:
                    yield np.asarray(picture.convert("RGB"))
            except (OSError, ValueError, SyntaxError) as error:
                raise Undecodable(f"cannot be decoded ({error})", where=file) from None

    def _files(self, path: Path) -> list[Path]:
        try:
            numbers = sorted(int(f.stem) for f in path.glob("*.png") if f.stem.isdecimal())
        except OSError as error:
            raise Damaged(f"cannot be read ({error.strerror})", where=path) from None
        if not numbers:
            raise Empty("the video has no frames", where=path)
        missing = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
        if missing:
            raise Missing(f"picture {missing[0]}.png is missing", where=path)
        return [path / f"{number}.png" for number in numbers]


def _png_size(file: Path) -> tuple[int, int]:
    """(width, height) of a PNG whose first and last bytes are in place."""
    try:
        with file.open("rb") as stream:
            head = stream.read(24)
            stream.seek(-min(len(TRAILER), len(head)), 2)
            tail = stream.read()
    except OSError as error:
        raise Damaged(f"cannot be read ({error.strerror})", where=file) from None
    if not head:
        raise Empty("is empty", where=file)
    if len(head) < 24 or not head.startswith(SIGNATURE):
        raise Damaged("is not a PNG", where=file)
    if tail != TRAILER:
        raise Truncated("the file is cut short", where=file)
    width, height = struct.unpack(">II", head[16:24])
    return width, height
