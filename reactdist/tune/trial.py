"""One trial: a training run in the trial's own process, or a Ray Train group started from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reactdist.config import parse
from reactdist.data.shards import Shards
from reactdist.errors import NonFiniteLoss
from reactdist.evaluate.objective import OBJECTIVE
from reactdist.train.keeper import is_finished, prepare_folder
from reactdist.train.loop import Evaluation, Reporter
from reactdist.train.settings import TrainSettings
from reactdist.tune.journal import FAILED_OBJECTIVE
from reactdist.tune.places import is_group
from reactdist.tune.settings import StudySettings
from reactdist.tune.space import settings_of

TIME = "epoch"
"""What schedulers count: an epoch of the run itself; Tune's own count restarts on resume."""
STEP = "train_steps"
NUMBER = "trial_number"
"""Key beside the searched ones that tells a trial which one it is."""
FAILURE = "failure"
"""Key of a result that says why its trial has none."""


class TuneReporter(Reporter):
    """Evaluations to Ray Tune; inside this call a scheduler may end the trial for good.

    The last one is left to `run_trial`, which reports it when the run is whole: a scheduler ends
    a trial at its last epoch too, before the run could say that it finished.
    """

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings

    def evaluated(self, evaluation: Evaluation) -> None:
        """Report unless it is the last."""
        if evaluation.epoch < self.settings.epochs:
            report(evaluation.epoch, evaluation.step, evaluation.metrics)


def report(epoch: int, step: int, metrics: Mapping[str, float]) -> None:
    """One result of a trial to Ray Tune."""
    from ray import tune

    tune.report(as_result(epoch, step, metrics))


def as_result(epoch: int, step: int, metrics: Mapping[str, float]) -> dict[str, Any]:
    """An evaluation as Ray Tune gets it. An undefined objective is the worst: no scheduler can
    compare NaN."""
    value = metrics[OBJECTIVE]
    shown = value if value == value else FAILED_OBJECTIVE
    return {TIME: epoch, STEP: step, "metrics": dict(metrics), OBJECTIVE: shown}


def run_trial(
    config: Mapping[str, Any], *, study_values: Mapping[str, Any], uri: str, parent: str
) -> None:
    """What Ray Tune calls with a configuration; resumes from the trial's folder if it has one."""
    from ray import tune

    study = parse(StudySettings, study_values)
    searched = {key: value for key, value in config.items() if key != NUMBER}
    settings = settings_of(study, searched, trial_name(study, config[NUMBER]))
    prepare_folder(settings)
    try:
        if not is_finished(settings.folder):
            if is_group(study):
                _train_group(settings, uri, parent)
            else:
                _train_here(settings, uri, parent)
    except NonFiniteLoss as error:
        # A result, since an error would start the trial again, and it would fail again.
        tune.report(
            {**as_result(settings.epochs, 0, {OBJECTIVE: FAILED_OBJECTIVE}), FAILURE: error.line()}
        )
        return
    last = json.loads((settings.folder / "finished.json").read_text())
    report(last["epoch"], last["step"], last["metrics"])


def trial_name(study: StudySettings, number: int) -> str:
    """Folder and run name of a trial."""
    return f"{study.study}-{number:03d}"


def _train_here(settings: TrainSettings, uri: str, parent: str) -> None:
    from reactdist.train.launch import train_here

    shards = Shards.open(settings.data.shards)
    reporters = [TuneReporter(settings)]
    train_here(settings, uri, shards, reporters=reporters, parent_run_id=parent, kind="trial")


def _train_group(settings: TrainSettings, uri: str, parent: str) -> None:
    from reactdist.train.ray_train import train_on_ray
    from reactdist.tune.group import GroupReports, name_the_cluster

    name_the_cluster()
    reports = GroupReports(settings.epochs)
    train_on_ray(settings, uri, callbacks=[reports], parent_run_id=parent, kind="trial")
