"""Tables for the terminal: what a check found, what a built set holds."""

from __future__ import annotations

from collections import defaultdict

from rich.console import Console
from rich.table import Table

from reactdist.data.check import Report
from reactdist.data.inspection import Finding
from reactdist.data.shards import Shards

SHOWN = 3
"""Left-out clips that a summary spells out for each split."""


def print_report(report: Report, console: Console | None = None) -> None:
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
        f"{counts['problem']} problems, {counts['suspect']} suspects, {counts['note']} notes",
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


_SEVERITIES = ("problem", "suspect", "note")


def _order(entry: tuple[tuple[str, str, str], list[Finding]]) -> tuple[int, int]:
    (severity, _, _), findings = entry
    return _SEVERITIES.index(severity), -len(findings)
