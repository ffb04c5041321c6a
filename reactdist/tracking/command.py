"""`reactdist runs`, `runs sync` and `gc`: the record, what it lacks, and what nobody needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reactdist.terminal import short

Tracking = Annotated[str | None, typer.Option(help="MLflow; default as for train.")]
app = typer.Typer(help="Look at runs.", invoke_without_command=True)

COLUMNS = {
    "name": "name",
    "status": "status",
    "params.model.task": "task",
    "params.loss.kl_weight": "kl",
    "params.model.window_size": "window",
    "params.model.latent_dim": "latent",
    "metrics.epoch": "epoch",
    "metrics.best.objective": "objective",
    "metrics.best.FRCorr": "FRCorr",
    "metrics.best.FRDist": "FRDist",
}
"""Column of `runs_table` -> heading."""


WITH_INTERVAL = ("FRCorr", "FRDist")
"""Metrics shown with the ends of their 95% interval over sessions."""


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
    limit: Annotated[int, typer.Option(min=1, help="Rows shown.")] = 30,
    intervals: Annotated[bool, typer.Option(help="Show confidence intervals.")] = True,
    csv: Annotated[bool, typer.Option("--csv", help="Every column and row, as CSV.")] = False,
    tracking: Tracking = None,
) -> None:
    """Table of runs, newest first."""
    if context.invoked_subcommand is not None:
        return
    from rich.markup import escape

    from reactdist import terminal
    from reactdist.tracking import prepare, runs_table, tracking_uri

    uri = tracking_uri(tracking)
    prepare(uri)
    frame = runs_table(uri, experiment, sort=sort, filter=filter)
    if csv:
        typer.echo(frame.to_csv(index=False), nl=False)
        return
    shown = [column for column in COLUMNS if column in frame]
    few = f", {limit} shown" if len(frame) > limit else ""
    view = terminal.table(f"{len(frame)} runs" + (f" of {experiment}" if experiment else "") + few)
    view.add_column("run")
    for column in shown:
        view.add_column(COLUMNS[column], justify="right" if "metrics" in column else "left")
    for _, row in frame.head(limit).iterrows():
        ends = _interval_ends(uri, row["run_id"]) if intervals else {}
        cells = (_short(row[column]) + ends.get(COLUMNS[column], "") for column in shown)
        view.add_row(row["run_id"][:8], *map(escape, cells))
    terminal.console().print(view)


@app.command()
def sync(
    spool: Annotated[Path, typer.Argument(help="mlspool folder, or one run's spool in it.")],
) -> None:
    """Send metrics and artifacts that wait because MLflow was away."""
    from reactdist.tracking import sync_spool

    for run_id, records in sync_spool(spool).items():
        typer.echo(f"{run_id}: {records} records sent")


def gc(
    experiment: Annotated[str, typer.Option(help="Experiment to clean.")] = "reactdist",
    keep_best: Annotated[int, typer.Option(min=0, help="Best runs that keep checkpoints.")] = 3,
    metric: Annotated[str, typer.Option(help="Best by this metric, higher is better.")] = (
        "best.objective"
    ),
    days: Annotated[float, typer.Option(min=0, help="Keep runs that ended less long ago.")] = 7.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run/--remove", help="Only say what would go, or remove it.")
    ] = True,
    tracking: Tracking = None,
) -> None:
    """Training checkpoints that nobody needs any more; promoted runs keep theirs always."""
    from rich.markup import escape

    from reactdist import terminal
    from reactdist.tracking import prepare, tracking_uri
    from reactdist.tracking.garbage import plan_for, remove

    uri = tracking_uri(tracking)
    prepare(uri)
    plan = plan_for(uri, experiment, metric=metric, keep_best=keep_best, min_age_days=days)
    view = terminal.table(f"Checkpoints of {experiment}")
    for heading in ("run", "MB", "", "why", "folder"):
        view.add_column(heading, overflow="fold", justify="right" if heading == "MB" else "left")
    for decision in plan:
        stored = decision.stored
        word = "[red]remove[/]" if decision.remove else "keep"
        size = f"{stored.size_bytes / 1e6:.1f}"
        view.add_row(escape(stored.name), size, word, decision.reason, escape(str(stored.folder)))
    console = terminal.console()
    console.print(view)
    freed_bytes = sum(d.stored.size_bytes for d in plan if d.remove)
    if dry_run:
        console.print(f"{freed_bytes / 1e6:.1f} MB would be freed; --remove does it")
        return
    remove(uri, plan)
    console.print(f"{freed_bytes / 1e6:.1f} MB freed")


def _interval_ends(uri: str, run_id: str) -> dict[str, str]:
    """Heading -> " [low, high]" of the metrics that a run has per-item scores of."""
    from reactdist.metrics.intervals import bootstrap_interval
    from reactdist.tracking.facts import read_items

    items = read_items(uri, run_id)
    ends = {}
    for name in WITH_INTERVAL:
        if items is not None and name in items:
            values, sessions = items[name].to_numpy(), items["session"].to_numpy()
            interval = bootstrap_interval(values, sessions, seed=0)
            ends[name] = f" [{interval.low:.4g}, {interval.high:.4g}]"
    return ends


def _short(value: object) -> str:
    """Parameters are text; numbers among them are shown as numbers."""
    text = str(value)
    if isinstance(value, str) and not text.isdigit():
        try:
            value = float(text)
        except ValueError:
            return text or "-"
    return short(value)
