"""`reactdist data build`: on every core of this machine, or of every node of a Ray cluster."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from reactdist.schema import CROP_PIXELS


def build(
    root: Annotated[Path, typer.Argument(help="The release's root folder.")],
    out: Annotated[str, typer.Argument(help="Folder or URI (s3://bucket/path) of the shards.")],
    image_size: Annotated[int, typer.Option(help="Side of the frames, pixels.")] = CROP_PIXELS,
    codec: Annotated[str, typer.Option(help="jpeg, h264, or with quality: jpeg:95.")] = "jpeg",
    strict: Annotated[bool, typer.Option("--strict", help="Refuse if any clip is bad.")] = False,
    min_frames: Annotated[int, typer.Option(help="Leave shorter clips out.")] = 1,
    lists: Annotated[
        Path | None, typer.Option(help="Folder of the csv lists and the matrix, if not in ROOT.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Shards built at a time; as many as cores by default.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to use; default RAY_ADDRESS, else this machine.")
    ] = None,
) -> None:
    """Build Parquet shards; the same command resumes what was interrupted."""
    from functools import partial

    from reactdist.data.build import Counted, run_tasks
    from reactdist.data.build import build as run
    from reactdist.data.report import print_built, print_set

    if address or os.environ.get("RAY_ADDRESS"):
        from reactdist.distributed.build import run_on_cluster

        counted = Counted(partial(run_on_cluster, address=address, workers=workers))
        # Workers of a cluster have working folders of their own.
        root, lists = root.absolute(), lists and lists.absolute()
    else:
        counted = Counted(partial(run_tasks, workers=workers))
    start = time.perf_counter()
    shards = run(
        root,
        out,
        image_size=image_size,
        codec=codec,
        strict=strict,
        min_frames=min_frames,
        lists=lists,
        runner=counted,
    )
    print_set(shards, out)
    print_built(counted, time.perf_counter() - start)
