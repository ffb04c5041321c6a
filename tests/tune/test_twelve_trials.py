"""configs/twelve.yaml from start to champion: killed twice on the way, nothing lost, nothing twice.

Smaller pictures, shorter clips and fewer epochs than the config's own; the trials are as many.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from reactdist.checkpoints.keep import is_protected
from reactdist.evaluate.study import StudyResult, read_study
from reactdist.promote.record import history

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "reactdist.cli"]
TRIALS = 12
SMALLER = {
    "base.epochs": 8, "base.log_every_steps": 1, "base.data.crop_frames": 16,
    "base.model.image_size": 40, "base.model.feature_dim": 16, "base.model.max_history_frames": 16,
    "base.validation.items": 2, "base.validation.frames": 24, "base.validation.num_samples": 2,
    "base.validation.every_epochs": 2, "scheduler.grace_epochs": 2,
}  # fmt: skip
KILLS = 2
MOST_CHECKPOINTS = 5
"""Between two kills at most. Every trial writes one at least: 12 cannot be done after 2 x 5."""


@dataclass(frozen=True)
class Place:
    """Where the study is."""

    folder: Path
    shards: str

    @property
    def tracker(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def study(self) -> Path:
        return self.folder / "runs" / "twelve"

    def search(self) -> subprocess.Popen[str]:
        """The same command every time."""
        changes = SMALLER | {
            "base.data.shards": self.shards,
            "base.output": self.folder / "runs",
        }
        overrides = [word for key, v in changes.items() for word in ("--set", f"{key}={v}")]
        config = ROOT / "configs" / "twelve.yaml"
        return subprocess.Popen(
            [*COMMAND, "tune", str(config), *overrides, "--tracking", self.tracker],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [*COMMAND, *arguments, "--tracking", self.tracker],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout

    def checkpoints(self) -> set[Path]:
        return {path.parent for path in self.study.glob("trials/*/checkpoints/*/manifest.json")}

    def finished(self) -> dict[Path, int]:
        """Trials that came to their end -> when."""
        files = self.study.glob("trials/*/finished.json")
        return {file.parent: file.stat().st_mtime_ns for file in files}


@pytest.fixture(scope="module")
def place(small_shards: str, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A study that was killed twice and finished."""
    from reactdist.tracking import prepare

    place = Place(tmp_path_factory.mktemp("twelve"), small_shards)
    prepare(place.tracker)
    moments = random.Random(7)
    kept: dict[Path, int] = {}
    for _ in range(KILLS):
        process = place.search()
        wait_for_checkpoints(place, process, moments.randint(2, MOST_CHECKPOINTS))
        time.sleep(moments.uniform(0, 0.5))
        assert process.poll() is None, "the search ended before it was killed"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=120)
        wait_until_released(place.folder / "mlspool")
        assert kept.items() <= place.finished().items(), "a finished trial was run again"
        kept = place.finished()
    assert not (place.study / "study.json").exists()
    process = place.search()
    said = process.communicate(timeout=540)[0]
    assert process.returncode == 0, said[-3000:]
    assert f"{TRIALS} trials in" in said
    assert kept.items() <= place.finished().items(), "a finished trial was run again"
    return place


def wait_for_checkpoints(place: Place, process: subprocess.Popen[str], more: int) -> None:
    """Until `more` new checkpoints were seen; older ones are cleaned up meanwhile."""
    seen = set(place.checkpoints())
    wanted = len(seen) + more
    limit = time.monotonic() + 400
    while len(seen) < wanted:
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < limit, f"{len(seen)} of {wanted} checkpoints"
        time.sleep(0.02)
        seen |= place.checkpoints()


def wait_until_released(spools: Path) -> None:
    """Until no process logs to any run: trials outlive a killed search for a moment."""
    limit = time.monotonic() + 120
    for name in os.listdir(spools):
        while not released(spools / name / "lock") and time.monotonic() < limit:
            time.sleep(0.1)


def released(lock: Path) -> bool:
    """Whether nobody holds it; a run that has sent everything takes its spool away."""
    try:
        with lock.open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def study(place: Place) -> StudyResult:
    return read_study(place.study)


@pytest.fixture(scope="module")
def runs(place: Place) -> list[Run]:
    client = MlflowClient(place.tracker)
    experiment = client.get_experiment_by_name("twelve")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_twelve_trials_and_none_run_twice(
    place: Place, study: StudyResult, runs: list[Run]
) -> None:
    assert len(study.trials) == TRIALS
    assert not [trial.error for trial in study.trials if trial.error]
    names = {trial.trial for trial in study.trials}
    assert len(names) == TRIALS
    assert {path.name for path in (place.study / "trials").iterdir()} == names
    assert len({json.dumps(trial.config) for trial in study.trials}) == TRIALS
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert Counter(run.info.run_name for run in children) == Counter(names)
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_no_point_is_logged_twice_and_none_is_missing(place: Place, study: StudyResult) -> None:
    """Read from the database itself."""
    with sqlite3.connect(place.folder / "mlflow.db") as database:
        points = pd.read_sql("SELECT run_uuid, key, step FROM metrics", database)
    curves = points[~points["key"].str.startswith("system/")]
    assert not curves[curves.duplicated()].to_dict("records")
    for trial in study.trials:
        own = curves[curves["run_uuid"] == trial.run_id]
        losses = set(own[own["key"] == "loss.total"]["step"])
        assert losses >= set(range(1, trial.train_steps + 1)), trial.trial
        assert {step for step, _ in trial.curve} <= set(own[own["key"] == "val.objective"]["step"])


def test_the_parents_record_is_complete(place: Place, study: StudyResult, runs: list[Run]) -> None:
    (parent,) = (run for run in runs if run.data.tags["reactdist.kind"] == "study")
    client = MlflowClient(place.tracker)
    assert parent.info.run_id == study.run_id
    assert parent.data.params["trials"] == str(TRIALS)
    assert "space.loss.kl_weight.loguniform" in parent.data.params
    assert parent.data.metrics["trials"] == TRIALS
    assert parent.data.metrics["best.objective"] == study.best.objective
    assert parent.data.tags["reactdist.best_run_id"] == study.best.run_id
    stored = {file.path for file in client.list_artifacts(study.run_id, "study")}
    assert stored >= {
        f"study/{name}"
        for name in (
            "trials.csv", "best_so_far.png", "parallel_coordinates.png", "slice.png",
            "contour.png", "pareto.png", "study.html",
        )
    }  # fmt: skip
    top = {file.path for file in client.list_artifacts(study.run_id)}
    assert {"study.yaml", "study.json"} <= top
    table = pd.read_csv(client.download_artifacts(study.run_id, "study/trials.csv"))
    assert len(table) == TRIALS
    for _, row in table.iterrows():
        (child,) = (run for run in runs if run.info.run_name == row["trial"])
        assert child.data.metrics["best.objective"] == pytest.approx(row["objective"])
        assert child.data.params["model.window_size"] == str(row["model.window_size"])


def test_the_best_is_promoted_evaluated_and_kept(place: Place, study: StudyResult) -> None:
    client = MlflowClient(place.tracker)
    promotion = ("promote", "--experiment", "twelve", "--name", "twelve")
    code, said = place.run(*promotion)
    checks = [line for line in said.splitlines() if line.startswith(("pass ", "FAIL "))]
    assert len(checks) >= 9, said
    failed = any(line.startswith("FAIL") for line in checks)
    assert code == int(failed), said
    if failed:  # models of seconds need not beat the baselines
        assert client.search_registered_models() == []
        code, said = place.run(*promotion, "--force", "--reason", "to see what follows")
        assert code == 0, said
    champion = client.get_model_version_by_alias("twelve", "champion")
    assert champion.run_id in {trial.run_id for trial in study.trials}
    (record,) = history(place.tracker, "twelve")
    assert (record.to_version, record.run_id) == (str(champion.version), champion.run_id)
    assert record.forced == failed
    assert [check["passed"] for check in record.checks].count(False) == sum(
        line.startswith("FAIL") for line in checks
    )

    code, said = place.run("evaluate", "models:/twelve@champion", "--split", "test")
    assert code == 0, said
    tags = client.get_model_version("twelve", champion.version).tags
    assert float(tags["test.FRCorr"]) == float(tags["test.FRCorr"])  # a number, and not NaN

    clean = ("gc", "--experiment", "twelve", "--keep-best", "0", "--days", "0")
    code, said = place.run(*clean)
    assert code == 0, said
    before = place.checkpoints()
    code, said = place.run(*clean, "--remove")
    assert code == 0, said
    left = place.checkpoints()
    assert {path.parents[1].name for path in left} == {
        trial.trial for trial in study.trials if trial.run_id == champion.run_id
    }
    assert left < before
    assert any(is_protected(path) for path in left)
