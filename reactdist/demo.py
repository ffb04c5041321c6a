"""`make demo`: the commands of the README, one after the other, and the checks at their end.

Every step is the command a reader could type; only what decides whether the demo held is here.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from reactdist.errors import GateNotMet, InputError
from reactdist.evaluate.study import StudyResult, read_study

FOLDER = Path("demo")
EXPERIMENT = "reactdist-demo"
MODEL = "reactdist-demo"
ENGINE = "deepspeed.DeepSpeedEngine"


@dataclass(frozen=True)
class Step:
    """One command and what it is for."""

    title: str
    command: str
    once: Path | None = None
    """What it makes and would refuse to make again; the other steps find their work done."""


STEPS = (
    Step(
        "Write a generated release in the published files",
        "reactdist data synth demo/release --pairs 48 --frames 250 --seed 0",
        once=FOLDER / "release",
    ),
    Step("Check it", "reactdist data check demo/release"),
    Step(
        "Build Parquet shards of 64x64 clips",
        "reactdist data build demo/release demo/shards --image-size 64",
    ),
    Step(
        "Search KL weight, window and latent size of the online TransVAE",
        "reactdist tune configs/demo/study.yaml",
    ),
    Step(
        "Train the best setting on two DeepSpeed workers with Ray Train",
        "reactdist train configs/demo/best.yaml --best-of demo/runs/search",
    ),
    Step("Train an offline TransVAE, briefly", "reactdist train configs/demo/offline.yaml"),
    Step(
        "Compare the runs",
        f"reactdist runs --experiment {EXPERIMENT} --sort -metrics.best.objective --no-intervals",
    ),
    Step(
        "Promote the best online model",
        f"reactdist promote --experiment {EXPERIMENT} --name {MODEL} "
        "--filter \"params.`model.task` = 'online'\"",
    ),
    Step(
        "Evaluate the champion on the test split",
        f"reactdist evaluate models:/{MODEL}@champion --split test "
        "--control --check --study demo/runs/search --out demo/test",
    ),
)


@dataclass(frozen=True)
class Check:
    """Something the demo promises."""

    name: str
    passed: bool
    detail: str


def run(*, keep: bool) -> None:
    """Run all steps, then the checks.

    Raises:
        InputError: not in the repository's folder.
        GateNotMet: a step failed or a check came out false.
    """
    if not Path("configs/demo/study.yaml").exists():
        raise InputError("configs/demo is not here", where=Path.cwd(), fix="run in the repository")
    if not keep and FOLDER.exists():
        shutil.rmtree(FOLDER)
    FOLDER.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "MLFLOW_TRACKING_URI": tracking_uri(),
    }
    console = Console()
    times: list[tuple[str, float]] = []
    failed = ""
    for number, step in enumerate(STEPS, 1):
        console.rule(f"{number}/{len(STEPS)} {step.title}")
        console.print(f"$ {step.command}", style="bold", highlight=False, soft_wrap=True)
        if step.once is not None and step.once.exists():
            console.print("kept")
            continue
        started = time.perf_counter()
        code = subprocess.run(shlex.split(step.command), env=environment, check=False).returncode
        times.append((step.title, time.perf_counter() - started))
        if code:
            failed = f"step {number} ({step.title}) ended with exit code {code}"
            break
    _print_times(console, times)
    if failed:
        raise GateNotMet(failed, where=FOLDER, fix="see the line above")
    checks = list(study_checks())
    for check in checks:
        mark = "[green]pass[/]" if check.passed else "[red]FAIL[/]"
        console.print(f"{mark} {check.name}: {check.detail}", highlight=False)
    broken = [check for check in checks if not check.passed]
    if broken:
        raise GateNotMet(f"{broken[0].name}: {broken[0].detail}", where=FOLDER)
    uri = environment["MLFLOW_TRACKING_URI"]
    console.print(f"\nreport: {(FOLDER / 'test' / 'report.html').resolve()}", soft_wrap=True)
    console.print(
        f"MLflow:  .venv/bin/mlflow ui --backend-store-uri {uri}", highlight=False, soft_wrap=True
    )


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI where set, else a database beside the demo's other files."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{FOLDER.resolve()}/mlflow.db"


def study_checks() -> Iterator[Check]:
    """That every real part took part: Ray Tune with ASHA, DeepSpeed, Ray Train, MLflow."""
    study = read_study(FOLDER / "runs" / "search")
    yield _trials(study)
    yield _stopped(study)
    engines = {t.trial: _training_facts(Path(t.folder) / "best") for t in study.trials}
    said = {(e["engine"], e["zero_stage"], e["world_size"]) for e in engines.values()}
    yield Check(
        "every trial trains through DeepSpeed",
        all(engine == ENGINE for engine, _, _ in said),
        "; ".join(f"{e}, ZeRO stage {z}, {w} worker(s)" for e, z, w in sorted(said)),
    )
    two = _training_facts(FOLDER / "runs" / "best-2-workers" / "best")
    yield Check(
        "Ray Train on two DeepSpeed workers",
        two["engine"] == ENGINE and two["world_size"] == 2,
        f"{two['engine']}, ZeRO stage {two['zero_stage']}, {two['world_size']} workers",
    )
    yield _recorded(study)


def _trials(study: StudyResult) -> Check:
    count = len(study.trials)
    return Check("at least 4 trials", count >= 4, f"{count} trials")


def _stopped(study: StudyResult) -> Check:
    stopped = [t for t in study.trials if t.stopped_early and t.train_steps < study.max_steps]
    detail = ", ".join(f"{t.trial} after {t.train_steps} of {study.max_steps}" for t in stopped)
    return Check("ASHA stopped a trial early", bool(stopped), f"{detail or 'none'} steps")


def _training_facts(exported: Path) -> dict[str, object]:
    facts: dict[str, object] = yaml.safe_load((exported / "config.yaml").read_text())
    return facts


def _recorded(study: StudyResult) -> Check:
    """A parent, a child a trial, and on each what the README promises."""
    from reactdist.tracking import runs_table
    from reactdist.tracking.download import download_artifact

    uri = tracking_uri()
    table = runs_table(uri, EXPERIMENT, filter=f"tags.`reactdist.engine` = '{ENGINE}'")
    children = table[table["parent"] == study.run_id]
    stored = ("config.yaml", "exported/model.safetensors", "predictions/predictions.parquet")
    missing = []
    for run_id in children["run_id"]:
        for path in stored:
            try:
                download_artifact(uri, run_id, path)
            except InputError as error:
                missing.append(error.line())
    evaluated = json.loads((FOLDER / "test" / "evaluation.json").read_text())
    passed = len(children) == len(study.trials) and not missing and bool(evaluated["items"])
    detail = f"{len(children)} child runs of {len(study.trials)} trials"
    return Check("MLflow holds every trial", passed, "; ".join([detail, *missing[:1]]))


def _print_times(console: Console, times: list[tuple[str, float]]) -> None:
    table = Table(title="time of each step")
    table.add_column("step")
    table.add_column("s", justify="right")
    for title, seconds in times:
        table.add_row(title, f"{seconds:.0f}")
    table.add_row("all", f"{sum(seconds for _, seconds in times):.0f}", style="bold")
    console.print(table)
