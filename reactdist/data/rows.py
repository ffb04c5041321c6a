"""A row of a shard: one person clip. How its columns are named and what their bytes mean.

Columns: `key` string, `num_frames` int32; `audio` (T, 78), `emotion` (T, 25), `coefficients`
(T, 58, relative to the mean face), each little-endian float32 bytes; `first_frame` a PNG; `source`
JSON of the files it was made from; `video_000`, `video_001`, ... one segment each, so that a reader
fetches only the segments of its crop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from reactdist.data.codec import SegmentCodec
from reactdist.schema import AUDIO_FEATURES, NUM_ATTRIBUTES, NUM_COEFFICIENTS

WIDTHS: dict[str, int] = {
    "audio": AUDIO_FEATURES,
    "emotion": NUM_ATTRIBUTES,
    "coefficients": NUM_COEFFICIENTS,
}
"""Numbers a frame in each of the float columns."""
COLUMNS: tuple[str, ...] = ("video", *WIDTHS)
"""What `Shards.read` can give."""


def arrow_schema(num_segments: int) -> Any:
    """The pyarrow schema of a shard whose longest clip has `num_segments` segments."""
    import pyarrow as pa

    fields = [
        pa.field("key", pa.string(), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),
        *(pa.field(name, pa.binary(), nullable=False) for name in WIDTHS),
        pa.field("first_frame", pa.binary(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        *(pa.field(segment_column(number), pa.binary()) for number in range(num_segments)),
    ]
    return pa.schema(fields)


def segment_column(number: int) -> str:
    """The column of a clip's segment."""
    return f"video_{number:03d}"


def parquet_columns(
    columns: tuple[str, ...], start: int, stop: int, segment_frames: int
) -> list[str]:
    """The Parquet columns that frames [start, stop) of `columns` need."""
    names = [name for name in WIDTHS if name in columns]
    if "video" in columns and stop > start:
        segments = range(start // segment_frames, (stop - 1) // segment_frames + 1)
        names += [segment_column(number) for number in segments]
    return names


def decode_row(
    cells: Mapping[str, memoryview],
    start: int,
    stop: int,
    *,
    codec: SegmentCodec,
    image_size: int,
    segment_frames: int,
) -> dict[str, npt.NDArray[Any]]:
    """Arrays of frames [start, stop) from the cells of one row.

    `video` is (t, 3, H, W) uint8, a view of memory laid out (t, H, W, 3) as decoders write it;
    the others are (t, width) float32.
    """
    result: dict[str, npt.NDArray[Any]] = {}
    for name, width in WIDTHS.items():
        if name in cells:
            whole = np.frombuffer(cells[name], "<f4").reshape(-1, width)
            result[name] = whole[start:stop].copy()
    segments = sorted(name for name in cells if name.startswith("video_"))
    if segments:
        frames = np.empty((stop - start, image_size, image_size, 3), np.uint8)
        for name in segments:
            first = int(name.removeprefix("video_")) * segment_frames
            low, high = max(start, first), min(stop, first + segment_frames)
            codec.decode(cells[name], low - first, frames[low - start : high - start])
        result["video"] = frames.transpose(0, 3, 1, 2)
    return result
