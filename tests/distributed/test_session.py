"""A Ray session of this machine, the real one."""

from __future__ import annotations

import os

import psutil
import pytest

from reactdist.distributed.session import foreground, ray_session


@pytest.mark.cluster
@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux's scheduler")
def test_rays_own_processes_do_not_interrupt_a_computing_thread() -> None:
    def policies() -> tuple[int, int]:
        before = os.sched_getscheduler(0)
        foreground()
        return before, os.sched_getscheduler(0)

    with ray_session(num_cpus=1):
        import ray

        helpers = {p.name(): p.pid for p in psutil.Process().children(recursive=True)}
        assert os.sched_getscheduler(helpers["raylet"]) == os.SCHED_BATCH
        assert os.sched_getscheduler(helpers["gcs_server"]) == os.SCHED_BATCH
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
        found = ray.get(ray.remote(policies).remote())
    assert found == (os.SCHED_BATCH, os.SCHED_OTHER)
