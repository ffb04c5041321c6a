"""`reactdist score`: anybody's predictions against the real reactions.

Nothing heavy is imported before the command runs.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import pandas as pd

    from reactdist.evaluate.blocks import Runner
    from reactdist.metrics.intervals import Interval

FRREA_MISSING = "not computed: needs Inception weights"

Clip = Annotated[Path, typer.Option(help="(N,T,25): an npy file or a folder of one npy an item.")]


def score_command(
    context: typer.Context,
    predictions: Annotated[
        Path, typer.Option(help="(N,K,T,25): npy file, folder of one npy an item, or our Parquet.")
    ],
    listeners: Clip,
    speakers: Clip,
    neighbours: Annotated[
        Path, typer.Option(help="(N,N) npy of 0 and 1; row i: whose listeners suit item i.")
    ],
    metric: Annotated[
        list[str] | None, typer.Option(help="Only this metric; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, no table.")] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Also run the plain tslearn/numpy arithmetic.")
    ] = False,
    ci: Annotated[
        bool, typer.Option("--ci", help="95 % confidence intervals over sessions.")
    ] = False,
    sessions: Annotated[
        Path | None,
        typer.Option(help="For --ci: a pair list (csv), or a text file of one label an item."),
    ] = None,
    seed: Annotated[int, typer.Option(help="For --ci: seed of the bootstrap.")] = 0,
    binarize_au: Annotated[
        bool, typer.Option("--binarize-au", help="Make predicted action units 0 or 1 at 0.5.")
    ] = False,
    items_out: Annotated[
        Path | None, typer.Option(help="Write the values of every item to this Parquet file.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Default: OMP_NUM_THREADS, else all processors.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where DTW and Inception run: cpu, or cuda when there is a GPU.")
    ] = "cpu",
    predicted_frames: Annotated[
        Path | None, typer.Option(help="For FRRea: folder of rendered clips, mp4 or npy.")
    ] = None,
    real_frames: Annotated[
        Path | None, typer.Option(help="For FRRea: folder of real listener clips.")
    ] = None,
    inception: Annotated[
        Path | None, typer.Option(help="For FRRea: pt_inception-2015-12-05-6726825d.pth.")
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Use Ray on this machine where no cluster is given.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to use; default RAY_ADDRESS, else no Ray.")
    ] = None,
) -> None:
    """Score predictions: FRCorr, FRDist, FRDiv, FRVar, FRDvs, FRSyn, ACC; FRRea from frames.

    With Ray the items are scored in blocks all over the cluster, which must see the files; with
    --items-out the same command goes on after a kill.
    """
    import numpy as np

    from reactdist.errors import InputError
    from reactdist.evaluate.clip_files import open_clips, open_npy
    from reactdist.metrics.intervals import metric_intervals
    from reactdist.metrics.suite import reduce_items, score_items

    if ci and sessions is None:
        raise InputError(
            "--ci needs to know which items belong together",
            fix="add --sessions with the pair list (val.csv) or one label an item",
        )
    if any((predicted_frames, real_frames, inception)) and not (
        predicted_frames and real_frames and inception
    ):
        raise InputError(
            "FRRea needs two folders of clips and the weights",
            fix="give --predicted-frames, --real-frames and --inception",
        )
    if items_out is not None and not items_out.absolute().parent.is_dir():
        raise InputError("its folder does not exist", where=items_out, fix="make the folder")
    check_device(device)
    on_ray = ray or address or os.environ.get("RAY_ADDRESS")
    if on_ray and (device != "cpu" or threads):
        raise InputError(
            "--device and --threads are for this process", fix="leave them out, or Ray"
        )
    given = open_clips(predictions)
    truth = (open_clips(listeners), open_clips(speakers), np.asarray(open_npy(neighbours)))
    labels = read_sessions(sessions, truth[0].shape[0]) if sessions else None
    options: dict[str, Any] = {"metrics": metric or None, "binarize_au": binarize_au}

    if on_ray:
        paths = (predictions, listeners, speakers, neighbours)
        with context.obj(address, ray) as runner:
            table = _by_blocks(paths, items_out, runner, options)
    else:
        table = _with_progress(
            "scoring",
            given.shape[0],
            lambda tick: score_items(
                given, *truth, **options, threads=threads, device=device, on_item=tick
            ),
        )
    scores = reduce_items(table, num_samples=given.shape[1])
    if predicted_frames and real_frames and inception:
        scores["FRRea"] = _realism(predicted_frames, real_frames, inception, device)
    plain: dict[str, float] = {}
    if reference:
        from reactdist.metrics.plain import plain_score

        plain = _with_progress(
            "plain arithmetic",
            given.shape[0],
            lambda tick: plain_score(given, *truth, **options, on_item=tick),
        )
    intervals: dict[str, Interval] = {}
    if ci and labels is not None:
        intervals = metric_intervals(
            table,
            given,
            labels,
            seed=seed,
            frames=min(given.shape[2], truth[0].shape[1], truth[1].shape[1]),
            binarize_au=binarize_au,
        )
    if items_out is not None:
        table.to_parquet(items_out, index=False)
        shutil.rmtree(_unfinished(items_out), ignore_errors=True)
    if as_json:
        _print_json(scores, plain, intervals)
    else:
        _print_table(scores, plain, intervals)


def check_device(device: str) -> None:
    """InputError unless torch has the device; torch is imported for anything but the CPU."""
    if device == "cpu":
        return
    import torch

    from reactdist.errors import InputError

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        problem = str(error).splitlines()[0]
        raise InputError(f"no device {device!r} here ({problem})", fix="--device cpu") from None


def read_sessions(path: Path, items: int) -> np.ndarray:
    """(items,) session labels from a pair list or from lines of text.

    A pair list of P rows names the sessions of 2P items: both directions of a pair share theirs.

    Raises:
        InputError: file missing, or it does not fit the number of items.
    """
    import numpy as np

    from reactdist.data.lists import IndexRow, read_pairs
    from reactdist.errors import InputError

    if path.suffix == ".csv":
        rows = [IndexRow.of_path(pair.speaker) for pair in read_pairs(path)]
        labels = [f"{row.site}/{row.session}" for row in rows] * 2
    else:
        try:
            labels = path.read_text().split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read ({error})", where=path) from None
        labels = labels[:-1] if labels[-1] == "" else labels
    if len(labels) != items:
        raise InputError(
            f"names the sessions of {len(labels)} items, there are {items}",
            where=path,
            fix="give the pair list that the items were made from",
        )
    return np.array(labels)


def _realism(predicted: Path, real: Path, weights: Path, device: str) -> float:
    from reactdist.evaluate.frame_files import read_frames
    from reactdist.metrics.frrea import frrea
    from reactdist.metrics.inception import load_inception

    extractor = load_inception(weights).to(device)
    return frrea(read_frames(predicted), read_frames(real), extractor, device=device)


def _by_blocks(
    paths: tuple[Path, Path, Path, Path],
    items_out: Path | None,
    runner: Runner,
    options: dict[str, Any],
) -> pd.DataFrame:
    from reactdist.evaluate.score_files import score_files
    from reactdist.terminal import passes

    kept_in = _unfinished(items_out) if items_out is not None else None
    with _warnings_in_lines(), passes(lines=True) as tick:
        return score_files(*paths, **options, kept_in=kept_in, runner=runner, tick=tick)


def _unfinished(items_out: Path) -> Path:
    """Where scored blocks wait for the others."""
    return items_out.with_name(f"{items_out.name}.unfinished")


def _with_progress(what: str, items: int, work: Callable[[Callable[[], None]], Any]) -> Any:
    """`work` with a tick for every item; warnings become single lines on stderr."""
    from reactdist.data.pool import progress

    with _warnings_in_lines(), progress(items, what) as tick:
        return work(tick)


@contextmanager
def _warnings_in_lines() -> Iterator[None]:
    """What is warned of is said once each on stderr."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        typer.echo(f"reactdist: {message}", err=True)


def _print_json(
    scores: dict[str, float], plain: dict[str, float], intervals: dict[str, Interval]
) -> None:
    """Scores at the top level; NaN and infinity, which JSON lacks, as null."""
    import json
    import math

    def known(value: float) -> float | None:
        return value if math.isfinite(value) else None

    document: dict[str, Any] = {name: known(value) for name, value in scores.items()}
    if "FRRea" not in scores:
        document |= {"FRRea": None, "FRRea_note": FRREA_MISSING}
    if plain:
        document["reference"] = {name: known(value) for name, value in plain.items()}
    if intervals:
        document["intervals"] = {
            name: {"low": known(interval.low), "high": known(interval.high)}
            for name, interval in intervals.items()
        }
    typer.echo(json.dumps(document, indent=2))


def _print_table(
    scores: dict[str, float], plain: dict[str, float], intervals: dict[str, Interval]
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("metric")
    table.add_column("value", justify="right")
    if intervals:
        table.add_column("95 % interval", justify="right")
    if plain:
        table.add_column("plain arithmetic", justify="right")
    for name, value in scores.items():
        row = [name, f"{value:.6g}"]
        if intervals:
            interval = intervals.get(name)
            row.append(f"{interval.low:.4g} to {interval.high:.4g}" if interval else "")
        if plain:
            row.append(f"{plain[name]:.6g}" if name in plain else "")
        table.add_row(*row)
    if "FRRea" not in scores:
        table.add_row("FRRea", FRREA_MISSING)
    Console(width=100, highlight=False).print(table)
