"""Starting `reactdist train` as a user does, and looking at what it leaves."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from mlflow import MlflowClient
from safetensors.numpy import load_file

from tests.conftest import small_run

GROUP: dict[str, Any] = {
    "workers": {"count": 2, "max_failures": 3, "hang_timeout_s": 30.0},
    "epochs": 100,  # two steps each: long enough to be disturbed in the middle
    "validation": {"items": 2, "frames": 24, "every_epochs": 25, "num_samples": 2},
}
"""Changes that make the small run one of two Ray Train workers."""

RUN = [sys.executable, "-m", "reactdist.cli", "train"]


def start(
    config: Path,
    tracker: str,
    *more: str,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """The command a user types, in a process of its own."""
    return subprocess.Popen(
        [*RUN, str(config), "--tracking", tracker, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env=environment,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 0, out[-3000:]
    return out


def weights(folder: Path) -> dict[str, np.ndarray]:
    """Of the newest checkpoint."""
    newest = max((folder / "checkpoints").glob("step-*"))
    loaded: dict[str, np.ndarray] = load_file(newest / "model.safetensors")
    return loaded


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def write_config(folder: Path, shards: str, **changes: Any) -> Path:
    path = folder / f"{changes.get('name', 'small')}.yaml"
    path.write_text(yaml.safe_dump(dict(small_run(shards, folder / "runs", **changes))))
    return path


def points(tracker: str, experiment: str, name: str) -> dict[str, list[int]]:
    """Metric -> steps logged, of the only run of that name."""
    client = MlflowClient(tracker)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id], f"attributes.run_name = '{name}'")
    assert len(runs) == 1
    return {
        key: [point.step for point in client.get_metric_history(runs[0].info.run_id, key)]
        for key in runs[0].data.metrics
    }


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Until it is true, while the process lives."""
    deadline = time.monotonic() + 240
    while not true():
        assert process.poll() is None, process.communicate()[0][-2000:]
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def wait_for_step(run: Path, tracker: str, step: int, process: subprocess.Popen[str]) -> int:
    """Until the run's curve has this step; the last one it has."""
    last = 0

    def is_there() -> bool:
        nonlocal last
        if (run / "run_id").exists():
            last = max(points(tracker, "tests", run.name).get("loss.total", [0]))
        return last >= step

    wait_until(is_there, process)
    return last


def saved_steps(run: Path) -> list[int]:
    """Steps of the checkpoints that are there, oldest first."""
    return sorted(
        int(path.parent.name.removeprefix("step-"))
        for path in (run / "checkpoints").glob("step-*/manifest.json")
    )


def train_workers(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """Processes of the driver's own Ray session that hold a rank of the run."""
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile, or a zombie
            if "".join(process.cmdline()).startswith("ray::RayTrainWorker"):
                found.append(process)
    return found


def wait_until_gone(processes: list[psutil.Process]) -> None:
    """Until none of them runs; one that waits for its parent to take notice is gone too."""
    deadline = time.monotonic() + 120
    while any(_runs(process) for process in processes):
        assert time.monotonic() < deadline, f"still there: {processes}"
        time.sleep(0.1)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
