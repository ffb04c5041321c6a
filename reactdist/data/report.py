"""Tables for the terminal: what a check found, what a built set holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table

from reactdist.data.bench import Feed, Way
from reactdist.data.bench_features import Speed
from reactdist.data.build import Counted
from reactdist.data.check import Report
from reactdist.data.inspection import Finding
from reactdist.data.shard_task import peak_bytes
from reactdist.data.shards import Shards

SHOWN = 3
"""Left-out clips that a summary spells out for each split."""


def print_report(report: Report, seconds: float, console: Console | None = None) -> None:
    """Counts by kind and modality with a first example, then one line of totals."""
    console = console or Console()
    grouped: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in report.findings:
        grouped[finding.severity, finding.kind, finding.modality].append(finding)
    if grouped:
        table = Table("", "what", "in", "how often", title=report.root)
        table.add_column("first example", overflow="fold")
        for (severity, kind, modality), findings in sorted(grouped.items(), key=_order):
            first = findings[0]
            table.add_row(
                severity, kind, modality, str(len(findings)), f"{first.file}: {first.detail}"
            )
        console.print(table)
    pairs = ", ".join(f"{split} {number}" for split, number in report.pairs.items())
    decoded = "every frame decoded" if report.decoded else "frames not decoded (--decode does)"
    counts = {s: sum(f.severity == s for f in report.findings) for s in _SEVERITIES}
    console.print(
        f"pairs: {pairs}; {report.num_files} files, {decoded}; "
        f"{counts['problem']} problems, {counts['suspect']} suspects, {counts['note']} notes; "
        f"{report.num_files // 4 / seconds:.0f} clips/s",
        soft_wrap=True,
    )


def print_set(shards: Shards, where: object, console: Console | None = None) -> None:
    """Splits, sizes, settings, fingerprint and what was left out."""
    console = console or Console()
    manifest = shards.manifest
    table = Table("split", "pairs", "items", "clips", "hours", "MB", "left out", title=str(where))
    for name, split in manifest.splits.items():
        frames = [frames for shard in split.shards for _, frames in shard.clips]
        size = sum(shard.bytes for shard in split.shards)
        table.add_row(
            name,
            str(split.num_pairs),
            str(2 * split.num_pairs),
            str(len(frames)),
            f"{sum(frames) / 25 / 3600:.2f}",
            f"{size / 1e6:.1f}",
            str(len(split.left_out)),
        )
    console.print(table)
    codec = manifest.codec
    console.print(
        f"{manifest.image_size}x{manifest.image_size} pixels, {codec['name']} quality "
        f"{codec['quality']}, segments of {manifest.segment_frames} frames, "
        f"schema {manifest.schema_version}\nfingerprint {manifest.fingerprint}",
        soft_wrap=True,
    )
    for name, split in manifest.splits.items():
        for what, why in split.left_out[:SHOWN]:
            console.print(f"left out of {name}: {what}: {why}", soft_wrap=True)
        if len(split.left_out) > SHOWN:
            console.print(f"... and {len(split.left_out) - SHOWN} more, all in manifest.json")


def print_built(counted: Counted, seconds: float) -> None:
    """Speed and memory of a build; nothing if it was finished before."""
    if counted.clips:
        Console().print(
            f"built {counted.clips} clips in {seconds:.0f} s, {counted.clips / seconds:.2f} a "
            f"second; a worker held at most {counted.peak_bytes / 1e6:.0f} MB, "
            f"this process {peak_bytes() / 1e6:.0f} MB",
            soft_wrap=True,
        )


def print_feeds(
    feeds: Sequence[Feed], needed: int, step_s: float, console: Console | None = None
) -> None:
    """Speed of the loader by number of processes."""
    console = console or Console()
    table = Table("loader processes", "first batch s", "clips/s", "MB/s")
    for feed in feeds:
        table.add_row(
            str(feed.workers),
            f"{feed.first_batch_s:.2f}",
            f"{feed.clips_per_s:.1f}",
            f"{feed.mb_per_s:.0f}",
        )
    console.print(table)
    console.print(f"{needed} processes keep a step of {step_s:g} s fed")


def print_ways(ways: Sequence[Way], crop_frames: int, console: Console | None = None) -> None:
    """Size, speed and fidelity of the ways to keep video, relative to PNG and packed npy."""
    console = console or Console()
    table = Table(
        Column("video as", no_wrap=True), "MB a clip", "of npy", f"{crop_frames} frames s", "PNG is"
    )
    for column in ("RGB dB", "luma dB"):
        table.add_column(column)
    npy = next(way for way in ways if way.name.startswith("packed"))
    for way in ways:
        table.add_row(
            way.name,
            f"{way.clip_bytes / 1e6:.2f}",
            f"{way.clip_bytes / npy.clip_bytes:.2%}",
            f"{way.crop_s:.3f}",
            f"{ways[0].crop_s / way.crop_s:.1f}x",
            f"{way.psnr_rgb_db:.1f}",
            f"{way.psnr_luma_db:.1f}",
        )
    console.print(table)


def print_speeds(speeds: Sequence[Speed]) -> None:
    """One line each: seconds of ours, and how much longer the plain way takes."""
    for speed in speeds:
        plain = ""
        if speed.plain:
            ratio = speed.plain_s / speed.ours_s
            plain = f"; {speed.plain} {speed.plain_s:.2f} s, {ratio:.0f}x"
        Console().print(f"{speed.what}: {speed.ours_s:.3f} s{plain}", soft_wrap=True)


_SEVERITIES = ("problem", "suspect", "note")


def _order(entry: tuple[tuple[str, str, str], list[Finding]]) -> tuple[int, int]:
    (severity, _, _), findings = entry
    return _SEVERITIES.index(severity), -len(findings)
