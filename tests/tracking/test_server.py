"""A real MLflow server is killed while a run logs: training goes on, the points arrive in order."""

from __future__ import annotations

import logging
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from reactdist.errors import InputError
from reactdist.tracking import (
    download_model,
    open_run,
    prepare,
    register_version,
    runs_table,
    set_alias,
    sync_spool,
)
from reactdist.tracking.store import client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.tracking.conftest import Server


def test_an_address_nobody_answers_is_refused_within_seconds() -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=r"MLflow does not answer .*start the server"):
        prepare("http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"\*\*\*@127.0.0.1"):
        prepare("postgresql+psycopg2://me:secret@127.0.0.1:9/mlflow")
    assert time.monotonic() - began < 10
    with pytest.raises(InputError, match="not an MLflow address"):
        prepare("/some/folder")


@pytest.mark.slow
def test_points_wait_for_the_server_and_arrive_in_order(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    prepare(server.uri)
    spool = tmp_path / "spool"
    run = open_run(server.uri, "e", "r", key="k", params={"a": 1}, spool=spool)
    run.log_metrics({"loss": 0.0}, 0)
    run.log_text("before", "before.txt")
    wait_until(lambda: bool(client(server.uri).list_artifacts(run.run_id)))
    server.kill()

    longest_s = 0.0
    for step in range(1, 40):
        began = time.monotonic()
        run.log_metrics({"loss": float(step)}, step)
        longest_s = max(longest_s, time.monotonic() - began)
        time.sleep(0.1)
    run.log_text("during", "during.txt")
    assert longest_s < 0.5, "logging must not wait for a server that is away"
    wait_until(lambda: "training goes on" in caplog.text)

    server.start()
    run.log_metrics({"loss": 40.0}, 40)
    assert run.finish(wait_s=60)
    assert "MLflow is back" in caplog.text
    _check_complete(server, run.run_id, 41)
    mlflow = client(server.uri)
    assert {f.path for f in mlflow.list_artifacts(run.run_id)} == {"before.txt", "during.txt"}
    assert not spool.exists()


@pytest.mark.slow
def test_a_server_gone_for_good_leaves_a_spool_that_sync_sends(
    server: Server, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    run = open_run(server.uri, "e", "r", key="k", spool=spool)
    run.log_metrics({"loss": 0.0}, 0)
    wait_until(lambda: bool(client(server.uri).get_metric_history(run.run_id, "loss")))
    server.kill()
    for step in range(1, 10):
        run.log_metrics({"loss": float(step)}, step)
    assert not run.finish(wait_s=4)

    # The process ends, another resumes the run while the server is still away.
    again = open_run(server.uri, "e", "r", key="k", spool=spool)
    assert again.run_id == run.run_id
    for step in range(5, 15):
        again.log_metrics({"loss": float(step)}, step)
    assert not again.finish(wait_s=4)
    with pytest.raises(InputError, match="does not answer"):
        open_run(server.uri, "e", "other", key="never seen", spool=spool)
    with pytest.raises(InputError, match="does not answer"):
        sync_spool(spool)

    server.start()
    assert sync_spool(spool) == {run.run_id: 16}
    _check_complete(server, run.run_id, 15)
    assert runs_table(server.uri, "e")["status"].tolist() == ["FINISHED"]
    assert not spool.exists()


def wait_until(true: Callable[[], bool], limit_s: float = 30.0) -> None:
    limit = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.1)


def _check_complete(server: Server, run_id: str, steps: int) -> None:
    points = client(server.uri).get_metric_history(run_id, "loss")
    assert [(p.step, p.value) for p in points] == [(s, float(s)) for s in range(steps)]
    times = [p.timestamp for p in points]
    assert times == sorted(times), "points keep the time they were logged at"


@pytest.mark.slow
def test_a_server_that_hangs_holds_up_neither_training_nor_its_end(
    server: Server, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    run = open_run(server.uri, "e", "r", key="k", spool=spool)
    server.stop()
    for step in range(5):
        run.log_metrics({"loss": float(step)}, step)
    time.sleep(1)
    began = time.monotonic()
    assert not run.finish(wait_s=2)
    assert time.monotonic() - began < 10
    server.resume()
    # The call that hung is answered now, and the sending thread lets go of the spool.
    wait_until(lambda: not spool.exists() or bool(sync_or_busy(spool)), limit_s=60)
    _check_complete(server, run.run_id, 5)


def sync_or_busy(spool: Path) -> dict[str, int]:
    # Refused while the thread of the ended run still holds the spool, or has removed it.
    try:
        return sync_spool(spool)
    except InputError:
        return {}


@pytest.mark.slow
def test_the_registry_works_through_a_server(server: Server, tmp_path: Path) -> None:
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "model.safetensors").write_bytes(b"weights")
    (exported / "config.yaml").write_text("model: {name: transvae}\n")
    run = open_run(server.uri, "e", "r", key="k", spool=tmp_path / "spool")
    run.log_folder(exported, "exported")
    assert run.finish()
    assert register_version(server.uri, "m", run.run_id, exported) == "1"
    set_alias(server.uri, "m", "champion", "1")
    for reference in ("models:/m@champion", "models:/m/1", run.run_id):
        folder = download_model(server.uri, reference)
        assert (folder / "model.safetensors").read_bytes() == b"weights"
    with pytest.raises(InputError, match="alias 'nobody' is not set - there are: champion"):
        download_model(server.uri, "models:/m@nobody")

    # The name is refused by the server after the upload: the upload is taken back.
    with pytest.raises(InputError, match="MLflow refused it"):
        register_version(server.uri, "bad:name", run.run_id, exported)
    stored = {file.path for file in client(server.uri).list_artifacts(run.run_id, "registered")}
    assert {path.rpartition("/")[2].rpartition("-")[0] for path in stored} == {"m"}
    assert [m.name for m in client(server.uri).search_registered_models()] == ["m"]

    # Version files that vanish on the server are named.
    shutil.rmtree(tmp_path / "server-artifacts")
    with pytest.raises(InputError, match="its exported model cannot be read"):
        download_model(server.uri, "models:/m/1")
