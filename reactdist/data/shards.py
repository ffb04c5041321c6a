"""Reading a built set: which items a split has, and any frames of any clip."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reactdist.data.codec import SegmentCodec, codec_named
from reactdist.data.lists import IndexRow, Pair
from reactdist.data.manifest import MANIFEST_NAME, FileRecord, Manifest, ShardRecord, SplitRecord
from reactdist.data.rows import COLUMNS, decode_row, parquet_columns
from reactdist.data.storage import Store
from reactdist.errors import DataError, InputError

MAX_OPEN = 32
"""Files a process keeps open; the footer of each takes about half a megabyte."""


@dataclass(frozen=True)
class Item:
    """One direction of a pair: the speaker is heard and seen, the listener reacts."""

    index: int
    """Place in the split, 0 .. N-1: pairs as listed, then all of them mirrored."""
    speaker: str
    """Key of the speaker's clip, `SPLIT/SITE/SESSION/ROLE/INDEX`."""
    listener: str
    session: str
    """`SITE/SESSION` (sites in lower case): items of one session share their people."""
    num_frames: int
    """Frames that both clips have."""


class Shards:
    """A built set of clips. Opening reads the manifest; clips are read when asked for.

    Can be pickled and used from several processes; every process opens its own files.
    """

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store = store
        self.manifest = manifest
        self.fingerprint: str = manifest.fingerprint
        self.image_size: int = manifest.image_size
        self.splits: tuple[str, ...] = tuple(manifest.splits)
        self.mean_face: npt.NDArray[np.float32] = np.array(manifest.mean_face, np.float32)
        self.codec: SegmentCodec = codec_named("{name}:{quality}".format(**manifest.codec))
        self._places = {
            key: (shard.file, row, frames)
            for split in manifest.splits.values()
            for shard in split.shards
            for row, (key, frames) in enumerate(shard.clips)
        }
        self._items: dict[str, tuple[Item, ...]] = {}
        self._open: OrderedDict[tuple[int, str], Any] = OrderedDict()

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False) -> Shards:
        """Open the set at a local folder or URI; `verify` also hashes every file.

        Raises:
            InputError: no finished set there, or one of its files is missing or damaged;
                names the file and, where one can be told, the row group and the clip.
            StorageError: the storage does not answer.
        """
        store = Store.at(path)
        if not store.exists(MANIFEST_NAME):
            raise InputError(
                "holds no finished shards (no manifest.json)",
                where=path,
                fix="run `reactdist data build ROOT OUT` to the end",
            )
        manifest = Manifest.from_json(store.read(MANIFEST_NAME), store.where(MANIFEST_NAME))
        shards = cls(store, manifest)
        shards._check_files(verify)
        return shards

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    @property
    def is_local(self) -> bool:
        """Whether the set lies on a disk of this machine."""
        return self._store.is_local

    @cached_property
    def num_bytes(self) -> int:
        """Bytes of all files named in the manifest."""
        return sum(record.bytes for record in self._records())

    def frames(self, key: str) -> int:
        """Frames of a clip.

        Raises:
            InputError: no such clip in the set.
        """
        return self._place(key)[2]

    def items(self, split: str) -> tuple[Item, ...]:
        """Both directions of every pair of a split, N = 2 x pairs.

        Raises:
            InputError: the set has no such split.
        """
        if split not in self._items:
            pairs = self._pairs(split)
            directions = [*pairs, *(pair.mirrored() for pair in pairs)]
            self._items[split] = tuple(
                self._item(number, split, pair) for number, pair in enumerate(directions)
            )
        return self._items[split]

    def neighbours(self, split: str) -> npt.NDArray[np.bool_]:
        """(N, N) bool: entry (i, j), the listener of j may react so to the speaker of i.

        Raises:
            InputError: the release had no appropriateness matrix.
        """
        record = self._split(split).neighbours
        if record is None:
            raise InputError(
                f"{split} has no neighbours: the release had no appropriateness matrix or index",
                where=self._store.shown,
                fix="put both beside the lists and build again",
            )
        return np.load(io.BytesIO(self._bytes(record)), allow_pickle=False)

    def read(
        self,
        key: str,
        start: int = 0,
        stop: int | None = None,
        columns: tuple[str, ...] = COLUMNS,
    ) -> dict[str, npt.NDArray[Any]]:
        """Frames [start, stop) of a clip; only what `columns` and the frames need is fetched.

        `video` (t, 3, H, W) uint8, a view of (t, H, W, 3) memory; `audio` (t, 78), `emotion`
        (t, 25), `coefficients` (t, 58) float32, coefficients relative to the mean face.

        Raises:
            InputError: no such clip, frames or columns.
            DataError: the shard is damaged; names the file, the row group and the clip.
        """
        file, row, frames = self._place(key)
        stop = frames if stop is None else stop
        if not 0 <= start < stop <= frames:
            raise InputError(f"{key} has frames 0 to {frames}, not {start} to {stop}")
        unknown = [name for name in columns if name not in COLUMNS]
        if unknown:
            raise InputError(f"no column {unknown[0]!r}", fix=f"there are {', '.join(COLUMNS)}")
        segment_frames = self.manifest.segment_frames
        names = parquet_columns(columns, start, stop, segment_frames)
        cells = self._cells(file, row, key, names)
        try:
            return decode_row(
                cells,
                start,
                stop,
                codec=self.codec,
                image_size=self.image_size,
                segment_frames=segment_frames,
            )
        except (OSError, ValueError, IndexError) as error:
            raise self._damaged(file, row, key, error) from None

    def first_frame(self, key: str) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8: a clip's first frame, stored without loss."""
        from PIL import Image

        file, row, _ = self._place(key)
        cells = self._cells(file, row, key, ["first_frame"])
        with Image.open(io.BytesIO(cells["first_frame"])) as picture:
            return np.asarray(picture)

    def source(self, key: str) -> str:
        """JSON of the files a clip was made from: name, bytes and sha256 of each."""
        file, row, _ = self._place(key)
        return str(self._cells(file, row, key, ["source"])["source"], "utf-8")

    def _cells(self, file: str, row: int, key: str, names: list[str]) -> dict[str, memoryview]:
        import pyarrow as pa

        try:
            table = self._parquet(file).read_row_group(row, columns=names, use_threads=False)
            return {name: memoryview(table.column(name)[0].as_buffer()) for name in names}
        except (OSError, pa.ArrowException, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(file, row, key, error) from None

    def _parquet(self, file: str) -> Any:
        """The open file; one handle a process, so that forked workers share none."""
        import pyarrow.parquet as pq

        handle = (os.getpid(), file)
        if handle in self._open:
            self._open.move_to_end(handle)
            return self._open[handle]
        source = self._store.filesystem.open_input_file(self._store.path(file))
        opened = pq.ParquetFile(
            source, page_checksum_verification=True, pre_buffer=not self._store.is_local
        )
        self._open[handle] = opened
        if len(self._open) > MAX_OPEN:
            self._open.popitem(last=False)
        return opened

    def _damaged(self, file: str, row: int, key: str, error: Exception) -> DataError:
        reason = " ".join(str(error).split())
        return DataError(
            f"row group {row} ({key}) is damaged ({reason})",
            where=self._store.where(file),
            fix="delete the file and build again",
        )

    def _place(self, key: str) -> tuple[str, int, int]:
        try:
            return self._places[key]
        except KeyError:
            raise InputError(f"no clip {key!r}", where=self._store.shown) from None

    def _split(self, split: str) -> SplitRecord:
        if split not in self.manifest.splits:
            raise InputError(
                f"no split {split!r}",
                where=self._store.shown,
                fix=f"there are {', '.join(self.splits)}",
            )
        return self.manifest.splits[split]

    def _pairs(self, split: str) -> tuple[Pair, ...]:
        text = self._bytes(self._split(split).pairs).decode()
        rows = csv.DictReader(text.splitlines())
        return tuple(Pair(row["speaker_path"], row["listener_path"]) for row in rows)

    def _item(self, number: int, split: str, pair: Pair) -> Item:
        speaker, listener = f"{split}/{pair.speaker}", f"{split}/{pair.listener}"
        row = IndexRow.of_path(pair.speaker)
        frames = min(self.frames(speaker), self.frames(listener))
        return Item(number, speaker, listener, f"{row.site}/{row.session}", frames)

    def _bytes(self, record: FileRecord) -> bytes:
        data = self._store.read(record.file)
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise DataError(
                "does not match its hash in the manifest",
                where=self._store.where(record.file),
                fix="build the shards again",
            )
        return data

    def _records(self) -> list[FileRecord]:
        records: list[FileRecord] = []
        for split in self.manifest.splits.values():
            records += [split.pairs, *([split.neighbours] if split.neighbours else [])]
            records += split.shards
        return records

    def _check_files(self, verify: bool) -> None:
        for record in self._records():
            size = self._store.size(record.file)
            if size != record.bytes:
                what = "is missing" if size is None else f"has {size} bytes, not {record.bytes}"
                raise DataError(
                    what, where=self._store.where(record.file), fix="build the shards again"
                )
            if verify:
                if isinstance(record, ShardRecord):
                    self._verify_shard(record)
                else:
                    self._bytes(record)

    def _verify_shard(self, record: ShardRecord) -> None:
        """Hash a shard; if it differs, the checksums of its pages tell which row group."""
        hasher = hashlib.sha256()
        with self._store.filesystem.open_input_stream(self._store.path(record.file)) as stream:
            while block := stream.read(1 << 22):
                hasher.update(block)
        if hasher.hexdigest() == record.sha256:
            return
        for row, (key, frames) in enumerate(record.clips):
            names = parquet_columns(COLUMNS, 0, frames, self.manifest.segment_frames)
            self._cells(record.file, row, key, [*names, "first_frame", "source"])
        raise DataError(
            "does not match its hash in the manifest, though every row group can be read",
            where=self._store.where(record.file),
            fix="delete the file and build again",
        )
