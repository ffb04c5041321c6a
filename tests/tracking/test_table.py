"""The table of runs: what is in it, its order, its filter, and how many queries it costs."""

from __future__ import annotations

import numpy as np
import pytest

from reactdist.errors import InputError
from reactdist.tracking import open_run, runs_table
from reactdist.tracking.store import client, experiment_id
from reactdist.tracking.table import find_column


@pytest.fixture
def study(uri: str) -> str:
    """Three runs: two with FRCorr, one that failed before it had any."""
    for name, correlation, window in (("a", 0.1, 8), ("b", 0.3, 16)):
        run = open_run(
            uri, "study", name, key=name, params={"window": window},
            tags={"reactdist.kind": "trial"},
        )  # fmt: skip
        run.log_metrics({"FRCorr": correlation / 2}, 0)
        run.log_metrics({"FRCorr": correlation}, 1)
        run.finish()
    open_run(uri, "study", "c", key="c", params={"window": 32}).finish("FAILED")
    return uri


def test_a_row_a_run_with_the_last_value_of_each_metric(study: str) -> None:
    table = runs_table(study, "study")
    assert list(table.columns) == [
        "run_id", "name", "experiment", "kind", "status", "parent", "fingerprint", "started",
        "duration_s", "metrics.FRCorr", "params.window",
    ]  # fmt: skip
    row = table.set_index("name").loc["b"]
    assert (row["metrics.FRCorr"], row["params.window"]) == (0.3, "16")
    assert (row["kind"], row["status"], row["experiment"]) == ("trial", "FINISHED", "study")
    assert len(row["run_id"]) == 32
    assert 0 <= row["duration_s"] < 60
    failed = table.set_index("name").loc["c"]
    assert failed["status"] == "FAILED"
    assert np.isnan(failed["metrics.FRCorr"])


def test_sorted_by_any_column_missing_last(study: str) -> None:
    assert runs_table(study, "study", sort="-FRCorr")["name"].tolist() == ["b", "a", "c"]
    assert runs_table(study, "study", sort="FRCorr")["name"].tolist() == ["a", "b", "c"]
    assert runs_table(study, "study", sort="-name")["name"].tolist() == ["c", "b", "a"]
    with pytest.raises(InputError, match=r"no column 'FRCor'.*did you mean 'FRCorr'"):
        runs_table(study, "study", sort="FRCor")


def test_parameters_sort_as_numbers_and_by_the_end_of_their_name(study: str) -> None:
    assert runs_table(study, "study", sort="-window")["params.window"].tolist() == ["32", "16", "8"]
    columns = ["run_id", "metrics.best.FRCorr", "metrics.val.FRCorr", "params.loss.kl_weight"]
    assert find_column(columns, "FRCorr") == "metrics.best.FRCorr"
    assert find_column(columns, "val.FRCorr") == "metrics.val.FRCorr"
    assert find_column(columns, "kl_weight") == "params.loss.kl_weight"
    with pytest.raises(InputError, match="'epoch' is ambiguous"):
        find_column(["metrics.val.epoch", "metrics.train.epoch"], "epoch")


def test_filtered_in_mlflows_own_language(study: str) -> None:
    found = runs_table(study, filter="metrics.FRCorr > 0.2 and params.window = '16'")
    assert found["name"].tolist() == ["b"]
    assert runs_table(study, filter="metrics.FRCorr > 9").empty
    with pytest.raises(InputError, match="cannot read the filter"):
        runs_table(study, filter="FRCorr better than 0.2")
    with pytest.raises(InputError, match="no experiment 'nothing'"):
        runs_table(study, "nothing")


def test_an_empty_store_gives_an_empty_table(uri: str) -> None:
    table = runs_table(uri)
    assert table.empty
    assert list(table.columns)[:2] == ["run_id", "name"]


def test_many_trials_cost_as_many_queries_as_two(uri: str) -> None:
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    statements: list[str] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def count(_connection, _cursor, statement, *_rest) -> None:  # type: ignore[no-untyped-def]
        statements.append(statement)

    add_trials(uri, 2)
    runs_table(uri, "study")
    statements.clear()
    runs_table(uri, "study")
    for_two = len(statements)
    add_trials(uri, 198)
    statements.clear()
    assert len(runs_table(uri, "study")) == 200
    assert len(statements) == for_two
    event.remove(Engine, "before_cursor_execute", count)


def add_trials(uri: str, number: int) -> None:
    """Finished runs of ten metrics and six parameters, written the quick way."""
    from mlflow.entities import Metric, Param

    mlflow = client(uri)
    experiment = experiment_id(uri, "study", create=True)
    for trial in range(number):
        run = mlflow.create_run(experiment, run_name=f"t{trial}")
        mlflow.log_batch(
            run.info.run_id,
            [Metric(f"m{m}", trial + m, 1, 0) for m in range(10)],
            [Param(f"p{p}", str(trial)) for p in range(6)],
        )
