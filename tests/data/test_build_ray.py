"""The build on a real Ray cluster of two nodes: the same bytes as on one machine."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reactdist.data.build import build
from reactdist.data.shards import Shards

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ENVIRONMENT = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
BUILD = """
import sys
from functools import partial
from reactdist.data.build import build
from reactdist.distributed.build import run_on_cluster
build(
    sys.argv[1], sys.argv[2], image_size=32, pairs_a_shard=1,
    runner=partial(run_on_cluster, address=sys.argv[3]),
)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and a second node, one core each; their processes end with this one."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        cluster.second = cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def whole(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this machine builds alone, a pair a shard."""
    out = tmp_path_factory.mktemp("whole") / "shards"
    build(release, out, image_size=32, pairs_a_shard=1)
    return out


def tree(folder: Path) -> dict[str, str]:
    """sha256 of every file below."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@contextmanager
def building(release: Path, out: Path, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """A build on the cluster, when it has built its first shard (or has ended)."""
    child = subprocess.Popen(
        [sys.executable, "-c", BUILD, str(release), str(out), address],
        env={**os.environ, **ENVIRONMENT},
        start_new_session=True,
    )
    while child.poll() is None and not list(out.glob("building/*.json")):
        time.sleep(0.001)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def test_a_killed_build_resumes_to_the_bytes_of_one_machine(
    cluster: Any, release: Path, whole: Path, tmp_path: Path
) -> None:
    """kill -9 of the command; its tasks on the nodes may go on for a while, beside the next's."""
    out = tmp_path / "out"
    with building(release, out, cluster.address) as child:
        assert child.poll() is None
        os.killpg(child.pid, signal.SIGKILL)
    assert not (out / "manifest.json").exists()
    with building(release, out, cluster.address) as child:
        assert child.wait(timeout=300) == 0
    assert tree(out) == tree(whole)


def test_the_command_takes_the_cluster_of_the_environment(
    cluster: Any, release: Path, built: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "reactdist.cli", "data", "build", str(release), "out"]
    done = subprocess.run(
        [*command, "--image-size", "32"],
        env={**os.environ, **ENVIRONMENT, "RAY_ADDRESS": cluster.address},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert "a worker held at most" in done.stdout
    # Eight pairs a shard here, two there: other files, the same clips.
    ours, theirs = Shards.open(tmp_path / "out", verify=True), Shards.open(built)
    assert ours.items("train") == theirs.items("train")
    key = ours.items("val")[0].speaker
    assert ours.source(key) == theirs.source(key)


def test_a_lost_node_costs_nothing_but_time(
    cluster: Any, release: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with building(release, out, cluster.address) as child:
        cluster.remove_node(cluster.second, allow_graceful=False)
        assert child.wait(timeout=300) == 0
    assert tree(out) == tree(whole)
