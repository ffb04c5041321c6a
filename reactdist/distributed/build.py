"""Building shards on Ray: the same tasks as on one machine, on every core of every node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray

from reactdist.data.build import build, without_killers
from reactdist.data.pool import progress
from reactdist.data.shard_task import ShardResult, ShardTask, run_task
from reactdist.data.shards import Shards
from reactdist.errors import InputError

AHEAD = 2
"""Tasks handed out for each core: enough to keep it busy, few enough to stay small."""


def build_on_ray(root: str | Path, out: str | Path, **settings: Any) -> Shards:
    """As `reactdist.data.build.build` (same arguments but `workers`), on the connected cluster.

    Every node must see `root` and `out` under the same name: a shared disk, or a URI for `out`.

    Raises:
        InputError: no Ray is connected, or as `build`.
    """
    if not ray.is_initialized():
        raise InputError("no Ray is connected", fix="call ray.init() or give --address")
    return build(root, out, runner=run_on_ray, **settings)


def run_on_ray(tasks: Sequence[ShardTask]) -> Iterator[ShardResult]:
    """Results of all tasks, as they finish; a task that ends its worker is run again without
    the clips that do it."""
    limit = AHEAD * max(int(ray.cluster_resources().get("CPU", 1)), 1)
    # A lost node is worth another attempt; a decoder that kills its process is met again below.
    run = ray.remote(num_cpus=1, max_retries=1)(run_task)
    careful = ray.remote(num_cpus=1, max_retries=0)(without_killers)
    waiting = list(reversed(tasks))
    running: dict[Any, ShardTask] = {}
    with progress(len(tasks), "building shards") as advance:
        while waiting or running:
            while waiting and len(running) < limit:
                task = waiting.pop()
                running[run.remote(task)] = task
            (done, *_), _ = ray.wait(list(running), num_returns=1)
            task = running.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.WorkerCrashedError:
                running[careful.remote(task)] = task
                continue
            yield result
            advance()
