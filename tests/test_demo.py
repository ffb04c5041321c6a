"""`make demo` as a user runs it, in a folder of its own; and what it leaves, looked at again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder it ran in, and what it printed."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "configs", folder / "configs")
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI",)}
    environment.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(
        [sys.executable, "-m", "reactdist.cli", "demo"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    print(done.stdout[-6000:])
    return folder, done.stdout


def test_every_check_is_printed_and_passed(demo: tuple[Path, str]) -> None:
    _, printed = demo
    for name in ("Random", "MeanSeq", "MeanFr"):
        assert f"pass FRCorr beats {name}" in printed
        assert f"pass FRDist beats {name}" in printed
    assert "pass uses the speaker" in printed
    assert "pass ASHA stopped a trial early" in printed
    assert "pass Ray Train on two DeepSpeed workers" in printed
    assert "FAIL" not in printed


def test_the_champion_is_what_was_evaluated(demo: tuple[Path, str]) -> None:
    """The stored predictions give the stored scores, by plain arithmetic."""
    from reactdist.data.shards import Shards
    from reactdist.evaluate.predictions import read_predictions
    from reactdist.evaluate.truth import Truth
    from reactdist.metrics.plain import plain_score

    folder = demo[0] / "demo"
    stored = read_predictions(folder / "test" / "predictions.parquet")
    evaluated = json.loads((folder / "test" / "evaluation.json").read_text())
    truth = Truth.read(Shards.open(folder / "shards"), "test")
    emotion = np.asarray(stored.emotion)
    frames = emotion.shape[2]
    assert emotion.shape[:2] == (len(truth.listeners), 10)
    assert stored.coefficients.shape == (*emotion.shape[:3], 58)
    plain = plain_score(
        emotion,
        truth.listeners[:, :frames],
        truth.speakers[:, :frames],
        truth.neighbours,
        ["FRCorr", "FRDiv", "FRVar"],
    )
    for name in ("FRCorr", "FRDiv", "FRVar"):
        value = evaluated["scores"]["model"]["metrics"][name]
        assert value == pytest.approx(plain[name], rel=1e-5), name


def test_the_registry_says_why(demo: tuple[Path, str]) -> None:
    client = MlflowClient(f"sqlite:///{demo[0]}/demo/mlflow.db")
    version = client.get_model_version_by_alias("reactdist-demo", "champion")
    assert float(version.tags["test.FRCorr"]) > 0
    run = client.get_run(version.run_id)
    assert run.data.params["model.task"] == "online"
    assert run.data.tags["reactdist.engine"] == "deepspeed.DeepSpeedEngine"


def test_the_report_is_one_file(demo: tuple[Path, str]) -> None:
    report = (demo[0] / "demo" / "test" / "report.html").read_text()
    assert "not computed: needs Inception weights" in report
    assert not re.search(r"""(src|href)=["'](https?:)?//""", report)
    items = pd.read_parquet(demo[0] / "demo" / "test" / "items-model.parquet")
    assert {"item", "session", "FRCorr", "FRDist", "FRSyn", "ACC"} <= set(items.columns)
