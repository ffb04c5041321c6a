"""Where commands print: tables that fit 80 columns, and that survive being sent to a file."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

_FILE_COLUMNS = 120


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
