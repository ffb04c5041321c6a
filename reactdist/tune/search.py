"""A study from settings to ranked trials on Ray Tune; the same command resumes it."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reactdist.config import flatten, parse, resolved, to_yaml
from reactdist.data.shards import Shards
from reactdist.distributed.session import ray_session
from reactdist.errors import InputError
from reactdist.evaluate.study import STUDY_FILE, StudyResult, read_study
from reactdist.tracking import Run, git_state, open_run, prepare, tracking_uri
from reactdist.train.keeper import identity_of, refuse_other_settings
from reactdist.train.preflight import check_run
from reactdist.tune.journal import JOURNAL, Journal, TrialRecord
from reactdist.tune.limits import limit_reached
from reactdist.tune.places import Needs, is_group, needs_of, trials_at_a_time
from reactdist.tune.results import close_trials, log_study, refuse_all_failed, study_result
from reactdist.tune.settings import StudySettings
from reactdist.tune.space import check_space, num_trials
from reactdist.tune.trial import run_trial
from reactdist.tune.warm_start import earlier_trials

log = logging.getLogger("reactdist.tune")

_FREE = (
    "base.output", "base.data.shards", "base.data.workers", "trials", "limits.",
    "trial.max_concurrent", "trial.max_failures",
)  # fmt: skip
"""Settings that may differ when a study is resumed: where it computes, and how long."""


def tune(
    study: StudySettings,
    *,
    tracking: str | None = None,
    address: str | None = None,
    resume: bool = False,
) -> StudyResult:
    """Run (or resume) a study; a finished one gives the result it has.

    Args:
        resume: go on with the settings that an earlier study of this name has, whatever `study`
            says besides its name and place.

    Raises:
        InputError: the space, the data, the cluster or an earlier study of this name do not fit.
        ReactdistError: every trial failed.
    """
    uri = tracking_uri(tracking)
    study = study.model_copy(update={"base": study.base.absolute()})
    if resume:
        study = stored_settings(study)
    check_space(study)
    shards = check_run(study.base)
    earlier = earlier_trials(study)
    folder = study_folder(study)
    with _alone_in(folder):
        journal = Journal(folder / JOURNAL)
        if journal.trials:
            _refuse_other_study(study)
        if (folder / STUDY_FILE).exists() and num_trials(study) <= len(journal.ended):
            return read_study(folder)
        prepare(uri)
        with ray_session(address, num_cpus=_local_cores(study), dashboard=is_group(study)):
            needs, places = _check_cluster(study)
            # Nothing was written before this study was known to be possible.
            (folder / "study.yaml").write_text(to_yaml(study))
            plan = Plan(study, journal, earlier, needs, places)
            return _search(plan, uri, shards)


def study_folder(study: StudySettings) -> Path:
    """Where a study keeps its files."""
    return study.base.output / study.study


def stored_settings(study: StudySettings) -> StudySettings:
    """The settings of the study of this name that is there; what differs is said.

    Raises:
        InputError: there is none.
    """
    path = study_folder(study) / "study.yaml"
    if not path.exists():
        raise InputError("no study to resume", where=path, fix="leave --resume out to start one")
    stored = parse(StudySettings, yaml.safe_load(path.read_text()), where=path)
    try:
        refuse_other_settings(study, path, free=("base.output", "base.data.shards"))
    except InputError as error:
        log.warning("going on with the stored settings: %s", error.what)
    # Where the study is now, which need not be where it began.
    data = stored.base.data.model_copy(update={"shards": study.base.data.shards})
    base = stored.base.model_copy(update={"output": study.base.output, "data": data})
    return stored.model_copy(update={"base": base})


@dataclass(frozen=True)
class Plan:
    """What a search needs to know besides where it is tracked."""

    study: StudySettings
    journal: Journal
    earlier: list[TrialRecord]
    """Trials of the study it is warm-started from."""
    needs: Needs
    places: int
    """Trials at a time."""

    def limit_reached(self) -> str:
        """Which limit ends the search now; empty while none does."""
        return limit_reached(self.study.limits, self.journal, self.needs)

    @property
    def left(self) -> int:
        """Trials to run."""
        return num_trials(self.study) - len(self.journal.ended)


def _search(plan: Plan, uri: str, shards: Shards) -> StudyResult:
    """Run what is left, under the study's own MLflow run; its result."""
    study, journal = plan.study, plan.journal
    folder = study_folder(study)
    parent = _open_parent(study, uri, shards)
    started = time.perf_counter()
    status: Any = "FAILED"
    try:
        if plan.left > 0 and not plan.limit_reached():
            _fit(plan, uri, parent.run_id)
        result = study_result(
            study,
            journal,
            plan.needs,
            run_id=parent.run_id,
            max_steps=_max_steps(study, shards),
            wall_s=time.perf_counter() - started,
            ended_by=plan.limit_reached(),
        )
        close_trials(study, uri, result)
        log_study(parent, folder, result, len(journal.ended))
        refuse_all_failed(result, folder)
        result.write(folder)
        status = "FINISHED"
        return result
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        parent.finish(status)


def _fit(plan: Plan, uri: str, parent_run_id: str) -> None:
    """Run what is left of the study; everything that follows from it is in the journal."""
    from ray import tune as ray_tune

    from reactdist.tune.hooks import LimitStopper, Progress
    from reactdist.tune.policies import Proposals, StudyScheduler

    study, journal = plan.study, plan.journal
    if journal.trials:
        log.warning("resuming: %d trials ended, %d to go", len(journal.ended), plan.left)
    quiet_tune()
    trainable = ray_tune.with_resources(
        ray_tune.with_parameters(
            run_trial, study_values=resolved(study), uri=uri, parent=parent_run_id
        ),
        _driver_resources(study),
    )
    tuner = ray_tune.Tuner(
        trainable,
        tune_config=ray_tune.TuneConfig(
            search_alg=Proposals(study, journal, plan.earlier),
            scheduler=StudyScheduler(study, journal),
            num_samples=plan.left,
            max_concurrent_trials=plan.places,
            time_budget_s=study.limits.wall_s,
            # The driver of a group cannot be asked to drop it: it is ended with the trial.
            reuse_actors=not is_group(study),
        ),
        run_config=ray_tune.RunConfig(
            name="ray_tune",
            storage_path=str(study_folder(study).resolve()),
            failure_config=ray_tune.FailureConfig(max_failures=study.trial.max_failures),
            verbose=0,
            callbacks=[Progress(journal, num_trials(study), study.base.epochs)],
            stop=LimitStopper(plan.limit_reached),
        ),
    )
    tuner.fit()


def _driver_resources(study: StudySettings) -> dict[str, float]:
    if is_group(study):
        # The driver of a group only waits. A fraction of a core would be missing where the groups
        # fill the nodes, and Ray Tune does not take nothing at all: one byte.
        return {"memory": 1.0}
    return {"CPU": study.base.workers.cpus, "GPU": study.trial.gpus}


def quiet_tune() -> None:
    """Leave records and messages to the journal and `hooks.Progress`."""
    # Results, their order and what a resumed search needs are in the journal.
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "3600"
    # Tune's own handler would end an interrupted search as if it had finished.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    for name in ("ray.tune", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _local_cores(study: StudySettings) -> int:
    """Cores of a Ray of this machine alone: its own, or what one trial needs if that is more."""
    workers = study.base.workers
    needed = workers.count * workers.cpus if is_group(study) else 0
    return max(int(-(-needed // 1)), os.cpu_count() or 1)


def _check_cluster(study: StudySettings) -> tuple[Needs, int]:
    """What a trial takes, and how many run at a time on the connected cluster.

    Raises:
        InputError: a single trial can never be placed, or trials could not be stopped early.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    needs = needs_of(study, has_gpus=any(node.get("GPU", 0) for node in nodes))
    places = trials_at_a_time(needs, nodes, where=study.study)
    if needs.group:
        from reactdist.tune.group import check_state_api

        check_state_api(study.study)
    return needs, min(places, study.trial.max_concurrent or places)


def _refuse_other_study(study: StudySettings) -> None:
    """Raises InputError when the study of this name has other settings; names the differences."""
    try:
        refuse_other_settings(study, study_folder(study) / "study.yaml", free=_FREE)
    except InputError as error:
        raise InputError(
            error.what,
            where=error.where,
            fix="--resume goes on with the settings it has; --set study=NAME makes a new study",
        ) from None


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Held by the one search that runs in a folder; given back even by a kill -9.

    Raises:
        InputError: another search runs there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise InputError(
            f"cannot write the study's folder ({error.strerror})",
            where=folder,
            fix="free space, or set base.output to a folder you may write",
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                "another search runs in this folder",
                where=folder,
                fix="wait for it, end it, or use --set study=NAME",
            ) from None
        yield


def _open_parent(study: StudySettings, uri: str, shards: Shards) -> Run:
    git = git_state(Path(__file__).parent)
    settings = {k: v for k, v in flatten(resolved(study)).items() if not k.startswith("base.")}
    run = open_run(
        uri,
        study.base.experiment,
        study.study,
        key=identity_of(study_folder(study)),
        params=settings,
        tags={
            "reactdist.kind": "study",
            "reactdist.data_fingerprint": shards.fingerprint,
            **{f"git.{name}": value for name, value in git.items() if name != "diff"},
        },
    )
    run.log_text(to_yaml(study), "study.yaml")
    return run


def _max_steps(study: StudySettings, shards: Shards) -> int:
    from reactdist.train.schedule import steps_until_epoch

    return steps_until_epoch(study.base.epochs, len(shards.items("train")), study.base.batch_size)
