"""`reactdist bench model`, `feed`, `quality` and `train`."""

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
    steps: Annotated[int, typer.Option(min=100, help="Optimizer steps of every run.")] = 300,
    step_ms: Annotated[float, typer.Option(help="Length of a plain step, about.")] = 100.0,
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 3,
) -> None:
    """Ray Train + DeepSpeed against a plain torch loop on CPU; some minutes."""
    from reactdist.train.bench import Sizes, run

    with tempfile.TemporaryDirectory(prefix="reactdist-bench-") as folder:
        sizes = Sizes(steps=steps, step_s=step_ms / 1e3, rounds=rounds)
        run(Path(folder), sizes, say=lambda line: typer.echo(line, err=True))


def bench_feed(
    shards: Annotated[str, typer.Argument(help="Folder or URI of built shards.")],
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda; default CUDA where there is one.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Items a step.")] = 4,
    crop: Annotated[int, typer.Option(min=16, help="Frames an item.")] = 256,
    workers: Annotated[
        list[int] | None, typer.Option(min=0, help="Loader processes; may be repeated.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps that are timed.")] = 30,
    bf16: Annotated[bool, typer.Option("--bf16", help="Forward pass in bfloat16.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Through torch.compile.")] = False,
) -> None:
    """How busy shards keep the online model's training steps, with some loader processes."""
    from reactdist.train.bench_feed import run

    run(
        shards,
        device=device,
        batch=batch,
        crop=crop,
        workers=workers or (0, 1, 2),
        steps=steps,
        bf16=bf16,
        compiled=compiled,
    )
