"""The command line. Heavy libraries are imported only inside the command that needs them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import typer.exceptions

from reactdist import __version__
from reactdist.errors import InputError, ReactdistError, failure_elsewhere
from reactdist.terminal import VERBOSE

if TYPE_CHECKING:
    from reactdist.evaluate.blocks import Runner

app = typer.Typer(
    name="reactdist",
    help="Train, tune, compare, promote and evaluate facial-reaction models (REACT 2024).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting, for example --set optimizer.lr=1e-4."),
]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster to use; default RAY_ADDRESS, else this machine."),
]
Ray = Annotated[
    bool, typer.Option("--ray", help="Use Ray on this machine where no cluster is given.")
]
Tracking = Annotated[
    str | None,
    typer.Option(help="MLflow; default MLFLOW_TRACKING_URI, else mlflow.db in this folder."),
]
Shards = Annotated[
    str | None,
    typer.Option(help="What `data build` wrote, a folder or s3://; default what it trained on."),
]


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


def _block_runner(address: str | None, ray: bool) -> AbstractContextManager[Runner]:
    from reactdist.distributed.blocks import block_runner

    return block_runner(address, ray)


@app.callback()
def _root(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    # Commands of lower packages, which know no cluster, find here how to get one.
    context.obj = _block_runner
    if verbose:
        os.environ[VERBOSE] = "1"
    level = logging.DEBUG if verbose else logging.WARNING
    logging.basicConfig(format="%(message)s", level=logging.WARNING, force=True)
    # On the handler, since a run's own log file takes more than the terminal shows.
    terminal = logging.getLogger().handlers[0]
    terminal.setLevel(level)
    # Lines that a run's display says too (reactdist/train/logfile.py).
    terminal.addFilter(lambda record: not getattr(record, "shown", False))
    logging.getLogger("reactdist").setLevel(level)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="YAML of differences from the defaults.")],
    overrides: Set = None,
    best_of: Annotated[
        Path | None, typer.Option(help="Study folder whose best trial's settings are used.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Store a torch profiler trace of steps a:b, from 1.")
    ] = None,
    address: Address = None,
    tracking: Tracking = None,
) -> None:
    """Train a model, or resume it: the same command goes on from the last checkpoint."""
    from reactdist.config import load
    from reactdist.train.command import run
    from reactdist.train.settings import TrainSettings
    from reactdist.tune.space import with_best

    # Quoted: YAML reads 3:6 as a number of base 60.
    given = [*(overrides or []), *([f"profile='{profile}'"] if profile else [])]
    settings = load(TrainSettings, config, given)
    run(with_best(settings, best_of) if best_of else settings, address, tracking)


@app.command()
def tune(
    config: Annotated[Path, typer.Argument(help="YAML of a study.")],
    overrides: Set = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved study and its cost, run nothing.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the settings the study of this name has."),
    ] = False,
    address: Address = None,
    tracking: Tracking = None,
) -> None:
    """Search for good settings, or resume a search with the same command."""
    from reactdist.tune.command import run

    run(config, overrides or [], dry_run, address, tracking, resume)


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help="Run id, models:/NAME@ALIAS, exported folder or checkpoint.")
    ],
    shards: Shards = None,
    split: Annotated[str, typer.Option(help="val or test.")] = "val",
    frames: Annotated[int | None, typer.Option(help="First frames of every clip.")] = None,
    items: Annotated[int | None, typer.Option(help="Size of a seeded subset.")] = None,
    samples: Annotated[int, typer.Option(help="Reactions an item.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    control: Annotated[
        bool, typer.Option("--control", help="Also show the model unrelated speakers.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for predictions, per-item scores and report.")
    ] = None,
    study: Annotated[
        Path | None, typer.Option(help="Study folder whose search the report shows.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Exit 1 unless it beats the naive baselines and uses the speaker."
        ),
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="MODEL is an original .pth of the challenge.")
    ] = False,
    window_size: Annotated[
        int, typer.Option(help="Window of a published online model; its file does not tell.")
    ] = 16,
    yes_i_know: Annotated[
        bool, typer.Option("--yes-i-know", help="Use the test split before promotion.")
    ] = False,
    block_items: Annotated[
        int, typer.Option(min=1, help="Items of a block: what is lost at most when killed.")
    ] = 8,
    ray: Ray = False,
    address: Address = None,
    tracking: Tracking = None,
) -> None:
    """Generate ten reactions an item and score them beside the naive baselines.

    Killed, the same command goes on with the blocks of items that are missing.
    """
    from reactdist.evaluate.command import Request, import_published, run

    if published:
        if shards is None:
            raise InputError("--published needs shards", where=model, fix="give --shards")
        model = str(import_published(Path(model), shards, window_size))
    request = Request(
        model,
        shards,
        split,
        frames,
        items,
        samples,
        seed,
        control or check,
        out,
        study,
        check,
        yes_i_know,
        block_items,
    )
    with _block_runner(address, ray) as runner:
        run(request, tracking, runner)


@app.command()
def promote(
    shards: Shards = None,
    experiment: Annotated[
        str, typer.Option(help="Experiment whose best run is put forward.")
    ] = "reactdist",
    run: Annotated[
        str | None,
        typer.Option(help="Put this run forward instead: id, beginning of the id, or name."),
    ] = None,
    filter: Annotated[
        str | None, typer.Option(help="Only runs that match, in MLflow's search syntax.")
    ] = None,
    name: Annotated[str, typer.Option(help="Registered model.")] = "reactdist",
    alias: Annotated[str, typer.Option(help="Alias that moves.")] = "champion",
    metric: Annotated[
        str | None, typer.Option(help="Metric that must improve; default FRCorr.")
    ] = None,
    gate: Annotated[Path | None, typer.Option(help="YAML of the gate's settings.")] = None,
    overrides: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Promote though a check fails.")] = False,
    reason: Annotated[str, typer.Option(help="Why; goes into the record.")] = "",
    tracking: Tracking = None,
) -> None:
    """Put the best run forward: checked, registered, and the alias moved to it."""
    from reactdist.promote import command

    request = command.Request(
        shards,
        experiment,
        run,
        filter,
        name,
        alias,
        metric,
        gate,
        overrides or [],
        force,
        reason,
    )
    command.run(request, tracking)


@app.command()
def rollback(
    name: Annotated[str, typer.Option(help="Registered model.")] = "reactdist",
    alias: Annotated[str, typer.Option(help="Alias that goes back.")] = "champion",
    reason: Annotated[str, typer.Option(help="Why; goes into the record.")] = "",
    tracking: Tracking = None,
) -> None:
    """Let the alias mean the version it meant before."""
    from reactdist.promote.command import roll_back

    roll_back(name, alias, reason, tracking)


@app.command(context_settings={"ignore_unknown_options": True})
def submit(
    job: Annotated[str, typer.Argument(help="build, train, tune, evaluate or promote.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="What that command takes: CONFIG, --set, ...")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Dashboard of the cluster; default RAY_API_SERVER_ADDRESS, else here."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Print its log until it ends.")] = False,
) -> None:
    """Run a command as a job of a Ray cluster; prints the job's id."""
    from reactdist.distributed import submit as jobs

    typer.echo(jobs.submit(job, arguments or [], address=address, follow=follow))


@app.command()
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep what an earlier, interrupted demo finished.")
    ] = False,
) -> None:
    """From nothing to a finished small study; exits 1 if one of its checks fails."""
    from reactdist.demo import run

    run(keep=keep)


@app.command()
def stream(
    model: Annotated[str, typer.Argument(help="Run id, models:/NAME@ALIAS, or exported folder.")],
    video: Annotated[Path, typer.Option(help="mp4 of one face.")],
    audio: Annotated[
        Path | None, typer.Option(help="wav; default the video's own sound, else silence.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the reactions.")] = Path("stream"),
    samples: Annotated[int, typer.Option(help="Reactions at a time.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    tracking: Tracking = None,
) -> None:
    """React to a video file window by window, as if it came from a camera."""
    import numpy as np

    from reactdist.checkpoints.export import load_config, load_exported
    from reactdist.evaluate.command import model_folder
    from reactdist.models.stream_command import run

    folder = model_folder(model, tracking)
    mean_face = np.array(load_config(folder).get("mean_face") or [0.0] * 58, np.float32)
    run(
        load_exported(folder),
        video,
        audio,
        out,
        num_samples=samples,
        seed=seed,
        mean_face=mean_face,
    )


@app.command()
def doctor(tracking: Tracking = None, address: Address = None) -> None:
    """What works here: versions, GPU, Ray, MLflow, storage."""
    from reactdist.doctor import run

    run(tracking, address)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; errors meant for users are one line, the exit code says which kind."""
    _add_groups()
    try:
        code = app(args=arguments, standalone_mode=False)
    except ReactdistError as error:
        typer.echo(f"reactdist: {error.line()}", err=True)
        code = error.exit_code
    except typer.exceptions.TyperException as error:
        # Typer's own copy of click raises these; without arguments the message is the help.
        message = str(getattr(error, "message", error))
        whole = "Usage:" in message
        typer.echo(message if whole else f"reactdist: {_said(error)} - see --help", err=True)
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("reactdist: interrupted", err=True)
        code = 130
    except BrokenPipeError:
        code = 0
    except Exception as error:
        line = failure_elsewhere(error)
        if line is None:
            raise
        typer.echo(f"reactdist: {line}", err=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _said(error: Exception) -> str:
    """A parser error as click words it, in one line."""
    worded = getattr(error, "format_message", error.__str__)
    return " ".join(str(worded()).split())


def _add_groups() -> None:
    """Register commands that live beside the package they belong to (light modules all)."""
    from reactdist.data.commands import app as data
    from reactdist.data.synth.command import synth
    from reactdist.distributed.build_command import build
    from reactdist.evaluate.bench import app as bench
    from reactdist.evaluate.report_command import compare
    from reactdist.evaluate.score import score_command
    from reactdist.tracking.bench import runs as bench_runs
    from reactdist.tracking.command import app as runs
    from reactdist.tracking.command import gc
    from reactdist.train.bench_command import bench_feed, bench_model, bench_quality, bench_train
    from reactdist.tune.bench_command import bench_tune

    app.add_typer(runs, name="runs")
    data.command("synth")(synth)
    data.command("build")(build)
    app.add_typer(data, name="data")
    app.command("score")(score_command)
    app.command("compare")(compare)
    app.command("gc")(gc)
    app.add_typer(bench, name="bench")
    bench.command("model")(bench_model)
    bench.command("feed")(bench_feed)
    bench.command("runs")(bench_runs)
    bench.command("quality")(bench_quality)
    bench.command("train")(bench_train)
    bench.command("tune")(bench_tune)


if __name__ == "__main__":
    main()
