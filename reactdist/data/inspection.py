"""Looking at the files of one pair: what is wrong with each, and what the check needs to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reactdist.data.audio import read_wav
from reactdist.data.clip import LENGTH_SLACK_FRAMES
from reactdist.data.coefficients import check_coefficients, read_coefficients
from reactdist.data.emotion import check_emotion, read_emotion
from reactdist.data.faults import FileFault, Missing, Undecodable
from reactdist.data.release import ClipFiles
from reactdist.data.swaps import Fit, moments
from reactdist.schema import FRAME_RATE_HZ

AUDIO_SLACK_FRAMES = 12
"""Audio is cut or padded to the video; more than half a second of difference is no rounding."""


@dataclass(frozen=True)
class Finding:
    """One thing wrong, with the file it is in."""

    kind: str
    severity: str
    """`problem`, `suspect` (cannot be proven), or `note` (normal in published files)."""
    split: str
    clip: str
    modality: str
    file: str
    detail: str


@dataclass(frozen=True)
class PairTask:
    """The files of both persons of a pair."""

    split: str
    speaker: ClipFiles
    listener: ClipFiles
    decode: bool


@dataclass(frozen=True)
class PairResult:
    """What was found in a pair."""

    task: PairTask
    findings: tuple[Finding, ...]
    uneven: tuple[Finding, ...]
    """Lengths that differ by one frame; the whole release tells whether that is a fault."""
    unterminated: tuple[Finding, ...]
    """Csv files without a final line end; likewise."""
    num_files: int
    fit: Fit | None
    """Evidence on swapped labels; None if a file is bad."""


def inspect_pair(task: PairTask) -> PairResult:
    """Inspect the eight files of a pair; raises nothing."""
    findings: list[Finding] = []
    uneven: list[Finding] = []
    unterminated: list[Finding] = []
    loaded = []
    for files in (task.speaker, task.listener):
        read = _inspect_clip(files, task, findings)
        loaded.append(read)
        _compare_lengths(files, task.split, read, findings, uneven)
        if "emotion" in read and not _ends_with_newline(files.emotion):
            detail = "the last line has no end: bytes may be missing"
            unterminated.append(finding("truncated", task.split, files, "emotion", detail))
    fit = None
    if all("emotion" in read and "coefficients" in read for read in loaded):
        fit = moments(*((read["emotion"], read["coefficients"]) for read in loaded))
    return PairResult(task, tuple(findings), tuple(uneven), tuple(unterminated), 8, fit)


def crashed(task: PairTask) -> PairResult:
    """What to report of a pair whose inspection ended the process."""
    detail = "decoding it ended the process"
    findings = tuple(
        finding("undecodable", task.split, files, "video", detail)
        for files in (task.speaker, task.listener)
    )
    return PairResult(task, findings, (), (), 8, None)


def _inspect_clip(files: ClipFiles, task: PairTask, findings: list[Finding]) -> dict[str, Any]:
    """What could be read, by modality: arrays, or the number of frames."""
    readers: dict[str, Callable[[], Any]] = {
        "video": lambda: _video_frames(files, task.decode),
        "audio": lambda: _audio_frames(files.audio),
        "emotion": lambda: _emotion(files.emotion),
        "coefficients": lambda: _coefficients(files.coefficients),
    }
    read = {}
    for modality, reader in readers.items():
        try:
            read[modality] = reader()
        except FileFault as fault:
            path = Path(fault.where)
            findings.append(
                Finding(
                    fault.kind, "problem", task.split, files.key.partition("/")[2],
                    modality, str(path), fault.what,
                )
            )  # fmt: skip
    return read


def _video_frames(files: ClipFiles, decode: bool) -> int:
    if not files.video.exists():
        raise Missing("is missing", where=files.video)
    num_frames = files.video_layout.header(files.video).num_frames
    if decode:
        decoded = sum(1 for _ in files.video_layout.frames(files.video))
        if decoded != num_frames:
            raise Undecodable(
                f"only {decoded} of {num_frames} frames can be decoded", where=files.video
            )
    return num_frames


def _audio_frames(path: Path) -> int:
    samples, rate = read_wav(path)
    return round(len(samples) * FRAME_RATE_HZ / rate)


def _emotion(path: Path) -> np.ndarray:
    values = read_emotion(path)
    check_emotion(values, path)
    return values


def _coefficients(path: Path) -> np.ndarray:
    values = read_coefficients(path)
    check_coefficients(values, path)
    return values


def _compare_lengths(
    files: ClipFiles,
    split: str,
    read: dict[str, Any],
    findings: list[Finding],
    uneven: list[Finding],
) -> None:
    """Report files whose length is not that of most of the clip's frame-wise files."""
    lengths = {
        modality: value if isinstance(value, int) else len(value)
        for modality, value in read.items()
    }
    framewise = [length for modality, length in lengths.items() if modality != "audio"]
    if not framewise:
        return
    # Most files agree; where they do not, the longest is what the others lost frames of.
    usual = max(framewise, key=lambda length: (framewise.count(length), length))
    for modality, length in lengths.items():
        slack = AUDIO_SLACK_FRAMES if modality == "audio" else LENGTH_SLACK_FRAMES
        detail = f"{length} frames, the clip's other files have {usual}"
        if abs(length - usual) > slack:
            findings.append(finding("length", split, files, modality, detail))
        elif length != usual and modality != "audio":
            uneven.append(finding("length", split, files, modality, detail))


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() == b"\n"


def finding(
    kind: str,
    split: str,
    files: ClipFiles,
    modality: str,
    detail: str,
    severity: str = "problem",
) -> Finding:
    """A finding about one of a clip's files."""
    clip = files.key.partition("/")[2]
    return Finding(kind, severity, split, clip, modality, str(files.paths()[modality]), detail)
