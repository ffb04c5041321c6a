"""Ray Tune adapter: a study from settings to ranked trials, resumed by the same command."""

from __future__ import annotations

import logging
import math
import os
import time
from pathlib import Path
from typing import Any

from reactdist.config import flatten, resolved, to_yaml
from reactdist.data.shards import Shards
from reactdist.distributed.session import ray_session
from reactdist.errors import InputError, ReactdistError
from reactdist.evaluate.objective import OBJECTIVE
from reactdist.evaluate.page import search_of
from reactdist.evaluate.report_study import write_study_plots
from reactdist.evaluate.study import STUDY_FILE, StudyResult, TrialResult
from reactdist.tracking import Run, git_state, open_run, prepare, tracking_uri
from reactdist.train.keeper import identity_of, refuse_other_settings
from reactdist.train.preflight import check_run
from reactdist.tune.settings import StudySettings
from reactdist.tune.space import check_space, tune_space
from reactdist.tune.trial import FAILED, run_trial

log = logging.getLogger("reactdist.tune")
TIME = "epoch"
"""What ASHA counts: an epoch of the run itself; Tune's own count restarts on resume."""


def tune(
    study: StudySettings, *, tracking: str | None = None, address: str | None = None
) -> StudyResult:
    """Run (or resume) a study.

    Raises:
        InputError: the space, the data, the cluster or an earlier study of this name do not fit.
        ReactdistError: every trial failed.
    """
    uri = tracking_uri(tracking)
    study = study.model_copy(update={"base": study.base.absolute()})
    check_space(study)
    shards = check_run(study.base)
    folder = _prepare_folder(study)
    prepare(uri)
    parent = _open_parent(study, uri, shards)
    started = time.perf_counter()
    status: Any = "FAILED"
    try:
        with ray_session(address, num_cpus=os.cpu_count()):
            _check_places(study)
            grid = _fit(study, uri, parent.run_id, folder)
            results = [_result(study, number, result) for number, result in enumerate(grid)]
        result = StudyResult(
            study.study,
            parent.run_id,
            _max_steps(study, shards),
            time.perf_counter() - started,
            sorted(results, key=lambda r: -r.objective if r.objective == r.objective else math.inf),
        )
        result.write(folder)
        _close_trials(study, uri, result)
        _log_study(parent, folder, result)
        if not results or math.isnan(result.best.objective) or result.best.objective <= FAILED:
            reasons = {r.error for r in results if r.error} or {"no trial reported"}
            raise ReactdistError(
                f"every trial failed: {'; '.join(sorted(reasons))[:400]}", where=folder
            )
        status = "FINISHED"
        return result
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        parent.finish(status)


def study_folder(study: StudySettings) -> Path:
    """Where a study keeps its files."""
    return study.base.output / study.study


def _fit(study: StudySettings, uri: str, parent_run_id: str, folder: Path) -> Any:
    from ray import tune as ray_tune

    from reactdist.tune.progress import TrialLines

    trainable = ray_tune.with_resources(
        ray_tune.with_parameters(
            run_trial, study_values=resolved(study), uri=uri, parent=parent_run_id
        ),
        {"CPU": study.base.workers.cpus, "GPU": study.trial.gpus},
    )
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    # Tune's own handler would end an interrupted search as if it had finished.
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    for name in ("ray.tune", "ray"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    experiment = (folder / "ray_tune").resolve()
    if ray_tune.Tuner.can_restore(str(experiment)):
        log.warning("resuming the study in %s", experiment)
        tuner = ray_tune.Tuner.restore(
            str(experiment),
            trainable,
            resume_unfinished=True,
            restart_errored=False,
            param_space=tune_space(study),
        )
        return tuner.fit()
    tuner = ray_tune.Tuner(
        trainable,
        param_space=tune_space(study),
        tune_config=ray_tune.TuneConfig(
            metric=OBJECTIVE,
            mode="max",
            search_alg=_searcher(study),
            scheduler=_scheduler(study),
            num_samples=1 if study.searcher.kind == "grid" else study.trials,
            max_concurrent_trials=study.trial.max_concurrent,
            time_budget_s=study.limits.wall_s,
            reuse_actors=True,
        ),
        run_config=ray_tune.RunConfig(
            name="ray_tune",
            storage_path=str(folder.resolve()),
            failure_config=ray_tune.FailureConfig(max_failures=study.trial.max_failures),
            verbose=0,
            callbacks=[TrialLines(study.trials, study.base.epochs)],
            stop=_stopper(study),
        ),
    )
    return tuner.fit()


def _searcher(study: StudySettings) -> Any:
    first = [dict(config) for config in study.searcher.first]
    if study.searcher.kind == "tpe":
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(
            multivariate=True,
            seed=study.searcher.seed,
            n_startup_trials=study.searcher.startup_trials,
        )
        return OptunaSearch(
            metric=OBJECTIVE, mode="max", sampler=sampler, points_to_evaluate=first or None
        )
    from ray.tune.search.basic_variant import BasicVariantGenerator

    return BasicVariantGenerator(points_to_evaluate=first or None, random_state=study.searcher.seed)


def _scheduler(study: StudySettings) -> Any:
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule

    settings = study.scheduler
    if settings.kind == "asha":
        return ASHAScheduler(
            time_attr=TIME,
            max_t=study.base.epochs,
            grace_period=min(settings.grace_epochs, study.base.epochs),
            reduction_factor=settings.reduction_factor,
        )
    if settings.kind == "median":
        return MedianStoppingRule(time_attr=TIME, grace_period=settings.grace_epochs)
    return FIFOScheduler()


def _stopper(study: StudySettings) -> Any:
    if study.limits.patience_trials is None:
        return None
    from reactdist.tune.patience import PatienceStopper

    return PatienceStopper(study.limits.patience_trials)


def _check_places(study: StudySettings) -> None:
    """Refuse a trial that no node of the cluster can ever hold."""
    import ray

    needs = {"CPU": study.base.workers.cpus, "GPU": study.trial.gpus}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(k, 0) >= v for k, v in needs.items()) for node in nodes):
        exists = "; ".join(f"{n.get('CPU', 0):g} CPU, {n.get('GPU', 0):g} GPU" for n in nodes)
        raise InputError(
            f"a trial needs {needs['CPU']:g} CPU and {needs['GPU']:g} GPU on one node; "
            f"the cluster has {exists}",
            where=study.study,
            fix="lower base.workers.cpus or trial.gpus, or use a larger cluster",
        )


def _prepare_folder(study: StudySettings) -> Path:
    folder = study_folder(study)
    config = folder / "study.yaml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if config.exists():
            refuse_other_settings(
                study, config, free=("base.output", "base.data.shards", "base.data.workers")
            )
        config.write_text(to_yaml(study))
    except OSError as error:
        raise InputError(
            f"cannot write the study's folder ({error.strerror})",
            where=folder,
            fix="free space, or set base.output to a folder you may write",
        ) from None
    return folder


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


def _result(study: StudySettings, number: int, result: Any) -> TrialResult:
    """From one of Ray's own results."""
    rows = result.metrics_dataframe
    curve: list[tuple[int, float]] = []
    metrics: dict[str, float] = {}
    best, epochs, steps, where = math.nan, 0, 0, ""
    if rows is not None and len(rows) and OBJECTIVE in rows:
        rows = rows.drop_duplicates("train_steps", keep="last")
        curve = [
            (int(s), float(v)) for s, v in zip(rows["train_steps"], rows[OBJECTIVE], strict=True)
        ]
        epochs, steps = int(rows["epoch"].max()), int(rows["train_steps"].max())
        where = str(rows["folder"].iloc[-1])
        if rows[OBJECTIVE].notna().any():
            row = rows.loc[rows[OBJECTIVE].idxmax()]
            best = float(row[OBJECTIVE])
            known = ("epoch", "train_steps", "folder")
            metrics = {
                str(k): float(v)
                for k, v in row.items()
                if k not in known and isinstance(v, int | float) and str(k)[0].isupper()
            }
    run_id_file = Path(where) / "run_id" if where else None
    return TrialResult(
        number=number,
        trial=Path(where).name if where else Path(result.path).name,
        config={k: _plain(v) for k, v in (result.config or {}).items()},
        objective=best,
        metrics=metrics,
        epochs=epochs,
        train_steps=steps,
        stopped_early=result.error is None and 0 < epochs < study.base.epochs,
        folder=where,
        run_id=run_id_file.read_text() if run_id_file and run_id_file.exists() else "",
        error="" if result.error is None else _last_line(result.error),
        curve=curve,
    )


def _last_line(error: BaseException) -> str:
    """What went wrong, without the stack that Ray wraps around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[-300:]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _close_trials(study: StudySettings, uri: str, result: StudyResult) -> None:
    """Tag every trial's run with how it ended; a stopped trial's process could not."""
    for trial in result.trials:
        if not trial.folder:
            continue
        name = Path(trial.folder).name
        run = open_run(
            uri,
            study.base.experiment,
            name,
            key=identity_of(Path(trial.folder)),
            parent_run_id=result.run_id,
        )
        how = "failed" if trial.error else "stopped early" if trial.stopped_early else "finished"
        run.set_tags(
            {
                "reactdist.trial": how,
                "reactdist.epochs": trial.epochs,
                "reactdist.train_steps": trial.train_steps,
                **({"reactdist.failure": trial.error} if trial.error else {}),
            }
        )
        run.finish("FAILED" if trial.error else "FINISHED")


def _log_study(parent: Run, folder: Path, result: StudyResult) -> None:
    parent.log_file(folder / STUDY_FILE)
    write_study_plots(folder / "plots", search_of(result))
    parent.log_folder(folder / "plots", "study")
    best = result.best
    if not math.isnan(best.objective):
        parent.log_metrics(
            {"best.objective": best.objective, **{f"best.{k}": v for k, v in best.metrics.items()}},
            0,
        )
    parent.log_metrics(
        {
            "trials": len(result.trials),
            "trials.stopped_early": sum(t.stopped_early for t in result.trials),
            "trials.failed": sum(bool(t.error) for t in result.trials),
            "train_steps": sum(t.train_steps for t in result.trials),
            "train_steps.without_stopping": result.max_steps * len(result.trials),
            "wall_s": result.wall_s,
        },
        0,
    )
    parent.set_tags({"reactdist.best_trial": best.trial, "reactdist.best_run_id": best.run_id})
