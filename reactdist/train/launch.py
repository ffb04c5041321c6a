"""Start a training run: in this process, or on Ray Train."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reactdist.checkpoints.export import load_config
from reactdist.config import flatten, resolved, to_yaml
from reactdist.data.shards import Shards
from reactdist.errors import NonFiniteLoss, OutOfMemory
from reactdist.tracking import Run, git_state, open_run, package_versions, prepare, tracking_uri
from reactdist.tracking.system import SystemMetrics
from reactdist.train.keeper import identity_of, is_finished, prepare_folder
from reactdist.train.logfile import LogReporter
from reactdist.train.loop import Evaluation, Preempted, Reporter
from reactdist.train.preflight import check_run, check_weights
from reactdist.train.profile import ProfileReporter
from reactdist.train.reporters import ConsoleReporter, TrackerReporter
from reactdist.train.settings import TrainSettings

log = logging.getLogger("reactdist.train")


def train(
    settings: TrainSettings, *, tracking: str | None = None, address: str | None = None
) -> dict[str, Any]:
    """Run (or resume) a training run to its end; what finished.json of its folder says.

    Raises:
        InputError: found in the driver before anything starts.
        NonFiniteLoss, OutOfMemory, Preempted, StorageError, DataError: from the loop.
        WorkerLost: workers were lost more often than allowed.
    """
    uri = tracking_uri(tracking)
    settings = settings.absolute()
    shards = check_run(settings)
    prepare_folder(settings)
    prepare(uri)
    if not is_finished(settings.folder):
        check_weights(settings)
        if settings.on_ray:
            from reactdist.train.ray_train import train_on_ray

            train_on_ray(settings, uri, address=address)
        else:
            train_here(settings, uri, shards, console=True)
    result: dict[str, Any] = json.loads((settings.folder / "finished.json").read_text())
    return result


def train_here(
    settings: TrainSettings,
    uri: str,
    shards: Shards,
    *,
    reporters: Sequence[Reporter] = (),
    console: bool = False,
    parent_run_id: str | None = None,
    kind: str = "train",
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train in this process: a laptop run, a tuning trial, or rank 0 of a Ray Train group."""
    from reactdist.train.worker import pick_device, quiet_libraries, run_worker

    quiet_libraries()
    run = open_training_run(settings, uri, shards, parent_run_id=parent_run_id, kind=kind)
    (settings.folder / "run_id").write_text(run.run_id)
    status: Any = "FAILED"
    live = ConsoleReporter(settings.name)
    recorded = RunReporter(run, settings)
    everyone: list[Reporter] = [
        recorded,
        LogReporter(settings.name),
        *([live] if console else []),
        *reporters,
    ]
    profile = settings.profiled and ProfileReporter(*settings.profiled, settings.folder, run)
    if profile:
        everyone.append(profile)
    try:
        if console:
            live.__enter__()
        with SystemMetrics(run):
            run_worker(settings, pick_device(settings.workers.gpu), everyone, asked_to_stop)
        status = "FINISHED"
    except Preempted:
        status = "KILLED"
        raise
    except (NonFiniteLoss, OutOfMemory) as error:
        run.set_tags({"reactdist.failure": error.line()})
        raise
    finally:
        if profile:
            profile.close()
        if console:
            live.__exit__()
        run.finish(status)


def open_training_run(
    settings: TrainSettings,
    uri: str,
    shards: Shards,
    *,
    parent_run_id: str | None = None,
    kind: str = "train",
) -> Run:
    """The MLflow run of these settings; the same run again after a resume."""
    git = git_state(Path(__file__).parent)
    engine = settings.engine
    tags = {
        "reactdist.kind": kind,
        "reactdist.task": settings.model.get("task", settings.model["name"]),
        "reactdist.data_fingerprint": shards.fingerprint,
        "reactdist.folder": str(settings.folder.resolve()),
        "reactdist.zero_stage": engine.zero_stage,
        "reactdist.precision": engine.precision,
        "reactdist.workers": settings.workers.count,
        **{f"git.{name}": value for name, value in git.items() if name != "diff"},
        **{f"version.{name}": value for name, value in package_versions().items()},
    }
    run = open_run(
        uri,
        settings.experiment,
        settings.name,
        key=identity_of(settings.folder),
        parent_run_id=parent_run_id,
        params=flatten(resolved(settings)),
        tags=tags,
    )
    run.log_text(to_yaml(settings), "config.yaml")
    if git.get("diff"):
        run.log_text(str(git["diff"]), "git.diff")
    return run


class RunReporter(TrackerReporter):
    """MLflow's view of a run: curves, the best model and its predictions, the engine's type."""

    def __init__(self, run: Run, settings: TrainSettings) -> None:
        super().__init__(run, every=settings.log_every_steps)
        self.tracked = run
        self.settings = settings
        self.exported_step: int | None = None

    def started(self, facts: Mapping[str, Any]) -> None:
        """What only the worker knows: the engine that really trains."""
        known = ("mean_face", "shards")  # long, and a parameter
        self.tracked.set_tags({f"reactdist.{k}": v for k, v in facts.items() if k not in known})

    def evaluated(self, evaluation: Evaluation) -> None:
        super().evaluated(evaluation)
        folder = self.settings.folder
        # By what is on disk: full storage may hold up a best model until a later evaluation.
        step = load_config(folder / "best")["step"] if (folder / "best").is_dir() else None
        if step != self.exported_step:
            self.exported_step = step
            self.tracked.log_folder(folder / "best", "exported")
            if (folder / "best-predictions").is_dir():  # not of a model that was exported again
                self.tracked.log_folder(folder / "best-predictions", "predictions")
        self.tracked.set_tags({"reactdist.checkpoint": str(folder / "checkpoints")})
