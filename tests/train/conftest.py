"""The run that all disturbed two-worker runs are compared with, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.runs import GROUP, finish, start, write_config


@pytest.fixture(scope="session")
def undisturbed_group(small_shards: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a two-worker run nobody disturbed."""
    from reactdist.tracking import prepare

    folder = tmp_path_factory.mktemp("undisturbed-group")
    tracker = f"sqlite:///{folder}/mlflow.db"
    prepare(tracker)
    out = finish(start(write_config(folder, small_shards, **GROUP), tracker))
    assert "deepspeed.DeepSpeedEngine, ZeRO stage 0, 2 worker(s)" in out
    return folder / "runs" / "small"
