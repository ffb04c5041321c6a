"""A decoder fault as the pool sees it: the process ends. A small file, for workers load it."""

from __future__ import annotations

import os

from reactdist.data.inspection import PairResult, PairTask, inspect_pair


def inspect_or_die(task: PairTask) -> PairResult:
    """`inspect_pair`, but the first pairs of val end the process."""
    if task.split == "val" and task.speaker.key.endswith("/1"):
        os.abort()
    return inspect_pair(task)
