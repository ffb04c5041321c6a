"""Runs independent tasks in worker processes that end with their parent, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import TypeVar

from reactdist.errors import WorkerLost

T = TypeVar("T")


def run(work: Callable[[T], None], tasks: Sequence[T], workers: int) -> Iterator[None]:
    """Do every task, yielding as they finish in order; one worker means this process.

    Raises:
        WorkerLost: a worker was killed. What `work` raises comes through as it is.
    """
    if workers == 1:
        yield from map(work, tasks)
        return
    # Spawned, not forked: the caller may hold threads (torch, rich), which a fork does not survive.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), context, initializer=_follow) as pool:
        try:
            yield from pool.map(work, tasks)
        except BrokenProcessPool:
            raise WorkerLost(
                "a worker that writes the release was killed",
                fix="free some memory and start again",
            ) from None
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _follow() -> None:
    """A worker whose parent was killed ends too, instead of waiting for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
