"""Audio features of a clip: 78 numbers a video frame, as published, all frames at once.

Source: REACT 2024 baseline (the arithmetic is described in section 3 of the facts page): each
video frame's own samples give 2 Kaldi sub-frames of 13 MFCC; deltas and delta-deltas run over
those 2 sub-frames; (3 kinds, 13, 2) is flattened in that order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from reactdist.data.faults import Damaged, Empty, Missing, NonFinite, Truncated
from reactdist.errors import DataError
from reactdist.schema import AUDIO_FEATURES, FRAME_RATE_HZ

WINDOW_MS, SHIFT_MS = 25.0, 10.0
NUM_CEPSTRA, SUB_FRAMES = 13, 2
BLOCK_FRAMES = 128
"""Video frames a Kaldi call: its intermediate arrays then stay in the cache, twice as fast."""


def mfcc_features(
    samples: npt.ArrayLike, rate: int, num_frames: int, frame_rate: int = FRAME_RATE_HZ
) -> npt.NDArray[np.float32]:
    """78 features of each frame: (num_frames, 78).

    `samples`: (samples,) or (samples, channels), floats in [-1, 1] or int16, at `rate` Hz.

    Channels are averaged; the audio is cut or zero-padded to num_frames x floor(rate / frame_rate)
    samples.

    Raises:
        DataError: no samples a frame, or a rate too low for two windows in a video frame.
    """
    # Kaldi's windows are independent of each other, so cutting every window out first and
    # laying them end to end lets one call compute the clip; one call a frame costs 100x that.
    import torch

    from reactdist.data.torchaudio_parts import compute_deltas, mfcc

    window, shift = int(rate * WINDOW_MS / 1000), int(rate * SHIFT_MS / 1000)
    per_frame = rate // frame_rate
    if (per_frame - window) // max(shift, 1) + 1 != SUB_FRAMES:
        raise DataError(
            f"a sample rate of {rate} Hz does not give {SUB_FRAMES} windows a video frame",
            fix="resample the audio to 8 kHz or more",
        )
    frames = _per_frame(_mono(samples), per_frame, num_frames)
    cepstra = torch.cat(
        [
            mfcc(
                torch.from_numpy(_windows(block, window, shift)),
                sample_frequency=float(rate),
                num_ceps=NUM_CEPSTRA,
                num_mel_bins=23,
                frame_length=WINDOW_MS,
                frame_shift=WINDOW_MS,
                use_energy=True,
                dither=0.0,
            )
            for block in np.split(frames, range(BLOCK_FRAMES, num_frames, BLOCK_FRAMES))
        ]
    ).reshape(num_frames, SUB_FRAMES, NUM_CEPSTRA)
    value = cepstra.transpose(1, 2)  # (T, 13, 2)
    delta = compute_deltas(value)
    stacked = torch.stack([value, delta, compute_deltas(delta)], 1)  # (T, 3, 13, 2)
    return stacked.reshape(num_frames, AUDIO_FEATURES).numpy()


def read_wav(path: str | Path) -> tuple[npt.NDArray[np.float32], int]:
    """(samples, channels) in [-1, 1] and the rate in Hz.

    Raises:
        FileFault: missing, empty, cut short, not audio, or not finite.
    """
    import soundfile

    path = Path(path)
    if not path.is_file():
        raise Missing("is missing", where=path)
    try:
        _check_riff(path)
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise Damaged(f"cannot read the audio ({error})", where=path) from None
    if not len(samples):
        raise Empty("holds no samples", where=path)
    if not np.isfinite(samples).all():
        raise NonFinite("holds samples that are not finite", where=path)
    return samples, int(rate)


def _check_riff(path: Path) -> None:
    """Walk the chunks of a wav file; libsndfile reads a file that was cut short without a word."""
    size, position, end, kinds = path.stat().st_size, 12, 0, []
    if size == 0:
        raise Empty("is empty", where=path)
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            raise Damaged("is not a wav file", where=path)
        while position + 8 <= size:
            file.seek(position)
            chunk = file.read(8)
            kinds.append(chunk[:4])
            length = int.from_bytes(chunk[4:8], "little")
            # A writer that streamed did not know the length; what follows is all data then.
            end = size if length == 0xFFFFFFFF else position + 8 + length
            position = end + length % 2
    # The padding byte after an odd last chunk is often left out, so the chunk's own end counts.
    if end > size or b"data" not in kinds:
        raise Truncated("the file is cut short", where=path)


def _windows(frames: npt.NDArray[np.float32], window: int, shift: int) -> npt.NDArray[np.float32]:
    """(t, samples a frame) -> (1, t * SUB_FRAMES * window): the windows laid end to end."""
    windows = np.stack([frames[:, i * shift : i * shift + window] for i in range(SUB_FRAMES)], 1)
    return windows.reshape(1, -1)


def _mono(samples: npt.ArrayLike) -> npt.NDArray[np.float32]:
    array = np.asarray(samples)
    if array.dtype == np.int16:
        array = array.astype(np.float32) / 32768
    array = array.astype(np.float32, copy=False)
    return array.mean(axis=1, dtype=np.float32) if array.ndim == 2 else array


def _per_frame(
    mono: npt.NDArray[np.float32], per_frame: int, num_frames: int
) -> npt.NDArray[np.float32]:
    """(num_frames, per_frame), cut or zero-padded at the end."""
    frames = np.zeros(num_frames * per_frame, np.float32)
    used = mono[: frames.size]
    frames[: used.size] = used
    return frames.reshape(num_frames, per_frame)
