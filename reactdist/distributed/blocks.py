"""Blocks of an evaluation on Ray Data: a task a block, on every core or GPU of the cluster."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pickle
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from reactdist.distributed.session import ray_session
from reactdist.errors import InputError, ReactdistError, WorkerLost
from reactdist.evaluate.blocks import Block, Runner, Work, run_here


@contextlib.contextmanager
def block_runner(address: str | None, use_ray: bool) -> Iterator[Runner]:
    """Ray at `address` or RAY_ADDRESS, Ray of this machine with `use_ray`, else this process.

    Ray is connected or started when there is something to run.
    """
    if not (address or os.environ.get("RAY_ADDRESS") or use_ray):
        yield run_here
        return
    with contextlib.ExitStack() as session:

        def runner(work: Work, blocks: Sequence[Block]) -> Iterator[tuple[Block, Any]]:
            if not started:
                session.enter_context(ray_session(address))
                started.append(True)
            return run_on_ray(work, blocks)

        started: list[bool] = []
        yield runner


def run_on_ray(work: Work, blocks: Sequence[Block]) -> Iterator[tuple[Block, Any]]:
    """The work on every block, on all cores (or GPUs) of the connected cluster.

    A block whose process or node goes away is done again by another, three times. All nodes must
    see shards and output under the same names; `work` itself travels through Ray's object store,
    once a node.

    Raises:
        ReactdistError: as `work` raises them.
        InputError: the cluster has no core.
        WorkerLost: a block ends every process that tries it.
    """
    import ray
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    there = ray.cluster_resources()
    if there.get("CPU", 0) < 1:
        raise InputError("the Ray cluster has no CPU to offer", fix="see `ray status`")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how to say max_retries changes with Ray 2.64
        results = ray.data.from_items(
            # As bytes, since Arrow knows no such columns.
            [{"block": pickle.dumps(block)} for block in blocks],
            override_num_blocks=len(blocks),
        ).map(
            _do,
            fn_args=(ray.put(work),),
            num_cpus=1,
            num_gpus=1 if work.uses_gpu and there.get("GPU", 0) >= 1 else 0,
            # Ray Data would try for ever, also a block that always ends its process.
            ray_remote_args_fn=lambda: {"max_retries": 3},
        )
    try:
        for row in results.iter_rows():
            result = pickle.loads(row["result"])
            if isinstance(result, ReactdistError):
                raise result
            yield pickle.loads(row["block"]), result
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        raise WorkerLost(
            f"every process that tries a block ends ({str(error).splitlines()[0]})",
            fix="see Ray's logs; too little memory? the same command goes on",
        ) from None


def _do(row: dict[str, bytes], work: Any) -> dict[str, bytes]:
    """A block in a process of Ray; what the user must be told is a result too, not a failure."""
    try:
        result: Any = _fetched(work)(pickle.loads(row["block"]))
    except ReactdistError as error:
        result = error
    return {**row, "result": pickle.dumps(result)}


@functools.lru_cache(maxsize=1)
def _fetched(work: Any) -> Work:
    """The work, kept by the process for its next block."""
    import ray

    fetched: Work = ray.get(work)
    return fetched
