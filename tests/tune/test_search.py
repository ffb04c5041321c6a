"""A real Ray Tune study: trials in MLflow, ASHA, kill -9 in the middle and the same command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from reactdist.evaluate.study import read_study
from tests.conftest import small_run

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

TRIALS = 4


def write_study(folder: Path, shards: str, **changes: Any) -> Path:
    base = dict(small_run(shards, folder / "runs"))
    base.pop("name")
    values = {
        "study": "search",
        "base": {
            **base,
            "epochs": 32,
            "validation": {"items": 2, "frames": 24, "every_epochs": 8, "num_samples": 2},
        },
        "space": {
            "loss.kl_weight": {"loguniform": [1e-6, 1e-2]},
            "model.window_size": {"choice": [4, 8]},
        },
        "trials": TRIALS,
        "searcher": {"kind": "tpe", "seed": 1, "startup_trials": 2},
        "scheduler": {"kind": "asha", "grace_epochs": 8, "reduction_factor": 2},
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def start(config: Path, tracker: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "reactdist.cli", "tune", str(config), "--tracking", tracker],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out = process.communicate(timeout=420)[0]
    assert process.returncode == 0, out[-3000:]
    return out


def trials(folder: Path) -> list[Path]:
    return sorted((folder / "runs" / "search" / "trials").glob("trial-*"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_an_ended_search_finishes_with_the_same_command(
    small_shards: str, tmp_path: Path, tracker: str, how: signal.Signals
) -> None:
    config = write_study(tmp_path, small_shards)
    process = start(config, tracker)
    deadline = time.monotonic() + 240
    while not any((trial / "finished.json").exists() for trial in trials(tmp_path)):
        assert process.poll() is None, process.communicate()[0][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, how)
    said = process.communicate(timeout=60)[0]
    if how == signal.SIGINT:
        assert process.returncode == 130, said[-2000:]
        assert "Traceback" not in said
    assert not (tmp_path / "runs" / "search" / "study.json").exists()
    time.sleep(5)  # Ray's own processes notice that their driver is gone
    done = {
        t: (t / "finished.json").stat().st_mtime_ns
        for t in trials(tmp_path)
        if (t / "finished.json").exists()
    }
    finish(start(config, tracker))
    study = read_study(tmp_path / "runs" / "search")
    assert len(study.trials) == TRIALS
    assert len({trial.trial for trial in study.trials}) == TRIALS
    assert not any(trial.error for trial in study.trials)
    # Finished trials were kept as they were, nothing ran twice.
    for trial, when in done.items():
        assert (trial / "finished.json").stat().st_mtime_ns == when
    client = MlflowClient(tracker)
    experiment = client.get_experiment_by_name("tests")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if run.data.tags["reactdist.kind"] == "study"]
    assert len(parents) == 1
    children = [
        run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id
    ]
    assert len(children) == TRIALS
    for child in children:
        assert child.info.status == "FINISHED"
        assert child.data.tags["reactdist.engine"] == "deepspeed.DeepSpeedEngine"
        steps = [p.step for p in client.get_metric_history(child.info.run_id, "val.FRCorr")]
        assert len(steps) == len(set(steps))


def test_a_trial_whose_loss_goes_nan_does_not_take_the_search_down(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_study(
        tmp_path,
        small_shards,
        trials=2,
        space={"optimizer.lr": {"choice": [1e-3, 1e30]}, "optimizer.clip_norm": {"choice": [0.0]}},
        searcher={"kind": "grid"},
        scheduler={"kind": "fifo"},
    )
    finish(start(config, tracker))
    good, bad = read_study(tmp_path / "runs" / "search").trials
    assert good.config["optimizer.lr"] == 1e-3
    assert good.epochs == 32
    assert bad.objective < -1e6


def test_a_trial_that_can_never_be_placed_is_refused(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_study(tmp_path, small_shards, trial={"gpus": 64})
    process = start(config, tracker)
    out = process.communicate(timeout=120)[0]
    assert process.returncode == 2
    assert "needs 1 CPU and 64 GPU on one node" in out
    assert "Traceback" not in out
