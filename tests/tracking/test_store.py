"""First contact with MLflow: addresses, and many processes at a new database at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reactdist.errors import InputError
from reactdist.tracking import prepare, tracking_uri


def test_the_address_is_explicit_then_the_environment_then_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert tracking_uri() == "http://host:5000"
    assert tracking_uri("sqlite:///sub/x.db") == f"sqlite:///{tmp_path}/sub/x.db"


def test_a_database_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written .* - give a writable place"):
        prepare(f"sqlite:///{tmp_path}/file/mlflow.db")
    (tmp_path / "broken.db").write_text("this is no database, though it is long enough for one")
    with pytest.raises(InputError, match="MLflow does not answer"):
        prepare(f"sqlite:///{tmp_path}/broken.db")


def test_processes_that_open_a_new_database_at_once_do_not_break_it(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    program = (
        f"from reactdist.tracking import open_run, prepare; import os, sys; prepare({uri!r});"
        f"open_run({uri!r}, 'e', 'r', key=sys.argv[1]).finish();"
        "print(os.environ['MLFLOW_HTTP_REQUEST_MAX_RETRIES'], end='')"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(n)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for n in range(3)
    ]
    said = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], said
    # Quiet, and with our short limits still in place after the shorter ones of the first contact.
    assert said == [("1", "")] * 3
    from reactdist.tracking import runs_table

    assert len(runs_table(uri, "e")) == 3
