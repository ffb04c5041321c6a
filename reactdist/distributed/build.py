"""Building shards on Ray: the same tasks as on one machine, on every core of every node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import ray

from reactdist.data.build import without_killers
from reactdist.data.pool import progress
from reactdist.data.shard_task import ShardResult, ShardTask, run_task
from reactdist.distributed.session import ray_session

AHEAD = 2
"""Tasks handed out for each core: enough to keep it busy, few enough to stay small."""
LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
)
"""What takes a task away without an error of its own."""


def run_on_cluster(
    tasks: Sequence[ShardTask], *, address: str | None = None, workers: int | None = None
) -> Iterator[ShardResult]:
    """The runner for a cluster: `run_on_ray`, connected for as long as it runs.

    Every node must see the release and the output under the same names: a shared disk, or a URI
    for the output.

    Raises:
        InputError: nobody answers at `address` (or RAY_ADDRESS).
    """
    with ray_session(address):
        yield from run_on_ray(tasks, workers)


def run_on_ray(tasks: Sequence[ShardTask], workers: int | None = None) -> Iterator[ShardResult]:
    """Results of all tasks, as they finish, `workers` at a time (default: every core).

    A task that ends its worker is run again without the clips that do it; errors that a task
    raises pass through.
    """
    limit = workers or AHEAD * max(int(ray.cluster_resources().get("CPU", 1)), 1)
    # A lost node is worth another attempt; a decoder that kills its process is met again below.
    run = ray.remote(num_cpus=1, max_retries=1)(run_task)
    careful = ray.remote(num_cpus=1, max_retries=3)(without_killers)
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
            except LOST:
                running[careful.remote(task)] = task
                continue
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            yield result
            advance()
