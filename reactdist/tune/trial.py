"""One trial: a training run in the trial's own process, reported to Ray Tune at each evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reactdist.config import parse
from reactdist.errors import NonFiniteLoss
from reactdist.evaluate.objective import OBJECTIVE
from reactdist.train.keeper import is_finished, prepare_folder
from reactdist.train.loop import Evaluation, StepRecord
from reactdist.train.settings import TrainSettings
from reactdist.tune.settings import StudySettings
from reactdist.tune.space import settings_of

FAILED = -1e9
"""Objective of a trial whose loss went NaN: a result, worse than any other, so that the searcher
learns to stay away; its run carries the reason."""


class TuneReporter:
    """Evaluations to Ray Tune; inside this call a scheduler may end the trial for good.

    The last one is left to `run_trial`, which reports it when the run is whole: a scheduler ends
    a trial at its last epoch too, before the run could say that it finished.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings

    def started(self, facts: Mapping[str, Any]) -> None:
        """Nothing is reported before the first evaluation."""

    def step(self, record: StepRecord) -> None:
        """Steps are not reported to Tune."""

    def evaluated(self, evaluation: Evaluation) -> None:
        """Report unless it is the last."""
        if evaluation.epoch < self.settings.epochs:
            report(self.settings, evaluation.epoch, evaluation.step, evaluation.metrics)


def report(settings: TrainSettings, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
    """One result of a trial."""
    from ray import tune

    folder = str(settings.folder.resolve())
    tune.report({"epoch": epoch, "train_steps": step, "folder": folder, **metrics})


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
    reporters = [TuneReporter(settings)]
    try:
        if not is_finished(settings.folder):
            train_here(
                settings, uri, shards, reporters=reporters, parent_run_id=parent, kind="trial"
            )
    except NonFiniteLoss:
        report(settings, settings.epochs, 0, {OBJECTIVE: FAILED})
        return
    last = json.loads((settings.folder / "finished.json").read_text())
    report(settings, last["epoch"], last["step"], last["metrics"])


def trial_name(trial_id: str) -> str:
    """Folder and run name of a trial."""
    return f"trial-{trial_id}"
