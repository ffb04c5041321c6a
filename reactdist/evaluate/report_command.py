"""`reactdist compare A B [C]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Two or three runs: id, beginning of the id, or name.")
    ],
    page: Annotated[
        Path | None, typer.Option(help="Also write an HTML page with the curves here.")
    ] = None,
    level: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Level of the intervals.")
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    tracking: Annotated[
        str | None,
        typer.Option(help="MLflow; default MLFLOW_TRACKING_URI, else mlflow.db in this folder."),
    ] = None,
) -> None:
    """Runs side by side: settings that differ, and which score differences are real."""
    from reactdist import terminal
    from reactdist.evaluate.report_compare import compare_runs, terminal_tables, write_comparison
    from reactdist.tracking import prepare, tracking_uri
    from reactdist.tracking.facts import read_run

    uri = tracking_uri(tracking)
    prepare(uri)
    comparison = compare_runs(
        [read_run(uri, reference) for reference in runs], seed=seed, level=level
    )
    console = terminal.console()
    for table in terminal_tables(comparison):
        console.print(table)
    if page is not None:
        console.print(f"curves: {write_comparison(page, comparison)}")
