"""Which checkpoint folders nobody needs any more. Promoted runs keep theirs, always.

Only training checkpoints on storage go; what MLflow holds (curves, exported models, predictions)
stays. Two things protect a promoted run, either is enough: the registry, and the mark that a
promotion leaves in the checkpoint itself, which also holds when another registry is asked.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reactdist.checkpoints.folder import find_checkpoints
from reactdist.checkpoints.keep import is_protected
from reactdist.config import nearest
from reactdist.errors import InputError
from reactdist.tracking.store import client, every_page, experiment_id

CHECKPOINT_TAG = "reactdist.checkpoint"
"""Tag of a run with the path of its checkpoint folder."""
PROMOTED_TAG = "reactdist.promoted_at"
_FOLDER_NAME = "checkpoints"
_SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True)
class StoredRun:
    """A run with checkpoints on storage."""

    run_id: str
    name: str
    status: str
    age_days: float
    """Since it ended; 0 while it runs."""
    value: float
    """What runs are ranked by, higher is better; NaN when it has none."""
    folder: Path
    size_bytes: int
    marked: bool = False
    """Whether one of its checkpoints is marked as promoted, whatever the registry says."""


@dataclass(frozen=True)
class Decision:
    """Whether a run's checkpoints go, and why."""

    stored: StoredRun
    remove: bool
    reason: str


def plan_removal(
    runs: Sequence[StoredRun],
    promoted: Collection[str],
    *,
    keep_best: int,
    min_age_days: float,
) -> list[Decision]:
    """Decide for every run, largest folder first; pure.

    Kept: promoted runs, runs that have not finished (they may resume), the `keep_best` best, and
    those that ended less than `min_age_days` ago.
    """
    ranked = sorted((r for r in runs if not math.isnan(r.value)), key=lambda r: -r.value)
    best = {run.run_id: place + 1 for place, run in enumerate(ranked[:keep_best])}
    decisions = []
    for run in sorted(runs, key=lambda r: -r.size_bytes):
        if run.run_id in promoted or run.marked:
            decision = Decision(run, False, "promoted")
        elif run.status not in ("FINISHED", "FAILED"):
            decision = Decision(run, False, f"{run.status.lower()}, may be resumed")
        elif run.run_id in best:
            decision = Decision(run, False, f"number {best[run.run_id]} of the best")
        elif run.age_days < min_age_days:
            decision = Decision(run, False, f"ended {run.age_days:.1f} days ago")
        else:
            decision = Decision(run, True, f"{run.status.lower()} {run.age_days:.1f} days ago")
        decisions.append(decision)
    return decisions


def plan_for(
    uri: str, experiment: str, *, metric: str, keep_best: int, min_age_days: float
) -> list[Decision]:
    """The plan for an experiment's runs whose checkpoint folders can be seen from here.

    Raises:
        InputError: no such experiment, or no run of it has the metric: nothing would be best.
    """
    runs = every_page(client(uri).search_runs, [experiment_id(uri, experiment)])
    known = {name for run in runs for name in run.data.metrics}
    if known and metric not in known:
        raise InputError(
            f"no run has a metric {metric!r}",
            where=f"experiment {experiment}",
            fix=nearest(metric, sorted(known)),
        )
    stored = [found for run in runs if (found := _stored(run, metric)) is not None]
    return plan_removal(stored, promoted_runs(uri), keep_best=keep_best, min_age_days=min_age_days)


def remove(uri: str, plan: Sequence[Decision]) -> None:
    """Delete the folders that the plan gives up.

    Raises:
        InputError: one of them was promoted since the plan was made; nothing more is deleted.
    """
    for decision in plan:
        if not decision.remove:
            continue
        if decision.stored.run_id in promoted_runs(uri) or _marked(decision.stored.folder):
            raise InputError("was promoted meanwhile", where=decision.stored.name, fix="plan again")
        shutil.rmtree(decision.stored.folder)


def promoted_runs(uri: str) -> set[str]:
    """Runs behind any version that was ever promoted or has an alias now."""
    mlflow = client(uri)
    with_alias = {
        (model.name, str(version))
        for model in every_page(mlflow.search_registered_models)
        for version in model.aliases.values()
    }
    return {
        version.run_id
        for version in every_page(mlflow.search_model_versions)
        if PROMOTED_TAG in version.tags or (version.name, str(version.version)) in with_alias
    }


def _stored(run: Any, metric: str) -> StoredRun | None:
    path = run.data.tags.get(CHECKPOINT_TAG)
    folder = Path(path) if path else None
    # A tag is text from a database: only a folder of the agreed name is ever touched.
    if folder is None or folder.name != _FOLDER_NAME or not folder.is_dir():
        return None
    ended_ms = run.info.end_time
    now_s = datetime.now(UTC).timestamp()
    return StoredRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        status=run.info.status,
        age_days=(now_s - ended_ms / 1000) / _SECONDS_A_DAY if ended_ms else 0.0,
        value=run.data.metrics.get(metric, math.nan),
        folder=folder,
        size_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        marked=_marked(folder),
    )


def _marked(folder: Path) -> bool:
    return any(is_protected(checkpoint.path) for checkpoint in find_checkpoints(folder))
