"""A decoder fault as the pool sees it: the process ends. A small file, for workers load it."""

from __future__ import annotations

import os

from reactdist.data.clip import ClipSettings
from reactdist.data.inspection import PairResult, PairTask, inspect_pair
from reactdist.data.release import ClipFiles


def inspect_or_die(task: PairTask) -> PairResult:
    """`inspect_pair`, but the first pairs of val end the process."""
    if task.split == "val" and task.speaker.key.endswith("/1"):
        os.abort()
    return inspect_pair(task)


def try_or_die(clip: tuple[ClipFiles, ClipSettings]) -> None:
    """Encoding the expert's first clip of val ends the process."""
    files, _ = clip
    if files.key.startswith("val/") and files.key.endswith("Expert_video/1"):
        os.abort()
