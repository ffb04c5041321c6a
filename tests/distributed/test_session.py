"""A Ray session of this machine, the real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SESSION = """
import json, os
import psutil
from reactdist.distributed.session import ray_session

found = {}
with ray_session(num_cpus=1):
    import ray
    helpers = {p.name(): p.pid for p in psutil.Process().children(recursive=True)}
    found["raylet"] = os.sched_getscheduler(helpers["raylet"])
    found["gcs_server"] = os.sched_getscheduler(helpers["gcs_server"])
    found["worker"] = ray.get(ray.remote(lambda: os.sched_getscheduler(0)).remote())
    found["driver"] = os.sched_getscheduler(0)
    found["counters"] = os.environ["RAY_TRAIN_METRICS_ENABLED"]
found["counters after"] = os.environ.get("RAY_TRAIN_METRICS_ENABLED")
print(json.dumps(found))
"""


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux's scheduler")
def test_rays_own_processes_do_not_interrupt_a_computing_thread() -> None:
    # A process of its own: Ray reads its settings when it is imported, here long before.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", SESSION], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "raylet": os.SCHED_BATCH,
        "gcs_server": os.SCHED_BATCH,
        "worker": os.SCHED_BATCH,
        "driver": os.SCHED_OTHER,
        "counters": "0",
        "counters after": None,  # the next session may be a cluster's
    }
