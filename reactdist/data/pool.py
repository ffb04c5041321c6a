"""Work on many items in processes of this machine; one item cannot take the others down."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from reactdist.errors import InputError

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2
"""Items handed out for each worker: one it works on, one that waits for it."""


def run_all(
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    workers: int | None,
    what: str,
    crashed: Callable[[T], R],
) -> Iterator[R]:
    """`function(item)` of all items, as they finish; `crashed(item)` where the process died.

    `workers`: processes, as many as cores by default. Errors that `function` raises pass through.

    Raises:
        InputError: processes cannot be started at all.
    """
    waiting = deque(items)
    if dies(_nothing, None):
        # Workers import the main script again; without a guard each one starts the work anew.
        raise InputError(
            "worker processes cannot be started",
            fix='in a script of yours, call this under `if __name__ == "__main__":`',
        )
    with progress(len(items), what) as advance:
        while waiting:
            running: dict[Future[R], T] = {}
            size = min(workers or os.cpu_count() or 1, len(waiting))
            with _executor(size) as pool:
                try:
                    for result in _drain(pool, AHEAD * size, function, waiting, running):
                        yield result
                        advance()
                    return
                except BrokenProcessPool:
                    suspects = list(running.values())
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
            # A process died (a decoder fault, or killed for memory) and took the pool along; the
            # item at fault is one of those handed out, and shows itself when run alone.
            for item in suspects:
                yield run_alone(function, item, crashed)
                advance()


def dies(function: Callable[[T], Any], item: T) -> bool:
    """Whether `function(item)`, run alone in a process, ends the process."""
    with _executor(1) as pool:
        try:
            pool.submit(function, item).result()
        except BrokenProcessPool:
            return True
    return False


def _nothing(_: object) -> None:
    """What a worker can always do."""


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr, quiet where stderr is no terminal; yields its advance function."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def _executor(workers: int) -> ProcessPoolExecutor:
    """Workers forked from a clean server process that has already imported the heavy parts."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reactdist.data.preload"])
    return ProcessPoolExecutor(max(workers, 1), mp_context=context)


def _drain(
    pool: ProcessPoolExecutor,
    limit: int,
    function: Callable[[T], R],
    waiting: deque[T],
    running: dict[Future[R], T],
) -> Iterator[R]:
    """Hand out `waiting` a few at a time; `running` always holds what is handed out."""
    while waiting or running:
        while waiting and len(running) < limit:
            item = waiting.popleft()
            try:
                running[pool.submit(function, item)] = item
            except BrokenProcessPool:
                waiting.appendleft(item)
                raise
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            result = future.result()
            del running[future]
            yield result


def run_alone(function: Callable[[T], R], item: T, crashed: Callable[[T], R]) -> R:
    """`function(item)` in a process of its own, `crashed(item)` here if that process dies."""
    with _executor(1) as pool:
        try:
            return pool.submit(function, item).result()
        except BrokenProcessPool:
            return crashed(item)
