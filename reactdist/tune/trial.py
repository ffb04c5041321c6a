"""One trial: a training run in the trial's own process, reported to Ray Tune at each evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reactdist.config import parse
from reactdist.errors import NonFiniteLoss
from reactdist.evaluate.objective import OBJECTIVE
from reactdist.train.keeper import is_finished, prepare_folder
from reactdist.train.loop import Evaluation, StepRecord
from reactdist.tune.settings import StudySettings
from reactdist.tune.space import settings_of

FAILED = -1e9
"""Objective of a trial whose loss went NaN: a result, worse than any other, so that the searcher
learns to stay away; its run carries the reason."""


class TuneReporter:
    """Evaluations to Ray Tune; at this call a scheduler stops the trial."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def started(self, facts: Mapping[str, Any]) -> None:
        """Nothing is reported before the first evaluation."""

    def step(self, record: StepRecord) -> None:
        """Steps are not reported to Tune."""

    def evaluated(self, evaluation: Evaluation) -> None:
        from ray import tune

        tune.report(
            {
                "epoch": evaluation.epoch,
                "train_steps": evaluation.step,
                "folder": str(self.folder),
                **evaluation.metrics,
            }
        )


def run_trial(
    config: Mapping[str, Any], *, study_values: Mapping[str, Any], uri: str, parent: str
) -> None:
    """What Ray Tune calls with a configuration; resumes from the trial's folder if it has one."""
    from ray import tune

    from reactdist.data.shards import Shards
    from reactdist.train.launch import train_here

    study = parse(StudySettings, study_values)
    name = trial_name(tune.get_context().get_trial_id())
    settings = settings_of(study, config, name)
    shards = Shards.open(settings.data.shards)
    prepare_folder(settings)
    reporter = TuneReporter(settings.folder.resolve())
    if is_finished(settings.folder):
        return
    try:
        train_here(settings, uri, shards, reporters=[reporter], parent_run_id=parent, kind="trial")
    except NonFiniteLoss:
        tune.report(
            {
                "epoch": settings.epochs,
                "train_steps": 0,
                "folder": str(settings.folder.resolve()),
                OBJECTIVE: FAILED,
            }
        )


def trial_name(trial_id: str) -> str:
    """Folder and run name of a trial."""
    return f"trial-{trial_id}"
