"""The pictures of a study: all there for an ordinary one, none too many for a small one."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reactdist.evaluate.report import Search, Trial
from reactdist.evaluate.report_study import trials_table, write_study_plots


@pytest.fixture(scope="module")
def search() -> Search:
    rng = np.random.default_rng(0)
    trials = [
        Trial(
            f"t{n}",
            {"kl": 10 ** rng.uniform(-6, -3), "window": int(rng.choice([8, 16])), "norm": "clip"},
            [1, 2],
            [0.1, float(rng.random())],
            stopped_early=n % 2 == 0,
        )
        for n in range(8)
    ]  # fmt: skip
    failed = Trial("failed", {"kl": 1e-5, "window": 8, "norm": "frame"}, [], [])
    return Search([*trials, failed], objective="FRCorr")


def test_an_ordinary_study_has_all_its_plots(search: Search, tmp_path: Path) -> None:
    files = write_study_plots(tmp_path / "plots", search)
    assert [file.name for file in files] == [
        "trials.csv", "best_so_far.png", "parallel_coordinates.png", "slice.png", "contour.png",
        "study.html",
    ]  # fmt: skip
    for file in files:
        if file.suffix == ".png":
            picture = np.asarray(Image.open(file).convert("L"))
            assert picture.shape[1] > 800
            assert picture.std() > 5, "an empty picture"
    page = files[-1].read_text()
    assert page.count("data:image/png") == 4
    assert "http" not in page
    assert (
        pd.read_csv(files[0]).round(9).equals(trials_table(search).reset_index(drop=True).round(9))
    )


def test_the_table_is_sorted_by_the_objective(search: Search) -> None:
    stored = trials_table(search)
    best = [max(t.values) for t in search.trials if t.values]
    assert stored["FRCorr"].tolist()[:-1] == pytest.approx(sorted(best, reverse=True))
    assert stored["trial"].iloc[-1] == "failed"
    assert list(trials_table(search).columns) == [
        "trial", "FRCorr", "epoch", "stopped_early", "kl", "window", "norm",
    ]  # fmt: skip


@pytest.mark.parametrize("kept", [0, 1])
def test_too_few_trials_give_fewer_plots(search: Search, tmp_path: Path, kept: int) -> None:
    if kept == 0:
        small = replace(search, trials=[search.trials[-1]])
    else:
        small = replace(search, trials=search.trials[:1])
    names = [file.name for file in write_study_plots(tmp_path, small)]
    assert names == ["trials.csv", "best_so_far.png", "study.html"]


def test_one_searched_setting_has_no_contour(search: Search, tmp_path: Path) -> None:
    names = [f.name for f in write_study_plots(tmp_path, replace(search, params=("kl",)))]
    assert "contour.png" not in names
    assert "slice.png" in names


def test_nothing_is_said_on_stderr(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from reactdist.evaluate.report import Search, Trial;"
        "from reactdist.evaluate.report_study import write_study_plots;"
        "trials = [Trial(str(n), {'a': n / 3, 'b': n}, [1], [n / 10]) for n in range(9)];"
        f"write_study_plots(Path({str(tmp_path)!r}), Search(trials))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_trade_off_is_in_the_table_and_drawn(search: Search, tmp_path: Path) -> None:
    metrics = [{"FRCorr": float(n), "FRDist": float(n % 3)} for n in range(8)]
    traded = replace(
        search,
        trials=[replace(t, metrics=m) for t, m in zip(search.trials, [*metrics, {}], strict=True)],
        pareto=["t7", "t6"],
        pareto_metrics={"FRCorr": "max", "FRDist": "min"},
    )
    files = write_study_plots(tmp_path / "plots", traded)
    assert "pareto.png" in [file.name for file in files]
    table = trials_table(traded).set_index("trial")
    assert set(table.index[table["pareto"]]) == {"t6", "t7"}
    assert table.loc["t5", "FRDist"] == 2
    assert np.isnan(table.loc["failed", "FRDist"])
