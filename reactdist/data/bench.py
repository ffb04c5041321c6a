"""`data bench`: how fast shards feed a training step, beside the other ways to keep video."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reactdist.data.codec import SEGMENT_FRAMES, SegmentCodec, codec_named
from reactdist.data.layouts.base import centre_crop
from reactdist.data.shards import Shards
from reactdist.errors import InputError
from reactdist.schema import CROP_PIXELS, FRAME_PIXELS, NOMINAL_FRAMES

Frames = npt.NDArray[np.uint8]
"""(t, H, W, 3) RGB."""

CODECS = ("jpeg", "h264")
REPEATS = 5
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, which both codecs use."""


@dataclass(frozen=True)
class Way:
    """One way to keep a clip's video."""

    name: str
    clip_bytes: float
    """Of a clip of NOMINAL_FRAMES frames."""
    crop_s: float
    """Median processor time to get a random crop into memory."""
    psnr_rgb_db: float
    psnr_luma_db: float


@dataclass(frozen=True)
class Feed:
    """Loading batches with some number of loader processes."""

    workers: int
    first_batch_s: float
    clips_per_s: float
    mb_per_s: float
    """Decoded bytes handed over, all columns."""


def compare_ways(frames: Frames, crop_frames: int, seed: int = 0) -> list[Way]:
    """Size, speed and fidelity of PNG folder, packed npy and the codecs on (t, H, W, 3).

    PNG and npy are read from the page cache, as they are right after they were written.
    """
    if len(frames) < crop_frames:
        raise InputError(
            f"a crop of {crop_frames} frames does not fit footage of {len(frames)}",
            fix="give longer footage or a shorter --crop",
        )
    crops = np.ascontiguousarray(np.stack([_cropped(frame) for frame in frames]))
    last = len(frames) - crop_frames
    starts = np.random.default_rng(seed).integers(0, last, REPEATS, endpoint=True).tolist()
    with tempfile.TemporaryDirectory(prefix="reactdist-bench-") as folder:
        ways = [
            *_png(frames, crop_frames, starts, Path(folder)),
            *_npy(crops, crop_frames, starts, Path(folder)),
        ]
    return ways + [_segments(crops, codec_named(c), crop_frames, starts) for c in CODECS]


def feeds(
    shards: Shards, *, split: str, batch_size: int, crop_frames: int, workers: Sequence[int]
) -> Iterator[Feed]:
    """Time the loader with each number of processes."""
    from reactdist.data.clips import train_batches

    for number in workers:
        start = time.perf_counter()
        batches = train_batches(
            shards,
            split=split,
            batch_size=batch_size,
            crop_frames=crop_frames,
            seed=0,
            workers=number,
        )
        size = sum(value.nbytes for value in next(batches).values())
        first = time.perf_counter() - start
        # What was prefetched while the first batch was waited for comes free; leave it out.
        for _ in islice(batches, 2 * number):
            pass
        start, count = time.perf_counter(), 0
        while count < 3 or time.perf_counter() - start < 3:
            next(batches)
            count += 1
        seconds = time.perf_counter() - start
        yield Feed(number, first, count * batch_size / seconds, count * size / seconds / 1e6)


def processes_needed(one_process: Feed, batch_size: int, step_s: float) -> int:
    """Loader processes that keep a step of `step_s` fed, by the speed of one of them."""
    return max(1, math.ceil(batch_size / one_process.clips_per_s / step_s))


def footage(path: Path) -> Frames:
    """(t, 256, 256, 3): the largest centred square of a video, cut to 256 or scaled to it.

    A frame of 256 to 512 pixels is cut, not scaled: scaling would smooth the camera's noise away.
    """
    import av
    from PIL import Image

    try:
        with av.open(str(path)) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (av.FFmpegError, OSError, IndexError) as error:
        raise InputError(f"cannot read the video ({error})", where=path) from None
    result = []
    for picture in pictures:
        height, width = picture.shape[:2]
        side = (
            FRAME_PIXELS
            if FRAME_PIXELS <= min(height, width) <= 2 * FRAME_PIXELS
            else (min(height, width))
        )
        top, left = (height - side) // 2, (width - side) // 2
        square = Image.fromarray(picture[top : top + side, left : left + side])
        result.append(np.asarray(square.resize((FRAME_PIXELS, FRAME_PIXELS))))
    return np.stack(result)


def psnr(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    """Peak signal to noise ratio in dB, of values 0 to 255."""
    error = float(np.mean((a - b) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def _cropped(frame: Frames) -> Frames:
    # Frames of a set that was built small are compared as they are.
    return centre_crop(frame) if min(frame.shape[:2]) > CROP_PIXELS else frame


def _png(frames: Frames, crop_frames: int, starts: Sequence[int], folder: Path) -> list[Way]:
    from PIL import Image

    files = [folder / f"{number}.png" for number in range(len(frames))]
    for file, frame in zip(files, frames, strict=True):
        Image.fromarray(frame).save(file)

    def load(start: int) -> Frames:
        out = []
        for file in files[start : start + crop_frames]:
            with Image.open(file) as picture:
                out.append(_cropped(np.asarray(picture.convert("RGB"))))
        return np.stack(out)

    def load_as_published(start: int) -> None:
        """Also to (t, 3, H, W) floats in [-1, 1], as the published loader does on the processor."""
        pixels = load(start).transpose(0, 3, 1, 2).astype(np.float32)
        pixels /= 127.5
        pixels -= 1

    size = _per_clip(sum(file.stat().st_size for file in files), len(frames))
    exact = (math.inf, math.inf)
    return [
        Way("PNG folder", size, _median(load, starts), *exact),
        Way("PNG folder, to float32", size, _median(load_as_published, starts), *exact),
    ]


def _npy(crops: Frames, crop_frames: int, starts: Sequence[int], folder: Path) -> list[Way]:
    file = folder / "packed.npy"
    np.save(file, crops.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
    # A crop is cut from a clip of full length, whatever the length of the footage.
    scale = NOMINAL_FRAMES / len(crops)

    def mapped(start: int) -> None:
        np.array(np.load(file, mmap_mode="r")[start : start + crop_frames])

    size = _per_clip(file.stat().st_size, len(crops))
    exact = (math.inf, math.inf)
    return [
        Way("packed npy, whole", size, scale * _median(lambda _: np.load(file), starts), *exact),
        Way("packed npy, mapped", size, _median(mapped, starts), *exact),
    ]


def _segments(crops: Frames, codec: SegmentCodec, crop_frames: int, starts: Sequence[int]) -> Way:
    segments = [
        codec.encode(crops[first : first + SEGMENT_FRAMES])
        for first in range(0, len(crops), SEGMENT_FRAMES)
    ]

    def decode(start: int, count: int) -> Frames:
        out = np.empty((count, *crops.shape[1:]), np.uint8)
        stop = start + count
        for number in range(start // SEGMENT_FRAMES, (stop - 1) // SEGMENT_FRAMES + 1):
            first = number * SEGMENT_FRAMES
            low, high = max(start, first), min(stop, first + SEGMENT_FRAMES)
            codec.decode(segments[number], low - first, out[low - start : high - start])
        return out

    rgb, luma = [], []
    for first in range(0, len(crops), SEGMENT_FRAMES):
        true = crops[first : first + SEGMENT_FRAMES].astype(np.float32)
        got = decode(first, len(true)).astype(np.float32)
        rgb.append(psnr(true, got))
        luma.append(psnr(true @ LUMA, got @ LUMA))
    return Way(
        f"{codec.name} {codec.quality}",
        _per_clip(sum(map(len, segments)), len(crops)),
        _median(lambda start: decode(start, crop_frames), starts),
        float(np.mean(rgb)),
        float(np.mean(luma)),
    )


def _per_clip(size: int, num_frames: int) -> float:
    return size / num_frames * NOMINAL_FRAMES


def _median(load: Callable[[int], object], starts: Sequence[int]) -> float:
    """Processor seconds of a load: all is in the page cache, so a busy machine may measure it."""
    load(int(starts[0]))
    times = []
    for start in starts:
        begin = time.process_time()
        load(int(start))
        times.append(time.process_time() - begin)
    return float(np.median(times))
