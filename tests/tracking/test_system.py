"""System metrics of a real run."""

from __future__ import annotations

import time

from reactdist.tracking import open_run
from reactdist.tracking.store import client
from reactdist.tracking.system import SystemMetrics


def test_the_machine_is_sampled_while_the_block_runs(uri: str) -> None:
    run = open_run(uri, "e", "r", key="k")
    with SystemMetrics(run, every_s=0.2):
        time.sleep(1.0)
    run.finish()
    metrics = client(uri).get_run(run.run_id).data.metrics
    assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
    assert metrics["system/system_memory_usage_megabytes"] > 10
    points = client(uri).get_metric_history(run.run_id, "system/cpu_utilization_percentage")
    steps = [point.step for point in points]
    assert len(steps) >= 2
    assert steps == sorted(set(steps))
