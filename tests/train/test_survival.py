"""Two real Ray Train workers: one is killed, the driver is killed; the model is the same."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.train.test_training_run import finish, points, same, start, weights, write_config

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

CHANGES = {
    "workers": {"count": 2, "max_failures": 2},
    "epochs": 60,  # two steps each: long enough to be killed in the middle
    "validation": {"items": 2, "frames": 24, "every_epochs": 20, "num_samples": 2},
}


@pytest.fixture(scope="module")
def undisturbed(small_shards: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a two-worker run nobody disturbed."""
    from reactdist.tracking import prepare

    folder = tmp_path_factory.mktemp("undisturbed")
    tracker = f"sqlite:///{folder}/mlflow.db"
    prepare(tracker)
    out = finish(start(write_config(folder, small_shards, **CHANGES), tracker))
    assert "deepspeed.DeepSpeedEngine, ZeRO stage 0, 2 worker(s)" in out
    return folder / "runs" / "small"


def wait_for_steps(run: Path, tracker: str, beyond: int, driver: psutil.Popen) -> int:
    """Until the run's curve has a point `beyond` its first checkpoint; the last logged step."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert driver.poll() is None, driver.communicate()[0][-2000:]
        written = sorted((run / "checkpoints").glob("step-*/manifest.json"))
        if written and (run / "run_id").exists():
            first = int(written[0].parent.name.removeprefix("step-"))
            logged = points(tracker, "tests", "small").get("loss.total", [0])
            if max(logged) >= first + beyond:
                return max(logged)
        time.sleep(0.02)
    raise AssertionError("the run did not get that far")


def train_workers(driver: psutil.Popen) -> list[psutil.Process]:
    """Processes of the driver's Ray session that hold a rank of the run."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words and words[0].startswith("ray::RayTrainWorker"):
            found.append(process)
    return found


def test_kill_9_of_one_worker(
    undisturbed: Path, small_shards: str, tmp_path: Path, tracker: str
) -> None:
    driver = start(write_config(tmp_path, small_shards, **CHANGES), tracker)
    run = tmp_path / "runs" / "small"
    step = wait_for_steps(run, tracker, 1, driver)
    victims = train_workers(driver)
    assert len(victims) == 2
    os.kill(victims[1].pid, signal.SIGKILL)
    saved = max(int(p.name.removeprefix("step-")) for p in (run / "checkpoints").glob("step-*"))
    assert saved <= step  # it died after this step and before the next checkpoint
    assert not (run / "finished.json").exists()
    finish(driver)
    log = (run / "log" / "rank-0.log").read_text()
    assert log.count("2 worker(s)") == 2  # the group was started a second time
    assert "resumed from" in log
    assert same(weights(run), weights(undisturbed))
    logged = points(tracker, "tests", "small")
    steps = json.loads((run / "finished.json").read_text())["step"]
    assert logged["loss.total"] == list(range(1, steps + 1))


def test_kill_9_of_the_driver_then_the_same_command(
    undisturbed: Path, small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_config(tmp_path, small_shards, **CHANGES)
    run = tmp_path / "runs" / "small"
    driver = start(config, tracker)
    wait_for_steps(run, tracker, 1, driver)
    workers = train_workers(driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    psutil.wait_procs(workers, timeout=60)  # Ray ends workers whose driver is gone
    assert not any(worker.is_running() for worker in workers)
    assert not (run / "finished.json").exists()
    finish(start(config, tracker))
    assert same(weights(run), weights(undisturbed))
    logged = points(tracker, "tests", "small")
    steps = json.loads((run / "finished.json").read_text())["step"]
    assert logged["loss.total"] == list(range(1, steps + 1))
    assert len(logged["val.FRCorr"]) == len(set(logged["val.FRCorr"])) == 3


def test_a_loss_that_is_not_finite_is_not_retried(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_config(
        tmp_path, small_shards, **CHANGES, optimizer={"lr": 1e30, "clip_norm": 0.0}
    )
    driver = start(config, tracker)
    out = driver.communicate(timeout=300)[0]
    assert driver.returncode == 1, out[-2000:]
    assert "loss not finite: " in out
    assert "Traceback" not in out
    log = (tmp_path / "runs" / "small" / "log" / "rank-0.log").read_text()
    assert log.count("2 worker(s)") == 1
