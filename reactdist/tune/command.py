"""`reactdist tune`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reactdist.config import load, to_yaml
from reactdist.evaluate.study import StudyResult
from reactdist.tune.settings import StudySettings


def run(
    config: Path,
    overrides: Sequence[str],
    dry_run: bool,
    address: str | None,
    tracking: str | None,
) -> None:
    """Resolve the study, run it, show its trials."""
    study = load(StudySettings, config, overrides)
    console = Console()
    if dry_run:
        from reactdist.tune.cost import estimate

        console.print(to_yaml(study), highlight=False, markup=False)
        console.print(estimate(study).text(), highlight=False)
        return
    from reactdist.tune.search import study_folder, tune

    result = tune(study, tracking=tracking, address=address)
    console.print(trials_table(result))
    stopped = sum(trial.stopped_early for trial in result.trials)
    steps = sum(trial.train_steps for trial in result.trials)
    everything = result.max_steps * len(result.trials)
    console.print(
        f"{len(result.trials)} trials in {result.wall_s:.0f} s, {stopped} stopped early: "
        f"{steps} of {everything} optimizer steps; best {result.best.trial}",
        highlight=False,
    )
    console.print(f"study: {study_folder(study)}", highlight=False)


def trials_table(result: StudyResult) -> Table:
    """Trials, best first."""
    table = Table(title=f"study {result.study}")
    table.add_column("trial")
    keys = list(result.trials[0].config) if result.trials else []
    for key in keys:
        table.add_column(key, justify="right")
    for name in ("objective", "FRCorr", "FRDist", "FRDiv", "epochs", "steps"):
        table.add_column(name, justify="right")
    table.add_column("end")
    for trial in result.trials:
        end = "failed" if trial.error else "stopped" if trial.stopped_early else "finished"
        table.add_row(
            trial.trial.removeprefix("trial-"),
            *(_short(trial.config.get(key)) for key in keys),
            _short(trial.objective),
            *(_short(trial.metrics.get(name)) for name in ("FRCorr", "FRDist", "FRDiv")),
            str(trial.epochs),
            str(trial.train_steps),
            end,
        )
    return table


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "-" if value is None else str(value)
