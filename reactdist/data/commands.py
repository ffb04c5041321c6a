"""`reactdist data ...`: check, build, info, bench. Heavy imports wait until a command runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from reactdist.schema import CROP_PIXELS

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

    report = run(root, decode=decode, lists=lists, hashes=hashes, workers=workers)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=1))
    else:
        print_report(report)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def build(
    root: Annotated[Path, typer.Argument(help="The release's root folder.")],
    out: Annotated[str, typer.Argument(help="Folder or URI (s3://bucket/path) of the shards.")],
    image_size: Annotated[int, typer.Option(help="Side of the frames, pixels.")] = CROP_PIXELS,
    codec: Annotated[str, typer.Option(help="jpeg, h264, or with quality: jpeg:95.")] = "jpeg",
    strict: Annotated[bool, typer.Option("--strict", help="Refuse if any clip is bad.")] = False,
    min_frames: Annotated[int, typer.Option(help="Leave shorter clips out.")] = 1,
    lists: Lists = None,
    workers: Workers = None,
) -> None:
    """Build Parquet shards; the same command resumes what was interrupted."""
    from reactdist.data.build import build as run
    from reactdist.data.report import print_set

    shards = run(
        root,
        out,
        image_size=image_size,
        codec=codec,
        strict=strict,
        min_frames=min_frames,
        lists=lists,
        workers=workers,
    )
    print_set(shards, out)


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
    """Time the loader, and shards beside PNG folders and packed npy."""
    from reactdist.data import bench as timing
    from reactdist.data.report import print_feeds, print_ways
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
