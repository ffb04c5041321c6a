"""Running shard tasks in processes of this machine, with a progress bar."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from reactdist.data.shard_task import ShardResult, ShardTask, run_task


def worker_context() -> Any:
    """Fork from a clean server process that has already imported the heavy parts."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reactdist.data.preload"])
    return context


def run_in_processes(tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardResult]:
    """Results of all tasks, as they finish."""
    with (
        progress(len(tasks), "building shards") as advance,
        ProcessPoolExecutor(min(workers, len(tasks)) or 1, mp_context=worker_context()) as pool,
    ):
        futures = [pool.submit(run_task, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class progress:
    """A rich progress bar on stderr that stays quiet where stderr is not a terminal."""

    def __init__(self, total: int, what: str) -> None:
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

        self._bar = Progress(
            *Progress.get_default_columns()[:2],
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Any:
        self._bar.start()
        return lambda: self._bar.advance(self._task)

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
