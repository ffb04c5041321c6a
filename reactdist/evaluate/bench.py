"""`reactdist bench`: what the project claims to be fast, measured where it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("metrics")
def bench_metrics(
    items: Annotated[int, typer.Option(min=2, help="N, items.")] = 16,
    samples: Annotated[int, typer.Option(min=1, help="K, predictions an item.")] = 10,
    frames: Annotated[int, typer.Option(min=51, help="T, frames a clip.")] = 750,
    neighbours: Annotated[int, typer.Option(min=1, help="Appropriate clips an item.")] = 12,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, no table.")] = False,
) -> None:
    """The metric suite against tslearn's dtw and numpy's corrcoef, a core against a core."""
    import os

    # Read by the numeric libraries when they are first imported, which is below.
    os.environ["OMP_NUM_THREADS"] = "1"
    import json
    import sys
    from dataclasses import asdict

    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from reactdist.metrics.bench import made_up, measure
    from reactdist.metrics.suite import METRICS

    with Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task("measuring", total=len(METRICS))
        rows = measure(
            made_up(items, samples, frames, neighbours), on_row=lambda: progress.advance(task)
        )
    if as_json:
        typer.echo(json.dumps({row.name: asdict(row) for row in rows}, indent=2))
        return
    table = Table(box=None, header_style="bold")
    table.add_column("metric")
    for heading in ("plain, ms an item", "ours", "ratio", "unpruned", "ratio"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.plain * 1e3:.0f}",
            f"{row.fast * 1e3:.2f}",
            f"{row.plain / row.fast:.0f}x",
            f"{row.unpruned * 1e3:.2f}",
            f"{row.plain / row.unpruned:.0f}x",
        )
    Console(width=100, highlight=False).print(table)
    typer.echo(f"N={items} K={samples} T={frames}, {neighbours} neighbours; one core")


@app.command("problem")
def bench_problem(
    out: Annotated[Path, typer.Argument(help="Folder for the four npy files.")],
    noise: Annotated[
        bool, typer.Option("--noise", help="Uniform noise; default is motion like people's.")
    ] = False,
    items: Annotated[int, typer.Option(min=1, help="N, items.")] = 1124,
    samples: Annotated[int, typer.Option(min=1, help="K, predictions an item.")] = 10,
    frames: Annotated[int, typer.Option(min=2, help="T, frames a clip.")] = 750,
    neighbours: Annotated[int, typer.Option(min=1, help="Appropriate clips an item.")] = 30,
    seed: Annotated[int, typer.Option(help="Seed of what is made up.")] = 0,
) -> None:
    """Write a made-up problem of the validation split's size, to time `reactdist score` on."""
    from reactdist.data.pool import progress
    from reactdist.metrics import bench

    with progress(items, "writing") as advance:
        bench.write_problem(
            out,
            bench.noise if noise else bench.motion,
            items=items,
            samples=samples,
            frames=frames,
            neighbours=neighbours,
            seed=seed,
            on_item=advance,
        )
    files = " ".join(
        f"--{name} {out / name}.npy"
        for name in ("predictions", "listeners", "speakers", "neighbours")
    )
    typer.echo(f"reactdist score {files}")
