"""A Ray session of this machine, the real one."""

from __future__ import annotations

import os

import psutil
import pytest

from reactdist.distributed.session import ray_session


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux's scheduler")
def test_rays_own_processes_do_not_interrupt_a_computing_thread() -> None:
    with ray_session(num_cpus=1):
        import ray

        helpers = {p.name(): p.pid for p in psutil.Process().children(recursive=True)}
        assert os.sched_getscheduler(helpers["raylet"]) == os.SCHED_BATCH
        assert os.sched_getscheduler(helpers["gcs_server"]) == os.SCHED_BATCH
        assert ray.get(ray.remote(lambda: os.sched_getscheduler(0)).remote()) == os.SCHED_BATCH
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
        assert os.environ["RAY_TRAIN_METRICS_ENABLED"] == "0"
    assert "RAY_TRAIN_METRICS_ENABLED" not in os.environ  # the next session may be a cluster's
