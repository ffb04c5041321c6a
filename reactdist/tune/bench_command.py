"""`reactdist bench tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench_tune(
    seeds: Annotated[int, typer.Option(min=2, help="Searches of each kind.")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the picture and the numbers behind it.")
    ] = None,
    overhead: Annotated[
        bool, typer.Option("--overhead", help="Measure what a trial costs beside its training.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(help="Record the learning curves (again) with files in this folder."),
    ] = None,
) -> None:
    """Random, TPE and TPE with ASHA searched over recorded learning curves."""
    if record is not None:
        from reactdist.tune.curves import CURVES
        from reactdist.tune.record import record as record_curves

        record_curves(record, CURVES, typer.echo)
    elif overhead:
        _print_overhead()
    else:
        _print_comparison(seeds, out)


def _print_overhead() -> None:
    import tempfile

    from reactdist.tune.overhead import TRIALS, measure_overhead

    with tempfile.TemporaryDirectory() as folder:
        found = measure_overhead(Path(folder))
    typer.echo(
        f"a trial takes {found.trial_s:.2f} s, {found.work_s:.2f} s of it steps and evaluations: "
        f"overhead {found.overhead_s:.2f} s; the same run without a search takes "
        f"{found.alone_s:.2f} s ({TRIALS} trials, one at a time, actors reused; medians)"
    )


def _print_comparison(seeds: int, out: Path | None) -> None:
    import sys

    from rich.console import Console
    from rich.progress import Progress

    from reactdist.terminal import console
    from reactdist.tune.bench import METHODS, compare_searches
    from reactdist.tune.bench_table import comparison_table, summary, write_comparison

    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task("searching", total=seeds * len(METHODS))
        found = compare_searches(seeds, on_done=lambda: progress.advance(task))
    shown = console()
    shown.print(comparison_table(found))
    for line in summary(found):
        shown.print(line)
    if out is not None:
        for path in write_comparison(out, found):
            shown.print(str(path))
