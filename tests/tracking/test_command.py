"""`reactdist runs` as a user sees it."""

from __future__ import annotations

import io
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from reactdist.cli import main
from reactdist.errors import InputError
from reactdist.tracking import open_run
from reactdist.tracking.command import app
from reactdist.tracking.garbage import plan_for


@pytest.fixture
def study(uri: str, tmp_path: Path) -> str:
    for name, correlation in (("low", 0.1), ("high", 0.3)):
        values = correlation + 0.05 * np.random.default_rng(0).normal(size=12)
        items = pd.DataFrame(
            {"item": range(12), "session": [f"s{n // 2}" for n in range(12)], "FRCorr": values}
        )
        items.to_parquet(tmp_path / "items.parquet")
        run = open_run(uri, "study", name, key=name, params={"model.window_size": 8})
        run.log_metrics({"best.FRCorr": correlation}, 1)
        run.log_file(tmp_path / "items.parquet", "predictions")
        run.finish()
    return uri


def said(uri: str, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--tracking", uri], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_table_is_sorted_and_shows_intervals(study: str) -> None:
    lines = said(study, "--sort", "-FRCorr").splitlines()
    rows = [line for line in lines if "FINISHED" in line]
    assert "high" in rows[0]
    assert "low" in rows[1]
    shown = rows[0].split("0.3 [")[1].split("]")[0]
    low, high = (float(end) for end in shown.split(", "))
    assert low < 0.3 < high
    assert "[" not in said(study, "--no-intervals").replace("[/", "")
    assert "2 runs, 1 shown" in said(study, "--limit", "1")


def test_csv_holds_every_column(study: str) -> None:
    table = pd.read_csv(io.StringIO(said(study, "--csv", "--experiment", "study")))
    assert set(table["name"]) == {"low", "high"}
    assert {"run_id", "metrics.best.FRCorr", "params.model.window_size"} <= set(table.columns)


def test_a_clean_up_by_a_metric_nobody_has_is_refused(study: str) -> None:
    """Without a best there would be nothing to keep."""
    with pytest.raises(InputError, match=r"no run has a metric 'best\.FRCor'.*'best\.FRCorr'"):
        plan_for(study, "study", metric="best.FRCor", keep_best=3, min_age_days=0)


def test_a_store_that_breaks_on_the_way_is_one_line(
    study: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(study.removeprefix("sqlite:///")) as database:
        database.execute("ALTER TABLE params RENAME COLUMN value TO worth")
    with pytest.raises(SystemExit) as ended:
        main(["runs", "--tracking", study])
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert len(said) == 1, said
    assert said[0].startswith("reactdist: MLflow failed on the way (")
