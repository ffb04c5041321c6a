"""`reactdist bench runs`: what a table of runs costs, beside MLflow's own."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

METRICS, POINTS, PARAMS, TAGS = 40, 4, 50, 30
"""Keys that a trial logs, rounded up, and evaluations it makes."""
_REPEATS = 5


@dataclass(frozen=True)
class Timing:
    """Seconds for the table of all runs of an experiment, median of a few; the first call apart."""

    first_s: float
    """With a new client and database connection, as a command has."""
    ours_s: float
    mlflow_s: float
    """`mlflow.search_runs`, which makes a DataFrame of its own."""


def runs(
    trials: Annotated[int, typer.Option(min=1, help="Logged trials.")] = 200,
) -> None:
    """The query behind `reactdist runs`, on a new SQLite store filled like a study's."""
    with tempfile.TemporaryDirectory(prefix="reactdist-bench-") as folder:
        timing = measure(Path(folder), trials)
    typer.echo(
        f"{trials} trials of {METRICS} metrics ({POINTS} points each), {PARAMS} parameters, "
        f"{TAGS} tags, SQLite\n"
        f"runs_table {timing.ours_s:.3f} s (first call {timing.first_s:.3f} s), "
        f"mlflow.search_runs {timing.mlflow_s:.3f} s: {timing.ours_s / timing.mlflow_s:.2f}x"
    )


def measure(folder: Path, trials: int) -> Timing:
    """Fill a store in `folder` and time the table."""
    import mlflow

    from reactdist.tracking.store import prepare
    from reactdist.tracking.table import runs_table

    uri = f"sqlite:///{folder}/mlflow.db"
    prepare(uri)
    experiment = fill(uri, trials)
    mlflow.set_tracking_uri(uri)
    first = _seconds(lambda: runs_table(uri, "bench"))
    ours = statistics.median(_seconds(lambda: runs_table(uri, "bench")) for _ in range(_REPEATS))
    theirs = statistics.median(
        _seconds(lambda: mlflow.search_runs([experiment], max_results=trials))
        for _ in range(_REPEATS)
    )
    return Timing(first, ours, theirs)


def fill(uri: str, trials: int) -> str:
    """Log finished trials as many calls as it takes; the experiment's id."""
    from mlflow.entities import Metric, Param

    from reactdist.tracking.store import client, experiment_id

    mlflow = client(uri)
    experiment = experiment_id(uri, "bench", create=True)
    tags = {f"tag.{n}": "x" * 20 for n in range(TAGS)}
    for trial in range(trials):
        run = mlflow.create_run(experiment, run_name=f"trial-{trial}", tags=tags)
        params = [Param(f"param.{n}", str(trial)) for n in range(PARAMS)]
        points = [
            Metric(f"val.{n}", trial + point / POINTS, point, point)
            for n in range(METRICS)
            for point in range(POINTS)
        ]
        mlflow.log_batch(run.info.run_id, points, params)
        mlflow.set_terminated(run.info.run_id)
    return experiment


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
