"""The record of a study, appended as it happens: what a killed search goes on from.

Ray Tune's own snapshot is up to ten seconds old, is copied without being swapped in, and leaves out
the scheduler's state: a search resumed from it runs trials again and has forgotten ASHA's rungs.
Here a line is on the disk before anything follows from it, and a line that a kill cut short was
never acted on. Results, budgets, warm starts and resumed searches all read this one file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from reactdist.errors import InputError
from reactdist.evaluate.objective import OBJECTIVE

JOURNAL = "trials.jsonl"
FAILED_OBJECTIVE = -1e9
"""Objective of a trial that has no value (loss gone NaN, metric undefined, process died): worse
than any other, so that the searcher learns to stay away."""

End = Literal["", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class Report:
    """One evaluation of a trial."""

    epoch: int
    step: int
    metrics: Mapping[str, float]

    @property
    def objective(self) -> float:
        """What is maximised; a number that compares, also where it is undefined."""
        value = self.metrics.get(OBJECTIVE, FAILED_OBJECTIVE)
        return value if value == value else FAILED_OBJECTIVE


@dataclass
class TrialRecord:
    """What is known of one trial."""

    number: int
    config: dict[str, Any]
    reports: dict[int, Report] = field(default_factory=dict)
    """Optimizer step -> evaluation, in order."""
    seconds: float = 0.0
    """Time its processes held their resources, up to the last event; repeated work included."""
    end: End = ""
    """finished, stopped by the scheduler, failed; empty while it has to go on."""
    error: str = ""


class Journal:
    """Trials of a study by number; every change is appended to the file first."""

    def __init__(self, path: Path | None) -> None:
        """Read what is there; without a path nothing is kept but in memory.

        Raises:
            InputError: a line other than the last cannot be read.
        """
        self.path = path
        self.trials: dict[int, TrialRecord] = {}
        self.reports: list[tuple[int, Report]] = []
        """(trial number, evaluation) in the order they came in."""
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        whole = 0
        lines = path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("cut short")
                self._apply(json.loads(line))
            except (ValueError, KeyError) as error:
                if number == len(lines):
                    break
                raise InputError(
                    f"line {number} cannot be read ({error})",
                    where=path,
                    fix="restore the file, or search under a new name",
                ) from None
            whole += len(line)
        if whole < path.stat().st_size:
            os.truncate(path, whole)

    def propose(self, number: int, config: Mapping[str, Any]) -> None:
        """A trial is about to start."""
        self._append({"trial": number, "config": dict(config)})

    def report(self, number: int, report: Report, *, seconds: float, end: End = "") -> None:
        """A trial was evaluated; `seconds` since its last event."""
        self._append(
            {
                "trial": number,
                "epoch": report.epoch,
                "step": report.step,
                "metrics": dict(report.metrics),
                "seconds": round(seconds, 3),
                "end": end,
            }
        )

    def fail(self, number: int, error: str) -> None:
        """A trial failed for good."""
        self._append({"trial": number, "end": "failed", "error": error})

    def __deepcopy__(self, memo: object) -> Journal:
        # Ray Tune copies what it is given; a copy still is the record of this study.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Journal, (self.path,)

    @property
    def unfinished(self) -> list[TrialRecord]:
        """Trials that have to go on."""
        return [trial for trial in self.trials.values() if not trial.end]

    @property
    def ended(self) -> list[TrialRecord]:
        """Trials that came to an end of whatever kind."""
        return [trial for trial in self.trials.values() if trial.end]

    def _append(self, event: dict[str, Any]) -> None:
        if self.path is not None:
            with self.path.open("ab") as file:
                file.write(json.dumps(event).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        self._apply(event)

    def _apply(self, event: Mapping[str, Any]) -> None:
        number = event["trial"]
        if "config" in event:
            self.trials[number] = TrialRecord(number, event["config"])
            return
        trial = self.trials[number]
        trial.seconds += event.get("seconds", 0.0)
        trial.end, trial.error = event["end"], event.get("error", "")
        if "metrics" in event and event["step"] not in trial.reports:
            report = Report(event["epoch"], event["step"], event["metrics"])
            trial.reports[report.step] = report
            self.reports.append((number, report))
