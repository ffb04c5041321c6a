"""The real SQLite store of the tracking tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactdist.tracking import prepare


@pytest.fixture(scope="session")
def _new_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("mlflow")
    prepare(f"sqlite:///{folder}/mlflow.db")
    return (folder / "mlflow.db").read_bytes()


@pytest.fixture
def uri(tmp_path: Path, _new_database: bytes) -> str:
    """Address of an empty SQLite store in the test's own folder."""
    (tmp_path / "mlflow.db").write_bytes(_new_database)
    return f"sqlite:///{tmp_path}/mlflow.db"
