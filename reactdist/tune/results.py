"""What a study found: from its journal to ranked trials, to MLflow and to files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from reactdist.errors import ReactdistError
from reactdist.evaluate.page import search_of
from reactdist.evaluate.report_study import write_study_plots
from reactdist.evaluate.study import STUDY_FILE, StudyResult, TrialResult
from reactdist.tracking import Run, open_run
from reactdist.tracking.run import Status
from reactdist.train.keeper import identity_of
from reactdist.tune.journal import FAILED_OBJECTIVE, Journal, TrialRecord
from reactdist.tune.limits import budget
from reactdist.tune.places import Needs
from reactdist.tune.settings import StudySettings
from reactdist.tune.trial import trial_name

_STATUS: Mapping[str, Status] = {"failed": "FAILED", "cut off": "KILLED"}


def study_result(
    study: StudySettings,
    journal: Journal,
    needs: Needs,
    *,
    run_id: str,
    max_steps: int,
    wall_s: float,
    ended_by: str,
) -> StudyResult:
    """Trials best first, the Pareto set marked, the budget used."""
    trials = [_trial(study, record) for record in journal.trials.values()]
    values = [[trial.metrics.get(name, math.nan) for name in study.pareto] for trial in trials]
    best_together = pareto(values, [how == "max" for how in study.pareto.values()])
    used = budget(journal, needs)
    return StudyResult(
        study=study.study,
        run_id=run_id,
        max_steps=max_steps,
        wall_s=wall_s,
        core_hours=used.core_hours,
        gpu_hours=used.gpu_hours,
        ended_by=ended_by,
        pareto=[t.trial for t, is_best in zip(trials, best_together, strict=True) if is_best],
        pareto_metrics=dict(study.pareto),
        trials=sorted(trials, key=_rank),
    )


def pareto(values: Sequence[Sequence[float]], maximise: Sequence[bool]) -> list[bool]:
    """Which rows (N, M) no other row beats: as good in every column and better in one.

    A row with NaN is never in the set. Equal rows are in it together.
    """
    if not values:
        return []
    table = np.where(maximise, 1.0, -1.0) * np.asarray(values, float)
    whole = np.isfinite(table).all(axis=1)
    kept = []
    for row, is_whole in zip(table, whole, strict=True):
        others = table[whole]
        beaten = (others >= row).all(axis=1) & (others > row).any(axis=1)
        kept.append(bool(is_whole and not beaten.any()))
    return kept


def close_trials(study: StudySettings, uri: str, result: StudyResult) -> None:
    """Tag every trial's run with how it ended; a stopped trial's process could not."""
    for trial in result.trials:
        folder = Path(trial.folder)
        if not (folder / "identity").exists():
            continue
        run = open_run(
            uri,
            study.base.experiment,
            trial.trial,
            key=identity_of(folder),
            parent_run_id=result.run_id,
        )
        run.set_tags(
            {
                "reactdist.trial": trial.end,
                "reactdist.epochs": trial.epochs,
                "reactdist.train_steps": trial.train_steps,
                **({"reactdist.failure": trial.error} if trial.error else {}),
            }
        )
        run.finish(_STATUS.get(trial.end, "FINISHED"))


def log_study(parent: Run, folder: Path, result: StudyResult, ended: int) -> None:
    """The study's own numbers and plots; `ended` trials are the step they are logged at."""
    write_study_plots(folder / "plots", search_of(result))
    parent.log_folder(folder / "plots", "study")
    parent.log_text(result.text(), STUDY_FILE)
    best = result.trials[0] if result.trials else None
    metrics: dict[str, float] = {}
    if best is not None and not math.isnan(best.objective):
        metrics = {"best.objective": best.objective}
        metrics |= {f"best.{name}": value for name, value in best.metrics.items()}
        parent.set_tags({"reactdist.best_trial": best.trial, "reactdist.best_run_id": best.run_id})
    metrics |= {
        "trials": len(result.trials),
        "trials.stopped_early": sum(t.stopped_early for t in result.trials),
        "trials.failed": sum(bool(t.error) for t in result.trials),
        "train_steps": sum(t.train_steps for t in result.trials),
        "train_steps.without_stopping": result.max_steps * len(result.trials),
        "core_hours": result.core_hours,
        "gpu_hours": result.gpu_hours,
        "wall_s": result.wall_s,
    }
    parent.log_metrics(metrics, ended)
    parent.set_tags(
        {"reactdist.pareto": ", ".join(result.pareto), "reactdist.ended_by": result.ended_by}
    )


def refuse_all_failed(result: StudyResult, folder: Path) -> None:
    """Raises ReactdistError when no trial has a value."""
    if all(math.isnan(trial.objective) for trial in result.trials):
        reasons = {t.error for t in result.trials if t.error} or {"no trial reported"}
        raise ReactdistError(
            f"every trial failed: {'; '.join(sorted(reasons))[:400]}", where=folder
        )


def _trial(study: StudySettings, record: TrialRecord) -> TrialResult:
    name = trial_name(study, record.number)
    folder = study.base.output / study.study / "trials" / name
    run_id = folder / "run_id"
    reports = list(record.reports.values())
    valid = [report for report in reports if report.objective > FAILED_OBJECTIVE]
    best = max(valid, key=lambda report: report.objective, default=None)
    return TrialResult(
        number=record.number,
        trial=name,
        config=record.config,
        objective=best.objective if best else math.nan,
        metrics=_ranked(best.metrics) if best else {},
        epochs=max((report.epoch for report in reports), default=0),
        train_steps=max((report.step for report in reports), default=0),
        stopped_early=record.end == "stopped",
        folder=str(folder),
        run_id=run_id.read_text() if run_id.exists() else "",
        error=record.error,
        curve=[(report.step, report.objective) for report in valid],
        end={"stopped": "stopped early", "": "cut off"}.get(record.end, record.end),
        hours=record.seconds / 3600,
    )


def _ranked(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name[0].isupper()}


def _rank(trial: TrialResult) -> tuple[bool, float]:
    """Best first, trials without a value last."""
    return math.isnan(trial.objective), -trial.objective if trial.objective else 0.0
