"""Shards in an S3 store: a real HTTP server (moto) and pyarrow's own S3 client."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import fs

from reactdist.data.clips import train_batches
from reactdist.data.shards import Shards
from reactdist.errors import DataError, InputError

SIZE = 32
BUILD = """
import sys
from reactdist.data.build import build
if __name__ == "__main__":
    build(sys.argv[1], sys.argv[2], image_size=32, pairs_a_shard=2, workers=2)
"""


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An empty bucket; the environment names the server and its keys, as for a user."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        store = fs.S3FileSystem(
            endpoint_override=f"{host}:{port}", scheme="http", allow_bucket_creation=True
        )
        store.create_dir("clips")
        yield "s3://clips"
    server.stop()


@pytest.fixture(scope="module")
def remote(bucket: str, release: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The set of `built`, built into the bucket by a process of its own."""
    uri = f"{bucket}/set"
    command = [sys.executable, script(tmp_path_factory.mktemp("build")), release, uri]
    subprocess.run(command, check=True, timeout=300)
    return uri


def script(folder: Path) -> Path:
    file = folder / "run.py"
    file.write_text(BUILD)
    return file


def objects(uri: str) -> dict[str, str]:
    """sha256 of every object below a prefix."""
    store, base = fs.FileSystem.from_uri(uri)
    return {
        info.path.removeprefix(f"{base}/"): hashlib.sha256(
            store.open_input_stream(info.path).read()
        ).hexdigest()
        for info in store.get_file_info(fs.FileSelector(base, recursive=True))
        if info.type == fs.FileType.File
    }


def files(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reactdist.cli", "data", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_set_in_a_bucket_is_the_set_on_a_disk(remote: str, built: Path) -> None:
    assert objects(remote) == files(built)
    there, here = Shards.open(remote, verify=True), Shards.open(built)
    assert there.fingerprint == here.fingerprint
    settings: dict[str, Any] = {"batch_size": 2, "crop_frames": 40, "seed": 0}
    for a, b in islice(
        zip(train_batches(there, **settings), train_batches(here, **settings), strict=True), 3
    ):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_info_shows_it_and_a_damaged_shard_is_named(remote: str) -> None:
    done = run("info", remote, "--json")
    assert done.returncode == 0, done.stderr
    shard = json.loads(done.stdout)["splits"]["train"]["shards"][1]
    store, base = fs.FileSystem.from_uri(remote)
    path = f"{base}/{shard['file']}"
    good = store.open_input_stream(path).read()
    bad = bytearray(good)
    bad[len(bad) // 2] ^= 1
    try:
        with store.open_output_stream(path) as stream:
            stream.write(bytes(bad))
        with pytest.raises(DataError, match=rf"^{remote}/{shard['file']}: row group \d \(train/"):
            Shards.open(remote, verify=True)
        store.delete_file(path)
        with pytest.raises(DataError, match=rf"^{remote}/{shard['file']}: is missing"):
            Shards.open(remote)
    finally:
        with store.open_output_stream(path) as stream:
            stream.write(good)


def test_what_is_not_there_is_said(remote: str, bucket: str, release: Path) -> None:
    with pytest.raises(InputError, match="holds no finished shards"):
        Shards.open(f"{bucket}/nothing")
    done = run("build", release, "s3://no-such-bucket/set", "--image-size", SIZE)
    assert done.returncode == 2
    assert "no-such-bucket" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_killed_build_in_a_bucket_resumes(
    bucket: str, release: Path, built: Path, tmp_path: Path
) -> None:
    """kill -9 of the whole process group after the first and the second shard."""
    uri = f"{bucket}/killed"
    store, base = fs.FileSystem.from_uri(uri)
    finished = fs.FileSelector(f"{base}/building", allow_not_found=True)
    command = [sys.executable, str(script(tmp_path)), str(release), uri]
    kills = 0
    for wanted in (1, 2):
        child = subprocess.Popen(command, start_new_session=True)
        while child.poll() is None and len(_records(store, finished)) < wanted:
            time.sleep(0.02)
        if child.poll() is None:  # else it was quicker than our look
            os.killpg(child.pid, signal.SIGKILL)
            kills += 1
        child.wait()
        assert child.returncode in (0, -signal.SIGKILL)
    assert kills
    subprocess.run(command, check=True, timeout=300)
    assert objects(uri) == files(built)


def _records(store: Any, selector: Any) -> list[Any]:
    return [info for info in store.get_file_info(selector) if info.path.endswith(".json")]


@pytest.mark.slow
def test_loader_processes_read_a_bucket(remote: str, built: Path) -> None:
    settings: dict[str, Any] = {"batch_size": 2, "crop_frames": 40, "seed": 0}
    there = train_batches(Shards.open(remote), workers=2, **settings)
    here = train_batches(Shards.open(built), **settings)
    for a, b in islice(zip(there, here, strict=True), 5):
        assert all(torch.equal(a[name], b[name]) for name in a)
