"""`reactdist runs`: the table of runs, and sending what a lost server has not taken."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look at runs.", invoke_without_command=True)

COLUMNS = {
    "name": "name",
    "kind": "kind",
    "status": "status",
    "params.model.task": "task",
    "params.loss.kl_weight": "kl_weight",
    "params.model.window_size": "window",
    "params.model.latent_dim": "latent",
    "metrics.epoch": "epoch",
    "metrics.best.objective": "objective",
    "metrics.best.FRCorr": "FRCorr",
    "metrics.best.FRDist": "FRDist",
    "metrics.best.FRDiv": "FRDiv",
    "metrics.best.FRSyn": "FRSyn",
}
"""Column of `runs_table` -> heading."""


@app.callback()
def table(
    context: typer.Context,
    experiment: Annotated[str | None, typer.Option(help="Experiment; default all.")] = None,
    sort: Annotated[
        str | None, typer.Option(help="Column, metric or parameter; -NAME for descending.")
    ] = None,
    filter: Annotated[
        str | None, typer.Option(help="MLflow's search syntax: metrics.`best.FRCorr` > 0.1")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Every column, as CSV.")] = False,
    tracking: Annotated[str | None, typer.Option(help="MLflow; default as for train.")] = None,
) -> None:
    """Table of runs, newest first."""
    if context.invoked_subcommand is not None:
        return
    from rich.console import Console
    from rich.table import Table

    from reactdist.tracking import prepare, runs_table, tracking_uri

    uri = tracking_uri(tracking)
    prepare(uri)
    frame = runs_table(uri, experiment, sort=sort, filter=filter)
    if csv:
        typer.echo(frame.to_csv(index=False), nl=False)
        return
    shown = [column for column in COLUMNS if column in frame]
    view = Table(title=f"{len(frame)} runs" + (f" of {experiment}" if experiment else ""))
    view.add_column("run")
    for column in shown:
        view.add_column(COLUMNS[column], justify="right" if "metrics" in column else "left")
    for _, row in frame.iterrows():
        view.add_row(row["run_id"][:8], *(_short(row[column]) for column in shown))
    Console().print(view)


@app.command()
def sync(
    spool: Annotated[Path, typer.Argument(help="mlspool folder, or one run's spool in it.")],
) -> None:
    """Send metrics and artifacts that wait because MLflow was away."""
    from reactdist.tracking import sync_spool

    for run_id, records in sync_spool(spool).items():
        typer.echo(f"{run_id}: {records} records sent")


def _short(value: object) -> str:
    if value is None or value != value:
        return "-"
    text = str(value)
    try:
        number = float(text)
    except ValueError:
        return text
    return text if text.isdigit() else f"{number:.4g}"
