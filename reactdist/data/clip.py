"""One person clip of a release: read its four files, agree on the frames, encode a row."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reactdist.data.audio import mfcc_features, read_wav
from reactdist.data.codec import SEGMENT_FRAMES, SegmentCodec
from reactdist.data.coefficients import check_coefficients, read_coefficients
from reactdist.data.emotion import check_emotion, read_emotion
from reactdist.data.faults import Missing, Undecodable, WrongLength
from reactdist.data.hashing import sha256_of
from reactdist.data.layouts.base import Frame, centre_crop
from reactdist.data.release import ClipFiles
from reactdist.data.rows import segment_column
from reactdist.schema import CROP_PIXELS

Floats = npt.NDArray[np.float32]

LENGTH_SLACK_FRAMES = 1
"""Published files of one clip differ by a frame (750 and 751); the clip is cut to the shortest."""


@dataclass(frozen=True)
class ClipSettings:
    """What the model will see of a clip."""

    image_size: int
    codec: SegmentCodec
    mean_face: tuple[float, ...]
    min_frames: int = 1


def encode_clip(files: ClipFiles, settings: ClipSettings) -> dict[str, object]:
    """The row of a clip: column name -> value; see `rows`.

    Raises:
        FileFault: anything is missing, damaged, non-finite, out of range or of another length.
    """
    for modality, path in files.paths().items():
        if not path.exists():
            raise Missing(f"{modality} is missing", where=path)
    emotion = read_emotion(files.emotion)
    check_emotion(emotion, files.emotion)
    coefficients = read_coefficients(files.coefficients)
    check_coefficients(coefficients, files.coefficients)
    video_frames = files.video_layout.header(files.video).num_frames
    num_frames = agreed_frames(
        {"video": video_frames, "emotion": len(emotion), "coefficients": len(coefficients)},
        files.key,
    )
    if num_frames < settings.min_frames:
        raise WrongLength(
            f"has {num_frames} frames, at least {settings.min_frames} are asked for",
            where=files.key,
        )
    samples, rate = read_wav(files.audio)
    mean_face = np.array(settings.mean_face, np.float32)
    row: dict[str, object] = {
        "key": files.key,
        "num_frames": num_frames,
        "audio": _floats(mfcc_features(samples, rate, num_frames)),
        "emotion": _floats(emotion[:num_frames]),
        "coefficients": _floats(coefficients[:num_frames] - mean_face),
        "source": json.dumps({name: _hash(path) for name, path in files.paths().items()}),
    }
    _encode_video(row, files, num_frames, settings)
    return row


def agreed_frames(lengths: dict[str, int], key: str) -> int:
    """Frames that all modalities have.

    Raises:
        WrongLength: they differ by more than the one frame that published files differ by.
    """
    shortest, longest = min(lengths.values()), max(lengths.values())
    if longest - shortest > LENGTH_SLACK_FRAMES or shortest < 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise WrongLength(f"lengths differ: {shown} frames", where=key)
    return shortest


def _encode_video(
    row: dict[str, object], files: ClipFiles, num_frames: int, settings: ClipSettings
) -> None:
    """Adds `first_frame` and the segments; holds one segment of pixels at a time."""
    done = 0
    for number, segment in enumerate(_segments(files, num_frames, settings.image_size)):
        if number == 0:
            row["first_frame"] = _png(segment[0])
        row[segment_column(number)] = settings.codec.encode(segment)
        done += len(segment)
    if done != num_frames:
        raise Undecodable(f"only {done} of {num_frames} frames can be decoded", where=files.video)


def _segments(files: ClipFiles, num_frames: int, size: int) -> Iterator[npt.NDArray[np.uint8]]:
    """(t, size, size, 3) blocks of SEGMENT_FRAMES frames, the last one shorter."""
    block: list[Frame] = []
    for number, frame in enumerate(files.video_layout.frames(files.video)):
        # Frames past the agreed end are decoded too: damage there is damage of the file.
        if number >= num_frames:
            continue
        block.append(resized(centre_crop(frame), size))
        if len(block) == SEGMENT_FRAMES:
            yield np.stack(block)
            block = []
    if block:
        yield np.stack(block)


def resized(frame: Frame, size: int) -> Frame:
    """(size, size, 3): each new pixel the mean of the area it covers."""
    from PIL import Image

    if size == CROP_PIXELS:
        return frame
    picture = Image.fromarray(np.ascontiguousarray(frame))
    return np.asarray(picture.resize((size, size), Image.Resampling.BOX))


def _png(frame: Frame) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    return buffer.getvalue()


def _floats(values: Floats) -> bytes:
    return np.ascontiguousarray(values, "<f4").tobytes()


def _hash(path: Path) -> dict[str, str | int]:
    sha256, size = sha256_of(path)
    return {"bytes": size, "sha256": sha256}
