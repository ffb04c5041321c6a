"""`reactdist tune`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from reactdist.config import load, to_yaml
from reactdist.evaluate.study import StudyResult
from reactdist.terminal import console, short, table
from reactdist.tune.settings import StudySettings


def run(
    config: Path,
    overrides: Sequence[str],
    dry_run: bool,
    address: str | None,
    tracking: str | None,
    resume: bool = False,
) -> None:
    """Resolve the study, run it, show its trials."""
    study = load(StudySettings, config, overrides)
    out = console()
    if dry_run:
        from reactdist.tune.cost import estimate

        out.print(to_yaml(study), markup=False)
        out.print(estimate(study).text())
        return
    from reactdist.tune.search import study_folder, tune

    result = tune(study, tracking=tracking, address=address, resume=resume)
    out.print(trials_table(result))
    stopped = sum(trial.stopped_early for trial in result.trials)
    steps = sum(trial.train_steps for trial in result.trials)
    everything = result.max_steps * len(result.trials)
    out.print(
        f"{len(result.trials)} trials in {result.wall_s:.0f} s, {stopped} stopped early: "
        f"{steps} of {everything} optimizer steps; best {result.best.trial}"
    )
    gpus = f"{result.gpu_hours:.3g} GPU-hours, " if result.gpu_hours else ""
    out.print(f"trials held {gpus}{result.core_hours:.3g} core-hours")
    if result.ended_by:
        out.print(f"ended before all trials were run: {result.ended_by}")
    tradeoff = " and ".join(f"{how}. {name}" for name, how in result.pareto_metrics.items())
    out.print(f"*: no other trial is better in {tradeoff} together (Pareto set)")
    out.print(f"study: {study_folder(study)}")


def trials_table(result: StudyResult) -> Table:
    """Trials, best first."""
    view = table(f"study {result.study}")
    view.add_column("trial")
    keys = list(result.trials[0].config) if result.trials else []
    for key in keys:
        view.add_column(key.split(".")[-1], justify="right")
    shown = list(dict.fromkeys(["FRCorr", "FRDist", *result.pareto_metrics]))
    for name in ("objective", *shown, "epochs", "steps"):
        view.add_column(name, justify="right")
    view.add_column("end")
    for trial in result.trials:
        mark = "*" if trial.trial in result.pareto else ""
        view.add_row(
            trial.trial + mark,
            *(short(trial.config.get(key)) for key in keys),
            short(trial.objective),
            *(short(trial.metrics.get(name)) for name in shown),
            str(trial.epochs),
            str(trial.train_steps),
            trial.end,
        )
    return view
