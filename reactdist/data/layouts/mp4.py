"""Video as one mp4 a clip: `SITE/SESSION/ROLE/1.mp4`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from reactdist.data.faults import Damaged, Empty, Truncated, Undecodable, WrongShape
from reactdist.data.layouts.base import Frame, VideoHeader, checked_size
from reactdist.data.pixels import RgbConverter
from reactdist.schema import FRAME_RATE_HZ

RATE_SLACK_HZ = 0.5


class Mp4Video:
    """Frames in an mp4 file, decoded with PyAV's own ffmpeg."""

    name = "mp4"
    suffix = ".mp4"

    def is_clip(self, path: Path) -> bool:
        return path.suffix == self.suffix

    def header(self, path: Path) -> VideoHeader:
        """Opens the container, walks its packets and decodes the first frame."""
        import av

        _check_boxes(path)
        try:
            with av.open(str(path)) as container:
                first = next(container.decode(_strict(container, path)), None)
            with av.open(str(path)) as container:
                shown = _check_packets(container, path)
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise Damaged(f"the container cannot be opened ({error})", where=path) from None
        if first is None:
            raise Empty("the video has no frames", where=path)
        return checked_size(VideoHeader(shown, first.height, first.width), path)

    def frames(self, path: Path) -> Iterator[Frame]:
        import av

        number, convert = 0, RgbConverter()
        try:
            with av.open(str(path)) as container:
                for frame in container.decode(_strict(container, path)):
                    if frame.is_corrupt:
                        raise Undecodable(f"frame {number} is damaged", where=path)
                    yield convert(frame)
                    number += 1
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise Undecodable(f"frame {number} cannot be decoded ({error})", where=path) from None


def _strict(container: Any, path: Path) -> Any:
    """The video stream, to be decoded by one thread (clips are decoded side by side already) that
    fails at damaged data instead of inventing pixels."""
    stream = container.streams.video[0]
    if stream.codec_context is None:
        raise Damaged("the video is in no known format", where=path)
    stream.thread_type = "NONE"
    stream.codec_context.options = {"err_detect": "explode"}
    return stream


def _check_packets(container: Any, path: Path) -> int:
    """Frames that the container shows, having looked at what it says of each without decoding.

    A packet of H.264 must be made of whole units, each a length and that many bytes
    (ISO/IEC 14496-15), and the times of the frames must be evenly spaced: a damaged index or
    time table shows, which a decoder takes without a word.
    """
    stream = container.streams.video[0]
    declared, rate = stream.frames, stream.average_rate
    extra = stream.codec_context.extradata or b""
    is_avc = stream.codec_context.name == "h264" and extra[:1] == b"\1" and len(extra) > 4
    length_bytes = (extra[4] & 3) + 1 if is_avc else 0
    number, shown, times = 0, 0, []
    for packet in container.demux(stream):
        if not packet.size:
            continue
        if length_bytes and not _whole_units(bytes(packet), length_bytes):
            raise Damaged(f"frame {number} is not where the index says", where=path)
        number += 1
        # Frames before the start that an edit list sets are decoded and not shown.
        shown += not packet.is_discard
        if packet.pts is not None:
            times.append(packet.pts)
    if declared and number != declared:
        raise Truncated(f"holds {number} frames, its header says {declared}", where=path)
    if rate is not None and abs(rate - FRAME_RATE_HZ) > RATE_SLACK_HZ:
        raise WrongShape(f"runs at {float(rate):.2f} frames/s, not {FRAME_RATE_HZ}", where=path)
    times.sort()
    steps = [later - earlier for earlier, later in pairwise(times)]
    # Times are whole ticks of the container's clock, so equal steps may differ by a tick or two.
    if steps and max(steps) > 1.5 * min(steps) + 2:
        place = steps.index(max(steps))
        raise Damaged(f"the times of frames {place} and {place + 1} have a gap", where=path)
    return shown


def _whole_units(data: bytes, length_bytes: int) -> bool:
    position = 0
    while position + length_bytes < len(data):
        length = int.from_bytes(data[position : position + length_bytes], "big")
        forbidden = data[position + length_bytes] & 0x80
        if length == 0 or forbidden:
            return False
        position += length_bytes + length
    return position == len(data)


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
