"""Trials that are Ray Train groups: stopped early, they give their places to later ones."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from reactdist.evaluate.study import read_study
from tests.tune.test_search import finish, start, write_study

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@contextlib.contextmanager
def another_ray() -> Iterator[None]:
    """A cluster of somebody else's on this machine."""
    script = """
import sys
from reactdist.distributed.session import ray_session
with ray_session(num_cpus=1):
    print("up", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield
    finally:
        process.communicate(timeout=120)


def test_a_group_stopped_early_leaves_its_place_to_the_next(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    # The cluster has places for one group. While a stopped one kept them (the placement-group
    # trap), the next would wait for ever. A second Ray on the machine makes the trap wider: the
    # State API of a process that was not told its cluster finds two.
    objective = {"terms": {"FRDist": -1.0}, "guards": []}
    validation = {"items": 2, "frames": 24, "every_epochs": 2, "num_samples": 2}
    config = write_study(
        tmp_path,
        small_shards,
        base_changes={
            "workers": {"count": 2, "cpus": max(1.0, (os.cpu_count() or 1) / 2), "gpu": False},
            "epochs": 4,
            "validation": {**validation, "objective": objective},
        },
        space={"optimizer.lr": {"choice": [1e-3, 1e-12, 1e-11]}},
        searcher={"kind": "grid"},
        scheduler={"kind": "asha", "grace_epochs": 2, "reduction_factor": 2},
    )
    with another_ray():
        finish(start(config, tracker))
    study = read_study(tmp_path / "runs" / "search")
    assert {trial.number: (trial.end, trial.epochs) for trial in study.trials} == {
        0: ("finished", 4),
        1: ("stopped early", 2),
        2: ("stopped early", 2),
    }
    assert (Path(study.best.folder) / "finished.json").exists()
    client = MlflowClient(tracker)
    for trial in study.trials:
        run = client.get_run(trial.run_id)
        assert run.data.tags["mlflow.parentRunId"] == study.run_id
        assert run.data.tags["reactdist.kind"] == "trial"
        assert run.data.tags["reactdist.world_size"] == "2"


def test_without_the_state_api_a_search_over_groups_is_refused() -> None:
    script = """
from reactdist.distributed.session import ray_session
from reactdist.errors import InputError
with ray_session(num_cpus=1, dashboard={dashboard}):
    from reactdist.tune.group import check_state_api
    try:
        check_state_api("study")
        print("answers")
    except InputError as error:
        print(error.line())
"""
    for dashboard, said in ((False, "State API does not answer"), (True, "answers")):
        out = subprocess.run(
            [sys.executable, "-c", script.format(dashboard=dashboard)],
            capture_output=True,
            text=True,
            timeout=240,
            check=True,
        ).stdout
        assert said in out
        assert dashboard or "--include-dashboard=true" in out
