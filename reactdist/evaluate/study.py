"""What a study found: plain values, stored as study.json beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reactdist.errors import InputError

STUDY_FILE = "study.json"


@dataclass(frozen=True)
class TrialResult:
    """One trial that ended."""

    number: int
    """Place in the order the trials were started."""
    trial: str
    config: dict[str, Any]
    """Searched key -> value."""
    objective: float
    """Best value over the trial's evaluations; NaN when it reported none."""
    metrics: dict[str, float]
    """At that evaluation."""
    epochs: int
    train_steps: int
    """Optimizer steps run, from Ray's own results."""
    stopped_early: bool
    folder: str
    run_id: str
    error: str
    curve: list[tuple[int, float]]
    """(optimizer steps, objective) of every evaluation."""
    end: str = "finished"
    """finished, stopped early (by the scheduler), failed, cut off (by the end of the search)."""
    hours: float = 0.0
    """Time it held its place."""


@dataclass(frozen=True)
class StudyResult:
    """All trials of a study, best first."""

    study: str
    run_id: str
    max_steps: int
    """Optimizer steps of a trial that nobody stops."""
    wall_s: float
    """Of the command that ended it."""
    trials: list[TrialResult]
    core_hours: float = 0.0
    """Cores that each trial reserved times the time it held them, up to its last report."""
    gpu_hours: float = 0.0
    ended_by: str = ""
    """The limit that ended the search before all trials were run."""
    pareto: list[str] = field(default_factory=list)
    """Trials that no other beats in all of `pareto_metrics`, at each one's best evaluation."""
    pareto_metrics: dict[str, str] = field(default_factory=dict)
    """Metric -> max or min."""

    @property
    def best(self) -> TrialResult:
        """The trial with the highest objective."""
        return self.trials[0]

    def write(self, folder: Path) -> Path:
        """Store as study.json."""
        path = folder / STUDY_FILE
        path.write_text(self.text())
        return path

    def text(self) -> str:
        """The JSON document."""
        return json.dumps(asdict(self), indent=1)


def read_study(folder: Path) -> StudyResult:
    """The result that `reactdist tune` stored in a study's folder.

    Raises:
        InputError: no finished study there.
    """
    try:
        document = json.loads((folder / STUDY_FILE).read_text())
    except OSError:
        raise InputError(
            "no finished study", where=folder, fix="run `reactdist tune` to its end first"
        ) from None
    trials = [
        TrialResult(**{**trial, "curve": [tuple(point) for point in trial["curve"]]})
        for trial in document.pop("trials")
    ]
    return StudyResult(trials=trials, **document)
