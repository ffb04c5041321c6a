"""`reactdist stream`: a video file through a model as if it came from a camera.

Reads a file window by window, reacts, prints what a window costs and writes the reactions.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reactdist.errors import InputError
from reactdist.models.transvae import TransVAE
from reactdist.schema import ATTRIBUTES, CROP_PIXELS, FRAME_PIXELS, FRAME_RATE_HZ

SLOWEST_HZ, FASTEST_HZ = 10.0, 240.0
"""Frame rates that are resampled to 25 frames/s; others are refused."""
SILENCE_HZ = 16_000


@dataclass(frozen=True)
class StreamResult:
    """What a file gave: reactions of the clip and what each whole window cost."""

    emotion: NDArray[np.float32]  # (K, T, 25)
    coefficients: NDArray[np.float32]  # (K, T, 58), mean face added
    latency_s: NDArray[np.float64]  # (whole windows,), model only
    window_s: float  # the time a window lasts

    def summary(self) -> str:
        """Median and 95th percentile of the latency, and how it compares with real time."""
        middle, slow = np.percentile(self.latency_s, [50, 95])
        return (
            f"{self.emotion.shape[1]} frames, {len(self.latency_s)} windows of "
            f"{1e3 * self.window_s:.0f} ms: latency median {1e3 * middle:.0f} ms, "
            f"p95 {1e3 * slow:.0f} ms ({self.window_s / middle:.1f}x real time)"
        )


def run(
    model: torch.nn.Module,
    video: Path,
    audio: Path | None,
    out: Path,
    *,
    num_samples: int = 10,
    seed: int = 0,
    mean_face: NDArray[np.float32] | None = None,
) -> StreamResult:
    """Stream a file through a model, write the reactions and print the latency.

    Writes `emotion.npy` (K, T, 25), `coefficients.npy` (K, T, 58) and `emotion.csv` (sample, frame
    and the 25 attributes a row) under `out`.

    Args:
        model: an online TransVAE with video_norm "frame".
        video: mp4 of one face; other frame rates are resampled, other sizes scaled and cropped.
        audio: wav; default the video's own sound, else silence.
        mean_face: (58,), added to the coefficients, which the model gives relative to it.

    Raises:
        InputError: a file that cannot be read, a frame rate out of range, a clip shorter than a
            window, a model that cannot stream.
    """
    if not isinstance(model, TransVAE):
        raise InputError(f"a {type(model).__name__} cannot stream", fix="give an online transvae")
    result = stream_file(model, video, audio, num_samples, seed, mean_face)
    _write(out, result)
    from rich.console import Console

    Console().print(f"{result.summary()}; reactions in {out}", highlight=False, soft_wrap=True)
    return result


def stream_file(
    model: TransVAE,
    video: Path,
    audio: Path | None,
    num_samples: int,
    seed: int,
    mean_face: NDArray[np.float32] | None = None,
) -> StreamResult:
    """`run` without writing or printing."""
    session = model.stream(num_samples, torch.Generator().manual_seed(seed))
    size = model.cfg.window_size
    samples, rate = _sound(video, audio)
    emotion, coefficients, latency = [], [], []
    for start, pictures in _windows(video, model.cfg.image_size, size):
        sound = _features(samples, rate, start, len(pictures))
        speaker = torch.from_numpy(pictures)[None], torch.from_numpy(sound)[None]
        began = time.perf_counter()
        reaction = session.step(*speaker)
        if len(pictures) == size:
            latency.append(time.perf_counter() - began)
        emotion.append(reaction.emotion[0].numpy())
        coefficients.append(reaction.coefficients[0].numpy())
    if not latency:
        raise InputError(
            f"the video is shorter than a window of {size} frames",
            where=video,
            fix="give a longer video",
        )
    whole = np.concatenate(coefficients, 1)
    return StreamResult(
        np.concatenate(emotion, 1),
        whole if mean_face is None else whole + mean_face,
        np.array(latency),
        size / FRAME_RATE_HZ,
    )


def _windows(video: Path, image_size: int, size: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """First frame and pictures (w, 3, S, S) of each window; the last may be short."""
    start, window = 0, []
    for picture in frames_at_rate(video):
        window.append(_face(picture, image_size))
        if len(window) == size:
            yield start, np.stack(window)
            start, window = start + size, []
    if window:
        yield start, np.stack(window)


def frames_at_rate(video: Path) -> Iterator[NDArray[np.uint8]]:
    """Frames (H, W, 3) at 25 a second: of each 40 ms the last picture shown by then.

    Raises:
        InputError: no readable video, or a frame rate that is unknown or out of range.
    """
    import av

    last, due, end_s = None, 0, 0.0
    try:
        with _opened(video) as container:
            if not container.streams.video:
                raise InputError("holds no video", where=video, fix="give a file with pictures")
            stream = container.streams.video[0]
            rate_hz = float(stream.average_rate or 0)
            _check_rate(rate_hz, video)
            # The decoder is told to fail at damaged data instead of inventing pixels.
            stream.codec_context.options = {"err_detect": "explode"}
            first_s: float | None = None
            for frame in container.decode(stream):
                if frame.time is None or frame.is_corrupt:
                    problem = "has no time" if frame.time is None else "is damaged"
                    raise InputError(f"frame {due} {problem}", where=video, fix="re-encode it")
                first_s = frame.time if first_s is None else first_s
                while last is not None and _before(due, frame.time - first_s):
                    yield last
                    due += 1
                last, end_s = frame.to_ndarray(format="rgb24"), frame.time - first_s + 1 / rate_hz
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"cannot be decoded after frame {due} ({error})", where=video, fix="re-encode the video"
        ) from None
    if last is None:
        raise InputError("has no frames", where=video, fix="give another video")
    while _before(due, end_s):
        yield last
        due += 1


def _opened(video: Path) -> Any:
    """The file's container, to be closed by the caller."""
    import av

    if not video.is_file():
        raise InputError("no such file", where=video, fix="give the path of a video")
    try:
        return av.open(str(video))
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"cannot be opened as a video ({error})", where=video, fix="give a whole video file"
        ) from None


def _before(frame: int, time_s: float) -> bool:
    """Whether the moment of a frame is before `time_s`, which is rounded to the file's clock."""
    return frame / FRAME_RATE_HZ < time_s - 5e-4


def _check_rate(rate_hz: float, video: Path) -> None:
    if not SLOWEST_HZ <= rate_hz <= FASTEST_HZ:
        raise InputError(
            f"has {rate_hz:g} frames/s, expected {SLOWEST_HZ:g} to {FASTEST_HZ:g}",
            where=video,
            fix=f"re-encode it at {FRAME_RATE_HZ} frames/s",
        )


def _face(picture: NDArray[np.uint8], image_size: int) -> NDArray[np.uint8]:
    """(3, S, S): the centre 224 of a 256 x 256 picture, as training sees it."""
    from reactdist.data.clip import resized
    from reactdist.data.layouts.base import centre_crop

    if picture.shape[:2] != (CROP_PIXELS, CROP_PIXELS):
        picture = centre_crop(_square(picture))
    return np.ascontiguousarray(resized(picture, image_size).transpose(2, 0, 1))


def _square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The centre square, scaled to 256 x 256."""
    from PIL import Image

    side = min(picture.shape[:2])
    top, left = ((length - side) // 2 for length in picture.shape[:2])
    square = picture[top : top + side, left : left + side]
    if side == FRAME_PIXELS:
        return square
    size = (FRAME_PIXELS, FRAME_PIXELS)
    return np.asarray(Image.fromarray(np.ascontiguousarray(square)).resize(size))


def _sound(video: Path, audio: Path | None) -> tuple[NDArray[np.float32], int]:
    """Samples (samples,) and their rate: of the wav, of the video itself, or none (silence)."""
    if audio is not None:
        from reactdist.data.audio import read_wav

        samples, rate = read_wav(audio)
        return samples.mean(1), rate
    import av

    try:
        with _opened(video) as container:
            if not container.streams.audio:
                return np.zeros(0, np.float32), SILENCE_HZ
            stream = container.streams.audio[0]
            mono = av.AudioResampler(format="fltp", layout="mono", rate=stream.rate)
            parts = [
                part.to_ndarray()[0]
                for frame in container.decode(stream)
                for part in mono.resample(frame)
            ]
            return np.concatenate(parts or [np.zeros(0, np.float32)]), int(stream.rate)
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"its sound cannot be decoded ({error})", where=video, fix="give --audio"
        ) from None


def _features(
    samples: NDArray[np.float32], rate: int, start: int, frames: int
) -> NDArray[np.float32]:
    """Audio features (frames, 78) of frames start, start + 1, ...; silence after the end."""
    from reactdist.data.audio import mfcc_features

    per_frame = rate // FRAME_RATE_HZ
    own = samples[start * per_frame : (start + frames) * per_frame]
    # Features are of each frame's own samples, so a window can be computed when it arrives.
    return mfcc_features(np.pad(own, (0, frames * per_frame - len(own))), rate, frames)


def _write(out: Path, result: StreamResult) -> None:
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "emotion.npy", result.emotion)
    np.save(out / "coefficients.npy", result.coefficients)
    with (out / "emotion.csv").open("w", newline="") as file:
        rows: Any = csv.writer(file)
        rows.writerow(["sample", "frame", *ATTRIBUTES])
        for sample, reaction in enumerate(result.emotion):
            for frame, values in enumerate(reaction):
                rows.writerow([sample, frame, *(f"{value:.6g}" for value in values)])
