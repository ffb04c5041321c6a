"""What a user gets for wrong input: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import small_run

COMMAND = [sys.executable, "-m", "reactdist.cli"]


def reactdist(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, cwd=cwd, timeout=180, check=False
    )


def check_one_line(done: subprocess.CompletedProcess[str], said: str) -> None:
    """Exit code 2 and a single line that says what, where and how to fix."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("reactdist: ")
    assert re.search(said, lines[0]), lines[0]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "nowhere.yaml"), r"nowhere\.yaml: cannot read the config"),
        (("train",), "Missing argument"),
        (("trian", "x.yaml"), "trian"),
        (("train", "bad.yaml"), r"bad\.yaml: unknown key 'optimzer' - did you mean 'optimizer'"),
        (("train", "heads.yaml"), r"heads\.yaml: .*num_heads"),
        (("train", "window.yaml"), r"window\.yaml: .*window_size 128 is larger"),
        (("train", "missing.yaml"), r"no-shards: .*manifest\.json.* - run `reactdist data build"),
        (("data", "build", "no-release", "out"), "no-release"),
        (("data", "check", "no-release"), "no-release"),
        (("data", "info", "no-shards"), "no-shards"),
        (("evaluate", "no-model", "--shards", "no-shards"), "no-shards"),
        (("tune", "pbt.yaml"), "exchanges Tune's own checkpoints"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_input_is_one_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    for name, values in {
        "bad": {"optimzer": {"lr": 1}},
        "heads": {"model": {"feature_dim": 30}},
        "window": {"model": {"task": "online", "window_size": 128}, "data": {"crop_frames": 64}},
        "missing": {"data": {"shards": "no-shards"}},
        "pbt": {"scheduler": {"kind": "pbt"}},
    }.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    before = set(tmp_path.iterdir())
    check_one_line(reactdist(*arguments, cwd=tmp_path), said)
    assert set(tmp_path.iterdir()) == before


def test_a_ray_address_nobody_answers(tmp_path: Path, small_shards: str) -> None:
    values = dict(small_run(small_shards, tmp_path / "runs", workers={"count": 2}))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    address = f"127.0.0.1:{unused_port()}"
    tracker = f"sqlite:///{tmp_path}/mlflow.db"
    done = reactdist("train", "run.yaml", "--address", address, "--tracking", tracker, cwd=tmp_path)
    check_one_line(done, f"{address}: no Ray cluster answers")


def test_a_ray_that_does_not_start_here(
    tmp_path: Path, small_shards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "file" / "ray"))
    values = dict(small_run(small_shards, tmp_path / "runs", workers={"count": 2}))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    tracker = f"sqlite:///{tmp_path}/mlflow.db"
    done = reactdist("train", "run.yaml", "--tracking", tracker, cwd=tmp_path)
    check_one_line(done, r"Ray does not start on this machine: .*Not a directory.*RAY_TMPDIR")


def test_an_mlflow_nobody_answers(tmp_path: Path, small_shards: str) -> None:
    values = dict(small_run(small_shards, tmp_path / "runs"))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    uri = f"http://127.0.0.1:{unused_port()}"
    check_one_line(reactdist("train", "run.yaml", "--tracking", uri, cwd=tmp_path), "127.0.0.1")


def test_a_full_disk_under_the_output_folder(tmp_path: Path, small_shards: str) -> None:
    """A file-size limit is what a full disk looks like to a process."""
    values = dict(small_run(small_shards, tmp_path / "runs"))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    tracker = f"sqlite:///{tmp_path}/mlflow.db"
    script = f"ulimit -f 8; exec {' '.join(COMMAND)} train run.yaml --tracking {tracker}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    check_one_line(done, "cannot write the run's folder")
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / "runs" / "small").exists()


def test_the_test_split_is_for_promoted_models(tmp_path: Path, small_shards: str) -> None:
    (tmp_path / "model").mkdir()
    done = reactdist("evaluate", "model", "--shards", small_shards, "--split", "test", cwd=tmp_path)
    check_one_line(done, "the test split is for promoted models.*--yes-i-know")
