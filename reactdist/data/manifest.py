"""The manifest of a built set: what is in it, hashes of every file, one fingerprint for all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from reactdist.errors import InputError

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True)
class FileRecord:
    """A file of the set, relative to its folder."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardRecord(FileRecord):
    """A Parquet file: one clip a row group, in this order."""

    clips: tuple[tuple[str, int], ...]
    """(key, frames) of each row."""


@dataclass(frozen=True)
class SplitRecord:
    """One split of the set."""

    pairs: FileRecord
    num_pairs: int
    neighbours: FileRecord | None
    shards: tuple[ShardRecord, ...]
    left_out: tuple[tuple[str, str], ...]
    """(what, why) of every listed pair or clip that is not in the set."""


@dataclass(frozen=True)
class Manifest:
    """All that identifies a set; equal inputs and settings give equal manifests."""

    plan: str
    """Hash of what was asked for: lists, source files' sizes, settings."""
    image_size: int
    segment_frames: int
    codec: dict[str, str | int]
    mean_face: tuple[float, ...]
    source: dict[str, Any]
    """Layout of each split of the release."""
    splits: dict[str, SplitRecord]
    schema_version: int = SCHEMA_VERSION
    fingerprint: str = field(default="")

    def sealed(self) -> Manifest:
        """The manifest with the fingerprint of its contents."""
        values = asdict(self)
        # The plan says what was asked of the builder, the fingerprint what there is to read.
        del values["fingerprint"], values["plan"]
        return Manifest(**{**self.__dict__, "fingerprint": digest(values)})

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, where: object) -> Manifest:
        """Parse and verify a manifest.

        Raises:
            InputError: damaged, edited, or written by another version of the schema.
        """
        try:
            values = json.loads(data)
            version = values["schema_version"]
            if version != SCHEMA_VERSION:
                raise InputError(
                    f"the shards have schema version {version}, this is {SCHEMA_VERSION}",
                    where=where,
                    fix="build them again",
                )
            splits = {name: _split(record) for name, record in values.pop("splits").items()}
            values["mean_face"] = tuple(values["mean_face"])
            manifest = cls(splits=splits, **values)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(
                "the manifest is damaged", where=where, fix="build the shards again"
            ) from None
        if manifest.sealed().fingerprint != manifest.fingerprint:
            raise InputError(
                "the manifest does not match its fingerprint",
                where=where,
                fix="build the shards again",
            )
        return manifest


def digest(values: object) -> str:
    """sha256 of plain values, the same however they were ordered."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def shard_record(values: dict[str, Any]) -> ShardRecord:
    """A shard's record from its JSON values."""
    clips = tuple((str(key), int(frames)) for key, frames in values["clips"])
    return ShardRecord(values["file"], values["bytes"], values["sha256"], clips)


def _split(values: dict[str, Any]) -> SplitRecord:
    neighbours = values["neighbours"]
    return SplitRecord(
        pairs=FileRecord(**values["pairs"]),
        num_pairs=values["num_pairs"],
        neighbours=FileRecord(**neighbours) if neighbours else None,
        shards=tuple(shard_record(shard) for shard in values["shards"]),
        left_out=tuple((what, why) for what, why in values["left_out"]),
    )
