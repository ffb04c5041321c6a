"""The unit of a build: some pairs of a release become one shard file, in any process, anywhere.

A task is plain values, so a process pool, a Ray task or a loop can run it. It leaves the shard and
a small record beside it; a task whose record is there and fits is not done again.
"""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from reactdist.data.clip import ClipSettings, encode_clip
from reactdist.data.codec import SEGMENT_FRAMES
from reactdist.data.lists import Pair
from reactdist.data.manifest import ShardRecord, shard_record
from reactdist.data.release import ClipFiles
from reactdist.data.rows import arrow_schema
from reactdist.data.storage import Store, new_writer, temporary
from reactdist.errors import DataError, StorageError

RECORDS = "building"
"""Folder of the records of finished shards, until the manifest takes their place."""


@dataclass(frozen=True)
class Group:
    """Pairs that share clips, with the files of those clips; almost always one pair."""

    pairs: tuple[Pair, ...]
    files: tuple[ClipFiles, ...]


@dataclass(frozen=True)
class ShardTask:
    """What one shard is made of."""

    store: Store
    split: str
    number: int
    groups: tuple[Group, ...]
    settings: ClipSettings
    plan: str
    """Hash of everything the shard depends on."""

    @property
    def file(self) -> str:
        return f"{self.split}/{self.number:05d}.parquet"

    @property
    def record_file(self) -> str:
        return f"{RECORDS}/{self.split}-{self.number:05d}.json"


@dataclass(frozen=True)
class ShardResult:
    """What a task left behind."""

    split: str
    number: int
    shard: ShardRecord | None
    """None if no pair of the task was good."""
    left_out: tuple[tuple[str, str], ...]
    """(clip or pair, why)."""
    plan: str
    peak_bytes: int = 0
    """The most memory that the process of the task held; 0 if an earlier run did the task."""


def run_task(task: ShardTask, avoid: frozenset[str] = frozenset()) -> ShardResult:
    """Build the shard of `task`, or return the record of an earlier run of the same task.

    `avoid` names clips whose decoding took a process down before; they are left out.

    Raises:
        StorageError: the shard cannot be written.
    """
    done = read_record(task)
    if done is not None:
        return done
    left_out: list[tuple[str, str]] = []
    rows = _good_rows(task, avoid, left_out)
    writing = temporary(task.file, new_writer())
    try:
        shard = _write(task, writing, rows)
    except OSError as error:
        with suppress(OSError, StorageError):
            task.store.remove(writing)
        raise StorageError(
            f"cannot write ({error})", where=task.store.where(task.file), fix="free some space"
        ) from None
    result = ShardResult(task.split, task.number, shard, tuple(left_out), task.plan)
    task.store.write(task.record_file, json.dumps(asdict(result)).encode())
    return replace(result, peak_bytes=peak_bytes())


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def try_clip(clip: tuple[ClipFiles, ClipSettings]) -> None:
    """Encode a clip for nothing, to see whether the process survives it."""
    with suppress(DataError):
        encode_clip(*clip)


def read_record(task: ShardTask) -> ShardResult | None:
    """The record of an earlier run, if it was of the same task and its shard is still whole."""
    if not task.store.exists(task.record_file):
        return None
    try:
        values = json.loads(task.store.read(task.record_file))
        shard = shard_record(values["shard"]) if values["shard"] else None
        left_out = tuple((what, why) for what, why in values["left_out"])
        result = ShardResult(task.split, task.number, shard, left_out, values["plan"])
    except (ValueError, KeyError, TypeError):
        return None
    if result.plan != task.plan:
        return None
    if shard is not None and task.store.size(shard.file) != shard.bytes:
        return None
    return result


def _good_rows(
    task: ShardTask, avoid: frozenset[str], left_out: list[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """Rows of the clips that have a good partner; one group in memory at a time."""
    for group in task.groups:
        rows: dict[str, dict[str, Any]] = {}
        for files in group.files:
            if files.key in avoid:
                left_out.append((files.key, "decoding it ended the process"))
                continue
            try:
                rows[files.key] = encode_clip(files, task.settings)
            except DataError as error:
                left_out.append((files.key, error.line()))
        kept: set[str] = set()
        for pair in group.pairs:
            keys = [f"{task.split}/{clip}" for clip in (pair.speaker, pair.listener)]
            if all(key in rows for key in keys):
                kept.update(keys)
        for files in group.files:
            if files.key in kept:
                yield rows[files.key]
            elif files.key in rows:
                left_out.append((files.key, "the other person of the pair was left out"))


def _write(task: ShardTask, writing: str, rows: Iterator[dict[str, Any]]) -> ShardRecord | None:
    """Write the rows under a temporary name, hash them on the way, then give the file its name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(_max_segments(task))
    store, clips = task.store, []
    store.filesystem.create_dir(store.path(task.split), recursive=True)
    with store.filesystem.open_output_stream(store.path(writing)) as stream:
        hashed = _HashedStream(stream)
        with pq.ParquetWriter(
            pa.PythonFile(hashed, mode="w"),
            schema,
            # Pictures do not compress again; the float columns do, and cost little to unpack.
            compression={
                name: "zstd" if name in ("audio", "emotion", "coefficients") else "none"
                for name in schema.names
            },
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        ) as writer:
            for row in rows:
                values = {name: [row.get(name)] for name in schema.names}
                writer.write_table(pa.table(values, schema=schema), row_group_size=1)
                clips.append((str(row["key"]), int(row["num_frames"])))
    if not clips:
        store.filesystem.delete_file(store.path(writing))
        return None
    store.commit(writing, task.file)
    return ShardRecord(task.file, hashed.size, hashed.hasher.hexdigest(), tuple(clips))


def _max_segments(task: ShardTask) -> int:
    """Segments of the longest clip of the task; clips that cannot be opened count as none."""
    longest = 0
    for group in task.groups:
        for files in group.files:
            try:
                longest = max(longest, files.video_layout.header(files.video).num_frames)
            except DataError:
                continue  # encode_clip meets the same fault and records it
    return -(-longest // SEGMENT_FRAMES)


class _HashedStream:
    """A binary stream that hashes what passes; enough of a file for pyarrow to write to."""

    closed = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.hasher = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.hasher.update(data)
        self._stream.write(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """The stream is closed by whoever opened it."""
