"""Runs on a real SQLite store: identity, resume, each point once, artifacts, ends."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from reactdist.errors import InputError
from reactdist.tracking import open_run, sync_spool
from reactdist.tracking.run import default_spool
from reactdist.tracking.spool import Spool, SpoolHeader, folder_of, spools_under
from reactdist.tracking.store import client


def history(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client(uri).get_metric_history(run_id, key)]


def test_a_run_stores_what_it_was_given(uri: str, tmp_path: Path) -> None:
    with open_run(uri, "e", "parent", key="p") as parent:
        pass
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.yaml").write_text("a: 1\n")
    run = open_run(
        uri, "e", "child", key="c", parent_run_id=parent.run_id, params={"x.y": 1e-4},
        tags={"reactdist.kind": "trial"},
    )  # fmt: skip
    run.log_metrics({"loss": 2.0, "kl": 0.5}, step=3)
    run.set_tags({"data": "abc"})
    run.log_dict({"a": [1, float("nan")]}, "facts/config.json")
    run.log_text("diff", "git.diff")
    run.log_folder(folder, "exported")
    run.log_file(folder / "config.yaml")
    folder.joinpath("config.yaml").unlink()
    assert run.finish("FINISHED")

    stored = client(uri).get_run(run.run_id)
    assert (stored.info.status, stored.info.run_name) == ("FINISHED", "child")
    assert stored.data.params == {"x.y": "0.0001"}
    assert stored.data.metrics == {"loss": 2.0, "kl": 0.5}
    assert stored.data.tags["mlflow.parentRunId"] == parent.run_id
    assert stored.data.tags["data"] == "abc"
    artifacts = Path(stored.info.artifact_uri)
    assert artifacts.is_relative_to(tmp_path / "mlartifacts")
    files = sorted(str(p.relative_to(artifacts)) for p in artifacts.rglob("*") if p.is_file())
    assert files == ["config.yaml", "exported/config.yaml", "facts/config.json", "git.diff"]
    assert '"a": [\n    1,\n    null' in (artifacts / "facts/config.json").read_text()
    assert not default_spool(uri).exists(), "an emptied spool is removed"


def test_the_same_key_resumes_and_no_point_is_there_twice(uri: str) -> None:
    first = open_run(uri, "e", "r", key="it's k", params={"a": 1})
    for step in range(5):
        first.log_metrics({"loss": step / 10}, step)
    first.finish("KILLED")
    second = open_run(uri, "e", "r", key="it's k", params={"a": 2, "b": 3})
    assert second.run_id == first.run_id
    assert client(uri).get_run(second.run_id).info.status == "RUNNING"
    assert second.has_metric("loss", 4)
    assert not second.has_metric("loss", 5)
    for step in range(3, 8):
        second.log_metrics({"loss": 99.0 if step < 5 else step / 10, "new": 1.0}, step)
    second.finish()
    assert history(uri, second.run_id, "loss") == [(s, s / 10) for s in range(8)]
    assert [s for s, _ in history(uri, second.run_id, "new")] == [3, 4, 5, 6, 7]
    stored = client(uri).get_run(second.run_id)
    assert stored.data.params == {"a": "1", "b": "3"}, "a param is logged once"
    other = open_run(uri, "e", "r", key="another")
    other.finish()
    assert other.run_id != first.run_id


def test_an_exception_marks_the_run_failed_and_an_interrupt_killed(uri: str) -> None:
    with pytest.raises(ValueError, match="no"), open_run(uri, "e", "r", key="1") as failed:
        raise ValueError("no")
    with pytest.raises(KeyboardInterrupt), open_run(uri, "e", "r", key="2") as killed:
        raise KeyboardInterrupt
    assert client(uri).get_run(failed.run_id).info.status == "FAILED"
    assert client(uri).get_run(killed.run_id).info.status == "KILLED"


def test_what_a_killed_process_logged_arrives_with_the_next(uri: str, tmp_path: Path) -> None:
    # The process dies by SIGKILL right after logging: nothing of it had time to be sent.
    program = f"""
        import os, signal
        from reactdist.tracking import open_run
        run = open_run({uri!r}, "e", "r", key="k")
        for step in range(200):
            run.log_metrics({{"loss": float(step)}}, step)
        run.log_text("late", "late.txt")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == -9
    (folder,) = spools_under(default_spool(uri))
    records = folder / "records.jsonl"
    records.write_bytes(records.read_bytes() + b'{"op": "metr')  # a line cut short by the crash

    run = open_run(uri, "e", "r", key="k")
    for step in range(150, 210):
        run.log_metrics({"loss": float(step)}, step)
    assert run.finish()
    assert history(uri, run.run_id, "loss") == [(s, float(s)) for s in range(210)]
    artifacts = Path(client(uri).get_run(run.run_id).info.artifact_uri)
    assert (artifacts / "late.txt").read_text() == "late"


def test_a_point_that_waits_here_and_arrived_from_elsewhere_is_one_point(uri: str) -> None:
    # Another machine resumed the run while this one's spool waited, and logged step 1 later.
    run = open_run(uri, "e", "r", key="k")
    for step in range(2):
        run.log_metrics({"loss": float(step)}, step)
    run.finish()
    header = SpoolHeader(uri, "e", "k", run.run_id)
    waiting = Spool(folder_of(default_spool(uri), uri, "e", "k"), header)
    values = {"loss": 1.0, "kl": 0.5}
    waiting.append({"op": "metrics", "time_ms": 1000, "step": 1, "values": values})
    waiting.close()

    open_run(uri, "e", "r", key="k").finish()
    assert history(uri, run.run_id, "loss") == [(0, 0.0), (1, 1.0)]
    assert history(uri, run.run_id, "kl") == [(1, 0.5)]


def test_children_of_a_killed_process_do_not_hold_the_run(uri: str) -> None:
    # A data-loading worker is forked while the run is open and outlives its parent for a while.
    program = f"""
        import os, signal, time
        from reactdist.tracking import open_run
        run = open_run({uri!r}, "e", "r", key="k")
        if os.fork() == 0:
            os.close(1)
            time.sleep(60)
        print(os.getpid(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.wait(60) == -9
        assert open_run(uri, "e", "r", key="k").finish()
    finally:
        os.killpg(process.pid, 9)


def test_another_process_that_lives_keeps_the_run(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reactdist.tracking.run._OTHER_PROCESS_S", 0.3)
    program = f"""
        from reactdist.tracking import open_run
        run = open_run({uri!r}, "e", "r", key="k")
        print("open", flush=True)
        input()
        run.finish()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(InputError, match="another process is logging this run"):
            open_run(uri, "e", "r", key="k")
        process.communicate(b"\n")
    assert open_run(uri, "e", "r", key="k").finish()


def test_one_process_opens_a_run_once(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reactdist.tracking.run._OTHER_PROCESS_S", 0.3)
    run = open_run(uri, "e", "r", key="k")
    with pytest.raises(InputError, match="another process is logging this run"):
        open_run(uri, "e", "r", key="k")
    with pytest.raises(InputError, match="another process is logging this run"):
        sync_spool(default_spool(uri))
    run.finish()


def test_a_point_mlflow_never_accepts_does_not_block_the_others(
    uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = open_run(uri, "e", "r", key="k")
    run.log_metrics({"good": 1.0}, 0)
    run.log_metrics({"bad!name?": 1.0}, 0)
    run.log_metrics({"good": 2.0}, 1)
    assert run.finish()
    assert history(uri, run.run_id, "good") == [(0, 1.0), (1, 2.0)]
    (folder,) = spools_under(default_spool(uri))
    assert "bad!name?" in (folder / "rejected.jsonl").read_text()
    assert "refused" in caplog.text


def test_sync_says_where_there_is_no_spool(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no spool"):
        sync_spool(tmp_path)


def test_a_spool_that_cannot_be_written_does_not_end_training(
    uri: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(uri, "e", "r", key="k")
    full = open("/dev/full", "w")  # noqa: SIM115
    monkeypatch.setattr(run._spool, "_file", full)
    run.log_metrics({"loss": 1.0}, 0)
    run.log_metrics({"loss": 2.0}, 1)
    run.finish()
    assert history(uri, run.run_id, "loss") == [(0, 1.0), (1, 2.0)]
    assert "No space left" in caplog.text
