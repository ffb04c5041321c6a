"""Which checkpoints stay: the latest, the best k by a named metric, and promoted ones always."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path

_MARK = "PROMOTED"


def protect(checkpoint: Path, why: str) -> None:
    """Mark a checkpoint folder as one that no clean-up may remove; `why` is for who reads it."""
    (checkpoint / _MARK).write_text(f"{why}\n")


def keep_mark(old: Path, new: Path) -> None:
    """Mark `new` as `old` is, whose place it takes."""
    if is_protected(old):
        (new / _MARK).write_bytes((old / _MARK).read_bytes())


def is_protected(checkpoint: Path) -> bool:
    """Whether a checkpoint folder is marked."""
    return (checkpoint / _MARK).exists()


def to_remove(
    scores: Mapping[int, float | None],
    *,
    keep_best: int,
    protected: Collection[int] = (),
) -> list[int]:
    """Steps whose checkpoint may go.

    Args:
        scores: step -> validation score (higher is better), None or NaN where it was not evaluated.
        keep_best: how many of the best stay besides the latest.
        protected: steps that never go (promoted versions).
    """
    if not scores:
        return []
    scored = [(v, s) for s, v in scores.items() if v is not None and not math.isnan(v)]
    best = {step for _, step in sorted(scored, reverse=True)[:keep_best]}
    keep = best | {max(scores)} | set(protected)
    return sorted(step for step in scores if step not in keep)
