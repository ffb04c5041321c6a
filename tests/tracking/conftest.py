"""A real SQLite store for each test and a real `mlflow server` where one is asked for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from reactdist.tracking import prepare


@pytest.fixture(scope="session")
def _new_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    # Creating the tables takes 2 s; every test gets a copy of the file made once.
    folder = tmp_path_factory.mktemp("mlflow")
    prepare(f"sqlite:///{folder}/mlflow.db")
    return (folder / "mlflow.db").read_bytes()


@pytest.fixture
def uri(tmp_path: Path, _new_database: bytes) -> str:
    """Address of an empty SQLite store in the test's own folder."""
    (tmp_path / "mlflow.db").write_bytes(_new_database)
    return f"sqlite:///{tmp_path}/mlflow.db"


class Server:
    """A real MLflow server on a SQLite store; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--backend-store-uri", f"sqlite:///{self.folder}/server.db"),
            *("--artifacts-destination", str(self.folder / "server-artifacts")),
        ]
        with (self.folder / "server.log").open("a") as log:
            # A session of its own: the kill must take the server's worker along.
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        limit = time.monotonic() + 90
        while time.monotonic() < limit:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError((self.folder / "server.log").read_text()[-2000:])

    def stop(self) -> None:
        """Let it hang: it takes connections and answers nothing."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """kill -9, as a crash would."""
        if self.process is not None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A started server, killed at the end of the test."""
    running = Server(tmp_path)
    running.start()
    yield running
    running.kill()
