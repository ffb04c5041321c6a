"""Video as one mp4 a clip: `SITE/SESSION/ROLE/1.mp4`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reactdist.data.faults import Damaged, Empty, Truncated, Undecodable
from reactdist.data.layouts.base import Frame, VideoHeader, checked_size


class Mp4Video:
    """Frames in an mp4 file, decoded with PyAV's own ffmpeg."""

    name = "mp4"
    suffix = ".mp4"

    def is_clip(self, path: Path) -> bool:
        return path.suffix == self.suffix

    def header(self, path: Path) -> VideoHeader:
        """Opens the container, counts its packets and decodes the first frame."""
        import av

        _check_boxes(path)
        try:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                declared = stream.frames
                first = next(container.decode(stream), None)
            with av.open(str(path)) as container:
                packets = sum(1 for p in container.demux(video=0) if p.size)
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise Damaged(f"the container cannot be opened ({error})", where=path) from None
        if first is None:
            raise Empty("the video has no frames", where=path)
        if declared and packets != declared:
            raise Truncated(f"holds {packets} frames, its header says {declared}", where=path)
        return checked_size(VideoHeader(packets, first.height, first.width), path)

    def frames(self, path: Path) -> Iterator[Frame]:
        import av

        number = 0
        try:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                # One thread a clip: clips are decoded side by side already. The decoder is told
                # to fail at damaged data instead of inventing pixels.
                stream.thread_type = "NONE"
                stream.codec_context.options = {"err_detect": "explode"}
                for frame in container.decode(stream):
                    if frame.is_corrupt:
                        raise Undecodable(f"frame {number} is damaged", where=path)
                    yield frame.to_ndarray(format="rgb24")
                    number += 1
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise Undecodable(f"frame {number} cannot be decoded ({error})", where=path) from None


def _check_boxes(path: Path) -> None:
    """Walk the top-level boxes of the file: they must fill it exactly, `moov` and `mdat` included.

    ffmpeg opens a file whose tail is gone if the index comes first; this does not.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise Empty("is empty", where=path)
        kinds, position = [], 0
        with path.open("rb") as file:
            while position < size:
                file.seek(position)
                head = file.read(16)
                length, kind = int.from_bytes(head[:4], "big"), head[4:8]
                if length == 1:
                    length = int.from_bytes(head[8:16], "big")
                elif length == 0:
                    length = size - position
                if length < 8 or not kind.isalnum():
                    raise Damaged("the container is damaged", where=path)
                kinds.append(kind)
                position += length
    except OSError as error:
        raise Damaged(f"cannot be read ({error.strerror})", where=path) from None
    if position != size or b"moov" not in kinds or b"mdat" not in kinds:
        raise Truncated("the file is cut short", where=path)
    if kinds[0] != b"ftyp":
        raise Damaged("the container is damaged", where=path)
