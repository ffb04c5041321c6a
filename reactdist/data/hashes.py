"""Hashes recorded of a release's files: by whoever released it, or by an earlier build.

A flipped bit inside a wav, an npy or a picture leaves a file that reads well; only a hash tells.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from reactdist.data.hashing import sha256_of
from reactdist.data.inspection import Finding
from reactdist.data.release import Release
from reactdist.data.shards import Shards
from reactdist.errors import InputError

SUMS_NAMES = ("SHA256SUMS", "sha256sums.txt")
"""What a file of hashes in the root of a release is usually called."""


@dataclass(frozen=True)
class Recorded:
    """A file and the sha256 it had."""

    path: Path
    sha256: str
    split: str = ""
    clip: str = ""
    modality: str = ""


def sums_file(root: Path) -> Path | None:
    """The release's own file of hashes, None if it has none."""
    return next((root / name for name in SUMS_NAMES if (root / name).is_file()), None)


def recorded(release: Release, source: str | Path) -> list[Recorded]:
    """What `source` recorded: a file of `sha256sum` lines, or shards that were built before.

    Raises:
        InputError: neither, or a line that is no hash and path inside the release.
    """
    if Path(source).is_file():
        return _from_sums(release, Path(source))
    return _from_shards(release, Shards.open(source))


def compare(entry: Recorded) -> Finding | None:
    """A finding if the file is not what it was; one that is missing is found elsewhere."""
    if not entry.path.exists() or sha256_of(entry.path)[0] == entry.sha256:
        return None
    return hash_finding(entry, "is not the file that was recorded (sha256 differs)")


def hash_finding(entry: Recorded, detail: str) -> Finding:
    """A finding about a recorded file."""
    return Finding(
        "hash", "problem", entry.split, entry.clip, entry.modality, str(entry.path), detail
    )


def _from_sums(release: Release, file: Path) -> list[Recorded]:
    known = {
        path: (split, clip, modality)
        for split in release.pairs
        for clip in release.clips(split)
        for modality, path in release.files(split, clip).paths().items()
    }
    entries = []
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        sha256, _, name = line.partition(" ")
        name = name.strip().removeprefix("*")
        inside = name and not Path(name).is_absolute() and ".." not in Path(name).parts
        if len(sha256) != 64 or not inside:
            raise InputError(
                "is no line of a sha256 and a path inside the release",
                where=f"{file} line {number}",
                fix="write it with sha256sum in the release's root",
            )
        path = release.root / name
        entries.append(Recorded(path, sha256.lower(), *known.get(path, ("", "", ""))))
    return entries


def _from_shards(release: Release, shards: Shards) -> list[Recorded]:
    entries = []
    for split, record in shards.manifest.splits.items():
        if split not in release.pairs:
            continue
        for key in (key for shard in record.shards for key, _ in shard.clips):
            clip = key.partition("/")[2]
            paths = release.files(split, clip).paths()
            for modality, values in json.loads(shards.source(key)).items():
                entries.append(Recorded(paths[modality], values["sha256"], split, clip, modality))
    return entries
