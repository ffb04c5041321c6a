"""`reactdist data ...`: check, info, bench. Heavy imports wait until a command runs.

`data build` can run on a cluster, so it lives in `reactdist.distributed`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="From a downloaded release to shards that feed a GPU.")

Lists = Annotated[
    Path | None, typer.Option(help="Folder of the csv lists and the matrix, if not in ROOT.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; all cores by default.")]


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="The release's root folder.")],
    decode: Annotated[bool, typer.Option("--decode", help="Decode every frame too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The whole report as JSON.")] = False,
    hashes: Annotated[
        str | None, typer.Option(help="SHA256SUMS or built shards to compare the files with.")
    ] = None,
    lists: Lists = None,
    workers: Workers = None,
) -> None:
    """Find every missing, damaged or misaligned file; exit 1 if there is any."""
    from reactdist.data.check import check as run
    from reactdist.data.report import print_report

    start = time.perf_counter()
    report = run(root, decode=decode, lists=lists, hashes=hashes, workers=workers)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=1))
    else:
        print_report(report, time.perf_counter() - start)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def info(
    shards: Annotated[str, typer.Argument(help="Folder or URI of built shards.")],
    as_json: Annotated[bool, typer.Option("--json", help="The manifest as JSON.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Do not hash the files.")] = False,
) -> None:
    """Show what a built set holds, having verified every file against its hash."""
    from reactdist.data.report import print_set
    from reactdist.data.shards import Shards

    opened = Shards.open(shards, verify=not fast)
    if as_json:
        typer.echo(opened.manifest.to_json().decode())
    else:
        print_set(opened, shards)


@app.command()
def bench(
    shards: Annotated[str, typer.Argument(help="Folder or URI of built shards.")],
    video: Annotated[
        Path | None, typer.Option(help="Footage to compare codecs on; else a clip of the set.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Items a batch.")] = 4,
    crop: Annotated[int, typer.Option(min=1, help="Frames an item.")] = 256,
    step_s: Annotated[float, typer.Option(min=1e-4, help="Seconds of a training step.")] = 0.2,
    split: Annotated[str, typer.Option(help="Split to load from.")] = "train",
) -> None:
    """Time the loader, shards beside PNG folders and packed npy, audio features, neighbours."""
    from reactdist.data import bench as timing
    from reactdist.data.bench_features import audio_speed, neighbours_speed
    from reactdist.data.report import print_feeds, print_speeds, print_ways
    from reactdist.data.shards import Shards

    opened = Shards.open(shards)
    feeds = list(
        timing.feeds(opened, split=split, batch_size=batch, crop_frames=crop, workers=(0, 1, 2))
    )
    print_feeds(feeds, timing.processes_needed(feeds[1], batch, step_s), step_s)
    if video is not None:
        frames = timing.footage(video)
    else:
        frames = opened.read(opened.items(split)[0].speaker, columns=("video",))["video"]
        frames = frames.transpose(0, 2, 3, 1)
    print_ways(timing.compare_ways(frames, min(crop, len(frames))), min(crop, len(frames)))
    print_speeds([audio_speed(), neighbours_speed()])
