"""One quiet log a rank."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reactdist.train.loop import Evaluation, Reporter

log = logging.getLogger("reactdist.train")

SHOWN = {"shown": True}
"""`extra` of lines that a run's own display says too; `reactdist -v` does not repeat them."""


class _LogFile(logging.FileHandler):
    """A log that a full disk leaves incomplete, without a traceback a line on the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


@contextlib.contextmanager
def rank_log(folder: Path, rank: int) -> Iterator[Path]:
    """Write what `reactdist` logs on this rank to `folder/log/rank-N.log` too."""
    path = folder / "log" / f"rank-{rank}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger("reactdist")
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level or logging.WARNING, logging.INFO))
    try:
        yield path
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        with contextlib.suppress(OSError):  # what the full disk did not take
            handler.close()


class LogReporter(Reporter):
    """Start and evaluations as lines of the log."""

    def __init__(self, name: str) -> None:
        self.name = name

    def started(self, facts: Mapping[str, Any]) -> None:
        """What trains."""
        log.info("%s", started_line(self.name, facts), extra=SHOWN)

    def evaluated(self, evaluation: Evaluation) -> None:
        """The challenge metrics."""
        log.info("%s", evaluated_line(self.name, evaluation), extra=SHOWN)


def started_line(name: str, facts: Mapping[str, Any]) -> str:
    """What trains, in a line."""
    return (
        f"{name}: {facts['engine']}, ZeRO stage {facts['zero_stage']}, "
        f"{facts['world_size']} worker(s)"
    )


def evaluated_line(name: str, evaluation: Evaluation) -> str:
    """An evaluation in a line."""
    shown = ("objective", "FRCorr", "FRDist", "FRDiv", "FRSyn")
    values = evaluation.metrics
    scores = " ".join(f"{key} {values[key]:.4g}" for key in shown if key in values)
    mark = " (best so far)" if evaluation.is_best else ""
    return f"{name}: epoch {evaluation.epoch} step {evaluation.step}: {scores}{mark}"
