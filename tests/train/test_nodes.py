"""Nodes that are lost and join: a two-node Ray cluster in two network namespaces."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train.nodes import Cluster
from tests.train.runs import (
    GROUP,
    finish,
    same,
    start,
    wait_for_step,
    weights,
    write_config,
)

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and one more node, of a core each."""
    with contextlib.closing(Cluster(tmp_path_factory.mktemp("ray"))) as made:
        try:
            made.connect()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"network namespaces are not permitted here: {error}")
        made.add("head")
        made.add("first")
        yield made


def test_nodes_are_lost_and_join(
    cluster: Cluster, undisturbed_group: Path, small_shards: str, tmp_path: Path, tracker: str
) -> None:
    """A fixed group waits for another node and ends with the same weights; an elastic one goes
    on with what is there."""
    where = ["--address", cluster.address]
    config = write_config(tmp_path, small_shards, **GROUP)
    run = tmp_path / "runs" / "small"
    driver = start(config, tracker, *where, environment=cluster.environment)
    wait_for_step(run, tracker, 60, driver)
    cluster.kill("first")
    assert not (run / "finished.json").exists()
    cluster.add("second")
    finish(driver)
    log = (run / "log" / "rank-0.log").read_text()
    assert log.count("2 worker(s)") == 2
    assert "resumed from" in log
    assert same(weights(run), weights(undisturbed_group))

    workers = {**GROUP["workers"], "min_count": 1}
    values = GROUP | {"name": "elastic", "workers": workers}
    run, alone = tmp_path / "runs" / "elastic", tmp_path / "runs" / "alone"
    driver = start(
        write_config(tmp_path, small_shards, **values),
        tracker,
        *where,
        environment=cluster.environment,
    )
    wait_for_step(run, tracker, 60, driver)
    cluster.kill("second")
    assert not (run / "finished.json").exists()
    shutil.copytree(run / "checkpoints", alone / "checkpoints")
    finish(driver)
    log = (run / "log" / "rank-0.log").read_text()
    assert log.index("2 worker(s)") < log.index("resumed from") < log.index("1 worker(s)")
    # What one worker makes of the checkpoint that two have written.
    values = GROUP | {"name": "alone", "workers": {"count": 1}}
    finish(start(write_config(tmp_path, small_shards, **values), tracker))
    assert "resumed from" in (alone / "log" / "rank-0.log").read_text()
    assert same(weights(run), weights(alone))
