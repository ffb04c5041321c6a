"""`reactdist data synth`: write a generated release."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from reactdist.schema import NOMINAL_FRAMES


def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write; must not hold anything yet.")],
    pairs: Annotated[int, typer.Option(help="Clips of two people, over all splits.")] = 24,
    frames: Annotated[int, typer.Option(help="Frames a clip, 25 a second.")] = NOMINAL_FRAMES,
    seed: Annotated[int, typer.Option(help="Same seed, same release.")] = 0,
) -> None:
    """Write a generated release in the published files (mp4, wav, csv, npy, lists, matrix)."""
    from reactdist.data.synth.release import write_release

    started = time.perf_counter()
    write_release(out, pairs=pairs, frames=frames, seed=seed)
    seconds = time.perf_counter() - started
    typer.echo(f"{out}: {pairs} pairs of {frames} frames, seed {seed}, in {seconds:.0f} s")
