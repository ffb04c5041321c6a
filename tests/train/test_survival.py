"""Two real Ray Train workers are killed, stopped and asked to end; the model is the same."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.train.runs import (
    GROUP,
    finish,
    points,
    same,
    saved_steps,
    start,
    train_workers,
    wait_for_step,
    wait_until,
    wait_until_gone,
    weights,
    write_config,
)

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def starts(run: Path) -> int:
    """How often a group of two was started."""
    log = run / "log" / "rank-0.log"
    return log.read_text().count("2 worker(s)") if log.exists() else 0


def stop_between_checkpoints(worker: psutil.Process, run: Path, tracker: str) -> int:
    """Stop a worker, and so all of them, with steps made since the last checkpoint; the last."""
    for _ in range(20):
        worker.suspend()
        time.sleep(2)  # the others come to wait for it, what they logged arrives
        step = max(points(tracker, "tests", run.name)["loss.total"])
        if step > max(saved_steps(run)):
            return step
        worker.resume()
        time.sleep(0.2)
    raise AssertionError("always at a checkpoint")


def check_like(run: Path, tracker: str, undisturbed: Path) -> None:
    """The same weights to the bit; every step logged, none twice."""
    assert same(weights(run), weights(undisturbed))
    logged = points(tracker, "tests", run.name)
    steps = json.loads((run / "finished.json").read_text())["step"]
    assert logged["loss.total"] == list(range(1, steps + 1))
    assert len(logged["val.FRCorr"]) == len(set(logged["val.FRCorr"])) == 4


def test_one_worker_is_killed_and_one_hangs(
    undisturbed_group: Path, small_shards: str, tmp_path: Path, tracker: str
) -> None:
    driver = start(write_config(tmp_path, small_shards, **GROUP), tracker)
    run = tmp_path / "runs" / "small"
    wait_for_step(run, tracker, 55, driver)
    workers = train_workers(driver)
    assert len(workers) == 2
    step = stop_between_checkpoints(workers[1], run, tracker)
    workers[1].kill()
    wait_until_gone(workers[1:])
    assert max(saved_steps(run)) < step  # it died after this step and before the next checkpoint

    wait_until(lambda: starts(run) == 2, driver)  # the group is started a second time, by itself
    assert "resumed from" in (run / "log" / "rank-0.log").read_text()
    workers = train_workers(driver)
    assert len(workers) == 2
    workers[0].suspend()  # the others wait for it in a collective
    assert not (run / "finished.json").exists()
    finish(driver)
    assert starts(run) == 3
    wait_until_gone(workers)
    check_like(run, tracker, undisturbed_group)


def test_driver_and_worker_are_asked_to_end_and_the_driver_is_killed(
    undisturbed_group: Path, small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_config(tmp_path, small_shards, **GROUP)
    run = tmp_path / "runs" / "small"

    # SIGTERM of the driver: a checkpoint of the step it is in, and "resume me".
    driver = start(config, tracker)
    step = wait_for_step(run, tracker, 20, driver)
    driver.send_signal(signal.SIGTERM)
    out = driver.communicate(timeout=240)[0]
    assert driver.returncode == 75, out[-2000:]
    assert out.rstrip().endswith("a checkpoint is written - run the same command to resume")
    assert "Traceback" not in out
    first = max(saved_steps(run))
    assert first >= step

    # kill -9 of the driver: its workers end.
    driver = start(config, tracker)
    wait_for_step(run, tracker, first + 10, driver)
    workers = train_workers(driver)
    assert len(workers) == 2
    driver.kill()
    driver.communicate()
    wait_until_gone(workers)
    assert not (run / "finished.json").exists()

    # SIGTERM of a worker, as when its node is taken away: a checkpoint, and the group goes on.
    driver = start(config, tracker)
    wait_until(lambda: starts(run) == 3, driver)
    before = max(saved_steps(run))
    workers = train_workers(driver)
    assert len(workers) == 2
    workers[1].terminate()
    wait_until_gone(workers)
    saved = max(saved_steps(run))
    assert saved > before
    wait_until(lambda: starts(run) == 4, driver)

    # Ctrl-C asks for a checkpoint, which a hung worker holds up; a second one ends it at once.
    wait_for_step(run, tracker, saved + 10, driver)
    workers = train_workers(driver)
    workers[0].suspend()
    driver.send_signal(signal.SIGINT)
    wait_until((run / "stop-requested").exists, driver)
    driver.send_signal(signal.SIGINT)
    out = driver.communicate(timeout=240)[0]
    assert driver.returncode == 130, out[-2000:]
    assert "Traceback" not in out
    with contextlib.suppress(psutil.NoSuchProcess):  # Ray has killed it
        workers[0].resume()
    wait_until_gone(workers)
    assert not (run / "finished.json").exists()

    finish(start(config, tracker))
    check_like(run, tracker, undisturbed_group)


def test_a_loss_that_is_not_finite_is_not_retried(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_config(tmp_path, small_shards, **GROUP, optimizer={"lr": 1e30, "clip_norm": 0.0})
    driver = start(config, tracker)
    out = driver.communicate(timeout=300)[0]
    assert driver.returncode == 1, out[-2000:]
    assert "loss not finite: " in out
    assert "Traceback" not in out
    assert starts(tmp_path / "runs" / "small") == 1


def test_memory_that_runs_out_twice_at_the_same_step_is_not_retried_again(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    """A layer of terabytes: torch's allocator really refuses."""
    config = write_config(
        tmp_path,
        small_shards,
        workers={"ray": True, "max_failures": 3},
        model={"feature_dim": 2**20},
    )
    driver = start(config, tracker)
    out = driver.communicate(timeout=300)[0]
    assert driver.returncode == 1, out[-2000:]
    last = out.splitlines()[-1]
    assert last.startswith("reactdist: step 1: out of memory (")
    assert "DefaultCPUAllocator: can't allocate memory" in last
    assert "Traceback" not in out
