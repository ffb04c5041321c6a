"""Writes a generated release in the published files."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile

from reactdist.data.synth.coefficients import published
from reactdist.data.synth.parallel import run
from reactdist.data.synth.picture import pictures
from reactdist.data.synth.plan import DEFAULT_SPLITS, Clip, Plan, appropriateness, make_plan
from reactdist.data.synth.recording import record
from reactdist.data.synth.seeding import generator
from reactdist.data.synth.unfinished import unfinished
from reactdist.data.synth.video import encode_mp4
from reactdist.data.synth.voice import SAMPLE_RATE_HZ, voice
from reactdist.errors import InputError
from reactdist.schema import ATTRIBUTES, NOMINAL_FRAMES, SPLITS

MATRIX_FILE = "Approprirate_facial_reaction.npy"  # the published spelling
BYTES_PER_FRAME = 7_000
"""Of one person, at most about: wav 3,528 (stereo the double), mp4 2,000, csv and npy 500."""


def write_release(
    out: Path,
    *,
    pairs: int,
    frames: int = NOMINAL_FRAMES,
    seed: int = 0,
    splits: Mapping[str, float] = DEFAULT_SPLITS,
    workers: int | None = None,
) -> None:
    """Write a release of `pairs` clips (two people each) of `frames` frames to the folder `out`.

    Same arguments, same bytes of every npy and csv, for any number of workers (default: one a
    core). Shows progress on a terminal.

    Raises:
        InputError: `out` holds something already, the arguments are impossible, the disk is full.
        WorkerLost: a worker was killed, by the system for its memory or by somebody.
    """
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers", where="workers", fix="give 1 or more")
    plan = make_plan(pairs, frames, seed, splits)
    with unfinished(out, 2 * pairs * frames * BYTES_PER_FRAME) as folder:
        write_lists(folder, plan)
        _write_people(folder, plan, workers or os.cpu_count() or 1)


def write_lists(folder: Path, plan: Plan) -> None:
    """The files of the whole release: pair lists, index, appropriateness matrix, mean face."""
    index = plan.index()
    row_of = {clip.number: row for row, clip in enumerate(index)}
    # The published index spells RECOLA differently, sorts clips as text and ends lines in CRLF.
    spelled = {"RECOLA": "Recola", "NoXI": "NoXI"}
    rows = [f"{spelled[c.site]},{c.session},{c.index}" for c in index]
    _text(folder / "data_indices.csv", ["site,chat_index,clip_index", *rows], "\r\n")
    for split in SPLITS:
        lines = [f"{row_of[c.number]},{c.key(0)},{c.key(1)}" for c in plan.of_split(split)]
        _text(folder / f"{split}.csv", [",speaker_path,listener_path", *lines], "\n")
    _array(folder / MATRIX_FILE, appropriateness(plan))
    _array(folder / "mean_face.npy", published("mean").astype(np.float32))


def write_person(folder: Path, plan: Plan, clip: Clip, role: int) -> None:
    """The four files of one person of one clip."""
    recording = record(plan, clip)[role]
    noise = generator(plan.seed, "voice", clip.number, role)
    samples = voice(recording.performance, recording.person.voice, noise)
    sound = io.BytesIO()
    soundfile.write(sound, samples, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    video = encode_mp4(pictures(recording.performance.state, recording.person.look))

    def path(kind: str, ending: str) -> Path:
        file = folder / clip.split / kind / f"{clip.key(role)}.{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    path("Audio_files", "wav").write_bytes(sound.getvalue())
    path("Video_files", "mp4").write_bytes(video)
    _text(path("Emotion", "csv"), [",".join(ATTRIBUTES), *_emotion_rows(recording.emotion)], "\n")
    _array(path("3D_FV_files", "npy"), recording.coefficients[:, None, :])


def _emotion_rows(emotion: np.ndarray) -> Iterator[str]:
    """Action units as 0/1, the rest with six decimals."""
    form = ",".join(["%d"] * 15 + ["%.6f"] * 10)
    return (form % tuple(row) for row in emotion.tolist())


def _text(path: Path, lines: list[str], ending: str) -> None:
    path.write_bytes(ending.join([*lines, ""]).encode())


def _array(path: Path, values: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def _write_people(folder: Path, plan: Plan, workers: int) -> None:
    from rich.console import Console
    from rich.progress import Progress

    tasks = [(clip, role) for clip in plan.clips for role in (0, 1)]
    console = Console(stderr=True)
    with Progress(console=console, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("people of the release", total=len(tasks))
        for _ in run(functools.partial(_task, folder, plan), tasks, workers):
            progress.advance(bar)


def _task(folder: Path, plan: Plan, task: tuple[Clip, int]) -> None:
    write_person(folder, plan, *task)
