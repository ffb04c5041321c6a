"""Video segments: a few tens of frames encoded so that they decode without the rest of the clip.

Two codecs. JPEG decodes any frame alone, and fastest; H.264 with one key frame a segment is
several times smaller. Both halve the resolution of colour, as the released mp4 files do already,
so little is lost by it. Figures: README of this folder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt

from reactdist.data.pixels import RgbConverter
from reactdist.errors import InputError

Frames = npt.NDArray[np.uint8]
"""(t, H, W, 3) RGB."""

SEGMENT_FRAMES = 32
DEFAULT_CODEC = "jpeg"


class SegmentCodec(Protocol):
    """Encodes up to SEGMENT_FRAMES frames to bytes and decodes a range of them."""

    @property
    def name(self) -> str: ...

    @property
    def quality(self) -> int: ...

    def encode(self, frames: Frames) -> bytes: ...

    def decode(self, data: bytes | memoryview, start: int, out: Frames) -> None:
        """Fill `out` with frames start, start + 1, ... of the segment."""
        ...


@dataclass(frozen=True)
class Jpeg:
    """A table of frames + 1 byte offsets (uint32, little endian), then one JPEG a frame."""

    quality: int = 86
    name: str = "jpeg"

    def encode(self, frames: Frames) -> bytes:
        import simplejpeg

        # 4:2:0 decodes a third faster than 4:4:4 and costs 0.3 dB on footage that was 4:2:0 before.
        pictures = [
            simplejpeg.encode_jpeg(np.ascontiguousarray(frame), self.quality, "RGB", "420")
            for frame in frames
        ]
        head = 4 * (len(pictures) + 1)
        ends = np.cumsum([head, *(len(picture) for picture in pictures)])
        return ends.astype("<u4").tobytes() + b"".join(pictures)

    def decode(self, data: bytes | memoryview, start: int, out: Frames) -> None:
        import simplejpeg

        view = memoryview(data).cast("B")
        head = int(np.frombuffer(view[:4], "<u4")[0])
        ends = np.frombuffer(view[:head], "<u4")
        for number, target in enumerate(out, start):
            # Colour repeated instead of interpolated: a tenth faster, and on footage that was
            # 4:2:0 before not further from it. The fast DCT would cost a decibel.
            simplejpeg.decode_jpeg(
                view[ends[number] : ends[number + 1]], buffer=target, fastupsample=True
            )


@dataclass(frozen=True)
class H264:
    """One closed group of pictures a segment, raw Annex B, 4:2:0; `quality` is x264's crf."""

    quality: int = 15
    name: str = "h264"

    def encode(self, frames: Frames) -> bytes:
        import av

        context = av.CodecContext.create("libx264", "w")
        context.height, context.width = frames.shape[1:3]
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, 25)
        context.thread_count = 1
        context.options = {
            "crf": str(self.quality),
            "preset": "medium",
            # No CABAC, no deblocking: decodes in 0.6 of the time, 7 % larger.
            "tune": "fastdecode",
            "x264-params": f"keyint={SEGMENT_FRAMES}:scenecut=0:bframes=2:threads=1",
        }
        packets = []
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = number
            packets += context.encode(frame)
        packets += context.encode(None)
        return b"".join(bytes(packet) for packet in packets)

    def decode(self, data: bytes | memoryview, start: int, out: Frames) -> None:
        import av

        context = av.CodecContext.create("h264", "r")
        context.thread_count = 1
        packets = [*context.parse(bytes(data)), *context.parse(b"")]
        convert = RgbConverter()
        number = 0
        for packet in [*packets, None]:
            for frame in context.decode(packet):
                if start <= number < start + len(out):
                    convert(frame, out[number - start])
                number += 1
            if number >= start + len(out):
                return
        raise ValueError(f"the segment ends at frame {number}")


_CODECS: dict[str, type[Jpeg] | type[H264]] = {"jpeg": Jpeg, "h264": H264}


def codec_named(text: str) -> SegmentCodec:
    """`jpeg`, `h264`, or with a quality: `jpeg:95` (1 to 95), `h264:18` (x264's crf, 0 to 51).

    Raises:
        InputError: another name, or a quality out of range.
    """
    name, _, quality = text.partition(":")
    if name not in _CODECS:
        raise InputError(f"no codec {name!r}", fix=f"use {' or '.join(_CODECS)}")
    low, high = (1, 95) if name == "jpeg" else (0, 51)
    if not quality:
        return _CODECS[name]()
    if not quality.isdecimal() or not low <= int(quality) <= high:
        raise InputError(f"codec {text!r}: quality {low} to {high}", fix=f"write {name}:{high}")
    return _CODECS[name](int(quality))


def describe(codec: SegmentCodec) -> dict[str, str | int]:
    """The codec's settings for a manifest; `codec_named` takes `name:quality` back."""
    return dict(asdict(codec))  # type: ignore[call-overload]
