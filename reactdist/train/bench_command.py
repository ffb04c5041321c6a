"""`reactdist bench model`, `quality` and `train`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer


def bench_model(
    threads: Annotated[int | None, typer.Option(help="CPU threads; default torch's.")] = None,
) -> None:
    """TransVAE against the published arithmetic written plainly."""
    from reactdist.models.bench import run

    run(threads=threads)


def bench_quality(
    config: Annotated[Path, typer.Argument(help="YAML of a comparison.")] = Path(
        "configs/quality.yaml"
    ),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting of the comparison.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the data and the runs.")] = Path("quality"),
    rows: Annotated[Path, typer.Option(help="JSON lines; what has a row is not run again.")] = Path(
        "reactdist/train/quality.jsonl"
    ),
) -> None:
    """Train several models alike on generated clips, score them beside the naive baselines."""
    from reactdist.config import load
    from reactdist.train.quality import QualitySettings, compare, markdown

    typer.echo(markdown(compare(load(QualitySettings, config, overrides or []), out, rows)))


def bench_train(
    steps: Annotated[int, typer.Option(min=40, help="Optimizer steps of every run.")] = 120,
    step_ms: Annotated[float, typer.Option(help="Length of a plain step, about.")] = 100.0,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 3,
) -> None:
    """Ray Train + DeepSpeed against a plain torch loop on CPU; some minutes."""
    from reactdist.train.bench import Sizes, run

    with tempfile.TemporaryDirectory(prefix="reactdist-bench-") as folder:
        sizes = Sizes(steps=steps, step_s=step_ms / 1e3, rounds=rounds)
        run(Path(folder), sizes, say=lambda line: typer.echo(line, err=True))
