"""What a study found: plain values, stored as study.json beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class StudyResult:
    """All trials of a study, best first."""

    study: str
    run_id: str
    max_steps: int
    """Optimizer steps of a trial that nobody stops."""
    wall_s: float
    trials: list[TrialResult]

    @property
    def best(self) -> TrialResult:
        """The trial with the highest objective."""
        return self.trials[0]

    def write(self, folder: Path) -> Path:
        """Store as study.json."""
        path = folder / STUDY_FILE
        path.write_text(json.dumps(asdict(self), indent=1))
        return path


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
