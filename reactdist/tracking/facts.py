"""All that MLflow knows about one run, as plain values, for comparing."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reactdist.errors import InputError
from reactdist.tracking.store import client, every_page, quoted

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run as MlflowRun

RUN_PREDICTIONS = "predictions"
"""Artifact folder of a run that holds its ten-sample predictions and per-item scores."""
ITEMS_FILE = "items.parquet"
FINGERPRINT_TAG = "reactdist.data_fingerprint"


@dataclass(frozen=True)
class RunFacts:
    """A run read back."""

    run_id: str
    name: str
    status: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    """Last values."""
    curves: Mapping[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Metric -> (step, value) in order of steps."""
    items: pd.DataFrame | None = None
    """Per-item scores (columns item, session, metrics), None when the run stored none."""

    @property
    def fingerprint(self) -> str:
        """Of the data the run was trained and scored on, "" when it is not known."""
        return self.tags.get(FINGERPRINT_TAG, "")


def read_run(uri: str, reference: str) -> RunFacts:
    """All of the run that `reference` means, see `resolve_run`."""
    mlflow = client(uri)
    run = resolve_run(uri, reference)
    run_id = run.info.run_id
    curves = {
        key: sorted((p.step, p.value) for p in mlflow.get_metric_history(run_id, key))
        for key in run.data.metrics
        if not key.startswith("system/")
    }
    return RunFacts(
        run_id=run_id,
        name=run.info.run_name,
        status=run.info.status,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
        curves=curves,
        items=read_items(uri, run_id),
    )


def read_items(uri: str, run_id: str) -> pd.DataFrame | None:
    """Per-item scores that a run stored with its predictions, None when it stored none."""
    import pandas as pd

    mlflow = client(uri)
    path = f"{RUN_PREDICTIONS}/{ITEMS_FILE}"
    if not any(file.path == path for file in mlflow.list_artifacts(run_id, RUN_PREDICTIONS)):
        return None
    with tempfile.TemporaryDirectory(prefix="reactdist-items-") as scratch:
        return pd.read_parquet(Path(mlflow.download_artifacts(run_id, path, scratch)))


def resolve_run(uri: str, reference: str) -> MlflowRun:
    """A run by its id, the beginning of its id (at least 6 characters), or its name.

    Raises:
        InputError: no such run (deleted ones count as such), or more than one.
    """
    mlflow = client(uri)
    experiments = [e.experiment_id for e in every_page(mlflow.search_experiments)]
    runs = list(mlflow.search_runs(experiments, f"attributes.run_name = {quoted(reference)}"))
    if re.fullmatch(r"[0-9a-f]{6,32}", reference):
        # Only equality and LIKE are known for run ids, and LIKE matches from the beginning here.
        runs += mlflow.search_runs(experiments, f"attributes.run_id LIKE '{reference}%'")
    if not runs:
        raise InputError(f"no run {reference!r}", where=uri, fix="`reactdist runs` lists them")
    if len(runs) > 1:
        ids = ", ".join(run.info.run_id[:12] for run in runs[:5])
        raise InputError(f"{len(runs)} runs are called {reference!r}", fix=f"give an id: {ids}")
    return runs[0]
