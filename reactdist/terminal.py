"""Where commands print: tables that fit 80 columns, and that survive being sent to a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

_FILE_COLUMNS = 120
VERBOSE = "REACTDIST_VERBOSE"
"""Environment variable that `-v` sets, so that processes started for the command know too."""


def verbose() -> bool:
    """Whether libraries may say what they like."""
    return os.environ.get(VERBOSE) == "1"


def console() -> Console:
    """Standard output; wide where it is no terminal, so that nothing is cut or wrapped."""
    return Console(width=None if sys.stdout.isatty() else _FILE_COLUMNS, highlight=False)


def table(title: str) -> Table:
    """A table without borders, which leaves the columns to the numbers."""
    return Table(
        title=title,
        box=None,
        header_style="bold",
        title_justify="left",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def short(value: object) -> str:
    """A cell: three significant digits of a number, `-` for nothing."""
    if value is None or value != value:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@contextmanager
def passes(*, lines: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Progress of several passes over items: a function of (what is done, items done, of all).

    A bar a pass on a terminal; elsewhere nothing, or with `lines` a line now and then (the log of
    a job).
    """
    shown = sys.stderr.isatty()
    with Progress(console=Console(stderr=True), transient=True, disable=not shown) as bars:
        tasks: dict[str, TaskID] = {}
        said: dict[str, int] = {}

        def tick(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)
            tenth = 10 * done // total
            if lines and not shown and tenth > said.get(what, -1):
                said[what] = tenth
                print(f"{what}: {done} of {total} items", file=sys.stderr, flush=True)

        yield tick
