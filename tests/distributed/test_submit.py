"""A job submitted to a real Ray cluster of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.conftest import small_run

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for probe in sockets:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in sockets]
    for probe in sockets:
        probe.close()
    return ports


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A head node with its dashboard and a token of its own; the environment to reach it."""
    port, dashboard = free_ports(2)
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "GCS_ADDRESS": f"127.0.0.1:{port}",
    }
    subprocess.run(
        [
            str(BIN / "ray"), "start", "--head", f"--port={port}", "--num-cpus=2",
            "--include-dashboard=true", f"--dashboard-port={dashboard}",
            f"--temp-dir={tmp_path_factory.mktemp('ray', numbered=True)}",
            "--node-ip-address=127.0.0.1", "--object-store-memory=200000000",
        ],
        env=environment, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    yield environment
    # `ray stop` would end other sessions of this machine too; the token tells ours apart.
    token = environment["RAY_AUTH_TOKEN"]
    ours = [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("RAY_AUTH_TOKEN") == token
    ]
    for process in ours:
        with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile, with its parent
            process.kill()
    psutil.wait_procs(ours, timeout=30)


def test_training_as_a_job_of_a_cluster(
    cluster: dict[str, str], small_shards: str, tmp_path: Path
) -> None:
    tracker = f"sqlite:///{tmp_path}/mlflow.db"
    values = dict(small_run(small_shards, tmp_path / "runs", workers={"count": 2, "cpus": 0.5}))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    command = [
        sys.executable, "-m", "reactdist.cli", "submit", "--follow",
        "train", "run.yaml", "--tracking", tracker,
    ]  # fmt: skip
    done = subprocess.run(
        command, env=cluster, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "2 worker(s)" in (tmp_path / "runs" / "small" / "log" / "rank-0.log").read_text()
    assert json.loads((tmp_path / "runs" / "small" / "finished.json").read_text())["step"] > 0
    assert done.stdout.strip().splitlines()[-1].startswith("raysubmit_")


def test_evaluating_as_a_job_of_a_cluster(
    cluster: dict[str, str], small_shards: str, small_model: Path, tmp_path: Path
) -> None:
    arguments = [
        "evaluate", str(small_model), "--shards", small_shards, "--split", "train", "--frames",
        "40", "--samples", "2", "--block-items", "3", "--tracking", f"sqlite:///{tmp_path}/m.db",
    ]  # fmt: skip
    reactdist = [sys.executable, "-m", "reactdist.cli"]
    submit = [*reactdist, "submit", "--follow", *arguments, "--out", "on-cluster"]
    job = subprocess.run(
        submit, env=cluster, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert job.returncode == 0, job.stdout[-2000:] + job.stderr[-2000:]
    assert "scoring: " in job.stdout  # a job says how far it is; one process alone does not
    here = subprocess.run(
        [*reactdist, *arguments, "--out", "here"],
        cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert here.returncode == 0, here.stderr[-2000:]
    assert "scoring: " not in here.stderr
    files = [file for file in (tmp_path / "here").rglob("*.parquet") if file.is_file()]
    assert len(files) > 3
    for file in files:
        there = tmp_path / "on-cluster" / file.relative_to(tmp_path / "here")
        assert there.read_bytes() == file.read_bytes(), file.name
    assert scores(tmp_path / "here") == scores(tmp_path / "on-cluster")
    # jobs/evaluate.py is the same command; nothing but the cluster's own variable says "on Ray".
    script = [sys.executable, str(ROOT / "jobs" / "evaluate.py"), *arguments[1:], "--out", "script"]
    address = {**cluster, "RAY_ADDRESS": cluster["GCS_ADDRESS"]}
    done = subprocess.run(
        script, env=address, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "scoring: " in done.stderr
    assert scores(tmp_path / "script") == scores(tmp_path / "here")


def scores(folder: Path) -> str:
    """The means and intervals of an evaluation, as text: an undefined one is no number."""
    return json.dumps(json.loads((folder / "evaluation.json").read_text())["scores"])


def test_nobody_answers(tmp_path: Path) -> None:
    [port] = free_ports(1)
    command = [sys.executable, "-m", "reactdist.cli", "submit", "--address"]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}", "train", "run.yaml"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "no Ray dashboard answers" in done.stderr
    assert "Traceback" not in done.stderr
