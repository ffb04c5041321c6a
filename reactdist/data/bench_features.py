"""Speed of what is computed once a build: audio features, and the neighbours of a split."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from reactdist.data.audio import mfcc_features
from reactdist.data.neighbours import cut_neighbours
from reactdist.schema import AUDIO_FEATURES, FRAME_RATE_HZ

RATE_HZ = 44_100
AUDIO_S = 30
INDEX_ROWS, PAIRS = 4_308, 562
"""As the published index and the published list of val."""
REPEATS = 3


@dataclass(frozen=True)
class Speed:
    """Processor seconds on one core of a piece of work, and of the plain way to do it."""

    what: str
    ours_s: float
    plain: str = ""
    plain_s: float = 0.0


def audio_speed(seed: int = 0) -> Speed:
    """Features of half a minute of audio against one Kaldi call a frame."""
    mono = np.random.default_rng(seed).normal(0, 0.1, RATE_HZ * AUDIO_S).astype(np.float32)
    frames = AUDIO_S * FRAME_RATE_HZ
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours = min(_seconds(lambda: mfcc_features(mono, RATE_HZ, frames)) for _ in range(REPEATS))
        plain = _seconds(lambda: frame_by_frame(mono, RATE_HZ, frames))
    finally:
        torch.set_num_threads(threads)
    return Speed(f"audio features of {AUDIO_S} s", ours, "frame by frame", plain)


def frame_by_frame(
    mono: npt.NDArray[np.float32], rate: int, num_frames: int
) -> npt.NDArray[np.float32]:
    """(num_frames, 78) the published way: one Kaldi call for each video frame."""
    from reactdist.data.torchaudio_parts import compute_deltas, mfcc

    per_frame = rate // FRAME_RATE_HZ
    padded = np.zeros(num_frames * per_frame, np.float32)
    padded[: min(len(mono), len(padded))] = mono[: len(padded)]
    rows = np.empty((num_frames, AUDIO_FEATURES), np.float32)
    for number in range(num_frames):
        samples = torch.from_numpy(padded[None, number * per_frame : (number + 1) * per_frame])
        value = mfcc(
            samples, sample_frequency=float(rate), use_energy=True, dither=0.0, num_ceps=13
        ).T
        delta = compute_deltas(value)
        rows[number] = torch.stack([value, delta, compute_deltas(delta)]).flatten().numpy()
    return rows


def neighbours_speed() -> Speed:
    """The cut of a split out of a matrix as large as the published one, files and all."""
    with tempfile.TemporaryDirectory(prefix="reactdist-bench-") as name:
        folder = Path(name)
        rows = [f"NoXI,{number:04d},1" for number in range(INDEX_ROWS)]
        _write(folder / "index.csv", ["site,chat_index,clip_index", *rows])
        pairs = [
            f"NoXI/{number:04d}/Expert_video/1,NoXI/{number:04d}/Novice_video/1"
            for number in range(0, INDEX_ROWS, INDEX_ROWS // PAIRS)[:PAIRS]
        ]
        _write(folder / "val.csv", ["speaker_path,listener_path", *pairs])
        np.save(folder / "matrix.npy", np.eye(2 * INDEX_ROWS, dtype=np.float32))
        seconds = _seconds(
            lambda: cut_neighbours(folder / "matrix.npy", folder / "index.csv", folder / "val.csv")
        )
    return Speed(f"neighbours of {PAIRS} pairs among {INDEX_ROWS} index rows", seconds)


def _write(file: Path, lines: list[str]) -> None:
    file.write_text("\n".join(lines) + "\n")


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
