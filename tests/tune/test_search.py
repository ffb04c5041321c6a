"""A real Ray Tune study: trials in MLflow, ASHA, kill -9 in the middle and the same command."""

from __future__ import annotations

import contextlib
import math
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


def write_study(
    folder: Path, shards: str, base_changes: dict[str, Any] | None = None, **changes: Any
) -> Path:
    base = dict(small_run(shards, folder / "runs"))
    base.pop("name")
    values = {
        "study": "search",
        "base": {
            **base,
            "epochs": 32,
            "validation": {"items": 2, "frames": 24, "every_epochs": 8, "num_samples": 2},
            **(base_changes or {}),
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


def start(config: Path, tracker: str, *more: str) -> subprocess.Popen[str]:
    command = ["tune", str(config), "--tracking", tracker, *more]
    return subprocess.Popen(
        [sys.executable, "-m", "reactdist.cli", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    try:
        out = process.communicate(timeout=420)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, out[-3000:]
    return out


def trials(folder: Path) -> list[Path]:
    return sorted((folder / "runs" / "search" / "trials").glob("search-*"))


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
    # Finished trials were kept as they were, nothing ran twice, what ran went on.
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


def refused(process: subprocess.Popen[str]) -> str:
    out = process.communicate(timeout=240)[0]
    assert process.returncode == 2, out[-3000:]
    assert "Traceback" not in out
    return out


def test_trials_that_fail_do_not_take_the_search_down(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    def write(lrs: list[float]) -> Path:
        return write_study(
            tmp_path,
            small_shards,
            base_changes={"epochs": 8},
            space={"optimizer.lr": {"choice": lrs}, "optimizer.clip_norm": {"choice": [0.0]}},
            searcher={"kind": "grid"},
            scheduler={"kind": "fifo"},
        )

    config = write([1e-3, 1e30, 1e-4])
    folder = tmp_path / "runs" / "search"
    (folder / "trials").mkdir(parents=True)
    (folder / "trials" / "search-002").write_text("where the third trial wants its folder")
    out = finish(start(config, tracker))
    assert "trial 2: failed" in out
    good, *bad = read_study(folder).trials
    assert (good.number, good.end, good.epochs) == (0, "finished", 8)
    by_number = {trial.number: trial for trial in bad}
    assert all(trial.end == "failed" and math.isnan(trial.objective) for trial in bad)
    assert "loss not finite" in by_number[1].error
    assert "cannot write the run's folder" in by_number[2].error
    assert good.trial in read_study(folder).pareto

    # What was used stands on the parent; the failed run says why.
    client = MlflowClient(tracker)
    parent = client.get_run(read_study(folder).run_id)
    assert parent.data.metrics["trials.failed"] == 2
    assert parent.data.metrics["core_hours"] == pytest.approx(read_study(folder).core_hours)
    assert 0 < parent.data.metrics["core_hours"] < 1
    assert parent.data.metrics["gpu_hours"] == 0
    nan_run = client.get_run(by_number[1].run_id)
    assert nan_run.info.status == "FAILED"
    assert "loss not finite" in nan_run.data.tags["reactdist.failure"]

    # The same command has nothing to do; another study of this name is refused, or resumed as
    # it was.
    before = (folder / "trials.jsonl").read_bytes()
    assert good.trial in finish(start(config, tracker))
    other = write([1e-3, 1e-5, 1e-4])
    said = refused(start(other, tracker))
    assert "space.optimizer.lr.choice: [0.001, 1e+30, 0.0001] -> [0.001, 1e-05, 0.0001]" in said
    assert "--resume" in said
    said = finish(start(other, tracker, "--resume"))
    assert "going on with the stored settings" in said
    assert good.trial in said
    assert (folder / "trials.jsonl").read_bytes() == before


def test_a_spent_budget_cuts_trials_off_and_a_larger_one_goes_on(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_study(tmp_path, small_shards, trials=2, scheduler={"kind": "fifo"})
    folder = tmp_path / "runs" / "search"
    said = finish(start(config, tracker, "--set", "limits.core_hours=1e-5"))
    assert "core-hours used" in said
    cut = read_study(folder)
    assert "cut off" in {trial.end for trial in cut.trials}
    client = MlflowClient(tracker)
    assert client.get_run(cut.run_id).data.tags["reactdist.ended_by"] == cut.ended_by
    finish(start(config, tracker))
    whole = read_study(folder)
    assert {(trial.number, trial.end, trial.epochs) for trial in whole.trials} == {
        (0, "finished", 32),
        (1, "finished", 32),
    }
    assert whole.run_id == cut.run_id
    assert whole.core_hours > cut.core_hours
    assert client.get_run(whole.run_id).data.metrics["core_hours"] == whole.core_hours
    before = {trial.number: trial.curve for trial in cut.trials}
    for trial in whole.trials:
        seen = before.get(trial.number, [])
        assert trial.curve[: len(seen)] == seen


def test_a_trial_that_fails_is_started_again(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_study(
        tmp_path,
        small_shards,
        base_changes={"epochs": 8},
        trials=1,
        trial={"max_failures": 20},
    )
    obstacle = tmp_path / "runs" / "search" / "trials" / "search-000"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("where the trial wants its folder")
    process = start(config, tracker)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "started again" in line:
            with contextlib.suppress(IsADirectoryError, PermissionError):
                obstacle.unlink(missing_ok=True)  # the new attempt's folder, the second time
    assert process.wait(timeout=240) == 0, "".join(said)[-3000:]
    assert any("cannot write the run's folder" in line for line in said)
    (trial,) = read_study(tmp_path / "runs" / "search").trials
    assert (trial.end, trial.error, trial.epochs) == ("finished", "", 8)


def test_a_trial_that_can_never_be_placed_is_refused_and_leaves_nothing(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_study(tmp_path, small_shards, trial={"gpus": 64})
    assert "needs 1 CPU and 64 GPU on one node" in refused(start(config, tracker))
    assert [p.name for p in (tmp_path / "runs" / "search").iterdir()] == ["lock"]
    assert MlflowClient(tracker).get_experiment_by_name("tests") is None
