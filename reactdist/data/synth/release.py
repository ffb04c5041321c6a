"""Writes a generated release in the published files.

Everything goes to `OUT.partial` first and gets its name when it is complete, so a run that was
stopped leaves nothing that looks finished; the next run throws such a rest away.
"""

from __future__ import annotations

import functools
import io
import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path

import numpy as np
import soundfile

from reactdist.data.synth.coefficients import published
from reactdist.data.synth.picture import pictures
from reactdist.data.synth.plan import DEFAULT_SPLITS, Clip, Plan, appropriateness, make_plan
from reactdist.data.synth.recording import record
from reactdist.data.synth.seeding import generator
from reactdist.data.synth.video import encode_mp4
from reactdist.data.synth.voice import SAMPLE_RATE_HZ, voice
from reactdist.errors import InputError
from reactdist.schema import ATTRIBUTES, NOMINAL_FRAMES, SPLITS

MATRIX_FILE = "Approprirate_facial_reaction.npy"  # the published spelling
MARKER = ".unfinished-reactdist-release"
BYTES_PER_FRAME = 5_600
"""Of one person: wav 3,528, mp4 about 900 to 1,500, csv and npy 500."""


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
    """
    out = Path(out)
    plan = make_plan(pairs, frames, seed, splits)
    with _unfinished(out, 2 * pairs * frames * BYTES_PER_FRAME) as folder:
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
        for _ in _run(functools.partial(_task, folder, plan), tasks, workers):
            progress.advance(bar)


def _task(folder: Path, plan: Plan, task: tuple[Clip, int]) -> None:
    write_person(folder, plan, *task)


def _run(
    work: Callable[[tuple[Clip, int]], None], tasks: list[tuple[Clip, int]], workers: int
) -> Iterator[None]:
    if workers == 1:
        yield from map(work, tasks)
        return
    # Spawned, not forked: the caller may hold threads (torch, rich), which a fork does not survive.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(tasks)), context, initializer=_die_with_parent
    ) as pool:
        try:
            yield from pool.map(work, tasks)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _die_with_parent() -> None:
    """A worker whose parent was killed ends too, instead of waiting for work for ever."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _unfinished(out: Path, needed_bytes: int) -> Iterator[Path]:
    """The folder to write to; becomes `out` at the end, is removed when the work fails."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("exists and is not an empty folder", where=out, fix="name a new folder")
    partial = out.with_name(out.name + ".partial")
    if partial.exists() and not (partial / MARKER).is_file():
        raise InputError(
            "is in the way and not an unfinished release", where=partial, fix="move it away"
        )
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / MARKER).touch()
        free = shutil.disk_usage(partial).free
        if free < needed_bytes:
            raise OSError(f"{needed_bytes >> 20} MiB needed, {free >> 20} MiB free")
        yield partial
        (partial / MARKER).unlink()
        partial.rename(out)
    except (OSError, BrokenProcessPool) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"the release cannot be written ({reason})",
            where=out,
            fix="free some space or name another folder",
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
