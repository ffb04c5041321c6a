"""A real MLflow server goes away during `reactdist train`: training goes on, nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reactdist.tracking.store import client
from tests.tracking.conftest import Server
from tests.train.runs import saved_steps, start, wait_until, write_config

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A started server, killed at the end of the test."""
    running = Server(tmp_path)
    running.start()
    yield running
    running.kill()


def spooled(folder: Path) -> int:
    """Last step that the run has logged, whether MLflow has it or not."""
    last = 0
    for path in (folder / "mlspool").glob("*/records.jsonl"):
        for line in path.read_text().splitlines(keepends=True):
            record = json.loads(line) if line.endswith("\n") else {}
            if "loss.total" in record.get("values", ()):
                last = max(last, record["step"])
    return last


def test_points_arrive_later_or_stay_for_sync(
    server: Server, small_shards: str, tmp_path: Path
) -> None:
    # Far more epochs than it gets: the test ends it, so that it lasts as long as it must.
    config = write_config(
        tmp_path, small_shards, epochs=100_000, validation={"every_epochs": 1000}
    )  # fmt: skip
    process = start(config, server.uri, cwd=tmp_path)
    run = tmp_path / "runs" / "small"

    def arrived() -> list[int]:
        run_id = (run / "run_id").read_text() if (run / "run_id").exists() else ""
        if not run_id:
            return []
        points = client(server.uri).get_metric_history(run_id, "loss.total")
        times = [point.timestamp for point in points]
        assert times == sorted(times)
        return [point.step for point in points]

    wait_until(lambda: bool(arrived()), process)
    server.kill()
    before = spooled(tmp_path)
    wait_until(lambda: spooled(tmp_path) > before + 20, process)
    server.start()
    wait_until(lambda: max(arrived(), default=0) > before + 20, process)  # by themselves
    server.kill()
    before = spooled(tmp_path)
    wait_until(lambda: spooled(tmp_path) > before + 20, process)
    process.send_signal(signal.SIGTERM)
    out = process.communicate(timeout=240)[0]
    assert process.returncode == 75, out[-2000:]
    assert "training goes on" in out
    assert "`reactdist runs sync " in out
    assert "Traceback" not in out
    saved = max(saved_steps(run))

    server.start()
    sync = [sys.executable, "-m", "reactdist.cli", "runs", "sync", str(tmp_path / "mlspool")]
    subprocess.run(sync, check=True, capture_output=True, timeout=240)
    assert arrived() == list(range(1, saved + 1))
    assert not (tmp_path / "mlspool").exists()
