"""Predictions in Parquet: a row an item, a few items a row group, read an item at a time.

Columns: `item` int64 (its number in the split), `samples` and `frames` int32 (K and T of the row),
`emotion` list<float32> of K x T x 25 and `coefficients` list<float32> of K x T x 58, row-major. Any
Parquet reader can use it: `np.reshape(row["emotion"], (row["samples"], row["frames"], 25))`.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from reactdist.data.storage import Store, temporary
from reactdist.errors import InputError, StorageError
from reactdist.schema import NUM_ATTRIBUTES, NUM_COEFFICIENTS

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_GROUP = 4
"""Items of a row group; ten samples of 751 frames are 2.5 MB an item."""
SUFFIX = ".parquet"
KEY = b"reactdist.key"
"""Entry of a file's metadata: the hash of what its rows depend on."""


class PredictionWriter:
    """Write predictions an item at a time; the file appears when the block ends without error.

    with PredictionWriter("out/predictions.parquet") as writer:
        writer.append(item, emotion, coefficients)   # (K,T,25), (K,T,58)

    key: what the predictions depend on, as a hash; `stored_key` reads it back.
    """

    def __init__(self, path: str | Path, *, key: str = "") -> None:
        folder, _, self._name = str(path).rpartition("/")
        self._store = Store.at(folder or ("/" if str(path).startswith("/") else "."))
        self._waiting: list[dict[str, Any]] = []
        self._schema = _schema().with_metadata({KEY: key})

    def __enter__(self) -> PredictionWriter:
        import pyarrow.parquet as pq

        try:
            self._store.filesystem.create_dir(self._store.base, recursive=True)
            self._file = pq.ParquetWriter(
                self._store.path(temporary(self._name)),
                self._schema,
                filesystem=self._store.filesystem,
                compression="zstd",
                use_dictionary=False,
            )
        except OSError as error:
            raise self._failed(error) from None
        return self

    def append(self, item: int, emotion: np.ndarray, coefficients: np.ndarray) -> None:
        """One item: emotion (K,T,25) and coefficients (K,T,58), stored as float32."""
        shape = emotion.shape[:2]
        if emotion.shape != (*shape, NUM_ATTRIBUTES) or coefficients.shape != (
            *shape,
            NUM_COEFFICIENTS,
        ):
            raise InputError(
                f"emotion {emotion.shape} and coefficients {coefficients.shape} of item {item}",
                fix="(K, T, 25) and (K, T, 58) are needed",
            )
        self._waiting.append(
            {
                "item": int(item),
                "samples": shape[0],
                "frames": shape[1],
                "emotion": np.asarray(emotion, np.float32).ravel(),
                "coefficients": np.asarray(coefficients, np.float32).ravel(),
            }
        )
        if len(self._waiting) == ROWS_PER_GROUP:
            self._flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        try:
            self._file.close()
            if kind is None:
                self._store.commit(temporary(self._name), self._name)
            else:
                self._store.remove(temporary(self._name))
        except OSError as problem:
            raise self._failed(problem) from None

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._waiting:
            return
        table = pa.table(
            {name: [row[name] for row in self._waiting] for name in self._schema.names},
            schema=self._schema,
        )
        self._waiting.clear()
        try:
            self._file.write_table(table, row_group_size=ROWS_PER_GROUP)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(f"cannot write ({error})", where=self._store.where(self._name))


def write_predictions(
    path: str | Path,
    items: Sequence[int] | np.ndarray,
    emotion: Iterable[np.ndarray] | np.ndarray,
    coefficients: Iterable[np.ndarray] | np.ndarray,
) -> None:
    """Write n items at once: items (n,), emotion (n,K,T,25), coefficients (n,K,T,58).

    Raises:
        InputError: shapes that do not fit each other.
        StorageError: the file cannot be written.
    """
    with PredictionWriter(path) as writer:
        for item, one, other in zip(items, emotion, coefficients, strict=True):
            writer.append(int(item), one, other)


@dataclass(frozen=True)
class StoredPredictions:
    """Predictions of n items in a file or a folder of part files; rows are in item order.

    items (n,) int64; `emotion[i]` is (K,T,25), `coefficients[i]` (K,T,58), both float32 and read
    when asked for. T is the shortest clip's. `np.asarray(stored.emotion)` reads all.
    """

    items: np.ndarray
    emotion: StoredClips
    coefficients: StoredClips


class StoredClips:
    """One column of stored predictions as (n, K, T, D), read a row at a time."""

    def __init__(self, column: str, width: int, rows: _Rows) -> None:
        self._column, self._width, self._rows = column, width, rows

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, K, T, D)."""
        return (len(self._rows), self._rows.samples, self._rows.frames, self._width)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> np.ndarray:
        """(K, T, D) of one row; IndexError past the end."""
        flat, frames = self._rows.read(self._column, row)
        clip = flat.reshape(self._rows.samples, frames, self._width)
        return clip[:, : self._rows.frames]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.stack([self[row] for row in range(len(self))])
        return whole if dtype is None else whole.astype(dtype)


def stored_key(store: Store, name: str) -> str | None:
    """The key that a Parquet file was written with; None where there is no whole such file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(store.path(name), filesystem=store.filesystem)
    except (pa.ArrowException, OSError):
        return None
    return (schema.metadata or {}).get(KEY, b"").decode()


def read_predictions(path: str | Path) -> StoredPredictions:
    """Open predictions written by `write_predictions`, or a folder of such files.

    Raises:
        InputError: nothing there, not such a file, an item twice, or rows of different K.
    """
    rows = _Rows(path)
    return StoredPredictions(
        items=rows.items,
        emotion=StoredClips("emotion", NUM_ATTRIBUTES, rows),
        coefficients=StoredClips("coefficients", NUM_COEFFICIENTS, rows),
    )


class _Rows:
    """Where each item's row lies: which file, which row group, which row of it."""

    def __init__(self, path: str | Path) -> None:
        self._files = [_open(part) for part in _parts(path)]
        self._lock = threading.Lock()
        self._last: dict[str, tuple[Any, Any]] = {}
        items, samples, frames, places = [], [], [], []
        for number, (file, where) in enumerate(self._files):
            keys = _keys(file, where)
            items += keys["item"].to_pylist()
            samples += keys["samples"].to_pylist()
            frames += keys["frames"].to_pylist()
            places += [(number, row) for row in range(len(keys))]
        if not items:
            raise InputError("holds no predictions", where=path, fix="predict first")
        order = np.argsort(np.array(items, np.int64), kind="stable")
        self.items = np.array(items, np.int64)[order]
        twice = self.items[1:][self.items[1:] == self.items[:-1]]
        if len(twice):
            raise InputError(
                f"item {twice[0]} is there twice", where=path, fix="remove parts of an older run"
            )
        if len(set(samples)) != 1:
            raise InputError(
                f"items have {min(samples)} to {max(samples)} samples",
                where=path,
                fix="predict all items with the same number",
            )
        self.samples: int = samples[0]
        self.frames: int = min(frames)
        self._places = [places[i] for i in order]
        self._frames = [frames[i] for i in order]

    def __len__(self) -> int:
        return len(self._places)

    def read(self, column: str, row: int) -> tuple[np.ndarray, int]:
        """The flat values of one row and its own frame count."""
        number, at = self._places[row]
        file, where = self._files[number]
        starts = _starts(file.metadata)
        group = bisect.bisect_right(starts, at) - 1
        # A Parquet reader serves one thread at a time; neighbouring rows share a group.
        with self._lock:
            key, values = self._last.get(column, (None, None))
            if key != (number, group):
                try:
                    values = file.read_row_group(group, columns=[column])[column]
                except OSError as error:
                    raise InputError(
                        f"is damaged ({error})", where=where, fix="predict again"
                    ) from None
                self._last[column] = ((number, group), values)
        flat = values[at - starts[group]].values
        return flat.to_numpy(zero_copy_only=False), self._frames[row]


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        {
            "item": pa.int64(),
            "samples": pa.int32(),
            "frames": pa.int32(),
            "emotion": pa.list_(pa.float32()),
            "coefficients": pa.list_(pa.float32()),
        }
    )


def _parts(path: str | Path) -> list[tuple[Store, str]]:
    """The file itself, or every .parquet file of the folder, by name."""
    from pyarrow import fs

    folder, _, name = str(path).rstrip("/").rpartition("/")
    store = Store.at(folder or ("/" if str(path).startswith("/") else "."))
    info = store.filesystem.get_file_info(store.path(name))
    if info.type == fs.FileType.File:
        return [(store, name)]
    if info.type == fs.FileType.NotFound:
        raise InputError("does not exist", where=path, fix="give a file or folder of predictions")
    inside = Store.at(path)
    listing = inside.filesystem.get_file_info(fs.FileSelector(inside.base))
    names = sorted(entry.base_name for entry in listing if entry.base_name.endswith(SUFFIX))
    return [(inside, name) for name in names]


def _open(part: tuple[Store, str]) -> tuple[Any, str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    store, name = part
    try:
        file = pq.ParquetFile(store.path(name), filesystem=store.filesystem)
    except (pa.ArrowException, OSError) as error:
        problem = " ".join(str(error).split())
        raise InputError(
            f"is not a Parquet file ({problem})", where=store.where(name), fix="predict again"
        ) from None
    return file, store.where(name)


def _keys(file: Any, where: str) -> Any:
    missing = set(_schema().names) - set(file.schema_arrow.names)
    if missing:
        raise InputError(
            f"has no column {sorted(missing)[0]!r}",
            where=where,
            fix="columns are " + ", ".join(_schema().names),
        )
    return file.read(columns=["item", "samples", "frames"])


def _starts(metadata: Any) -> list[int]:
    """Row number at which each row group starts."""
    starts, total = [], 0
    for group in range(metadata.num_row_groups):
        starts.append(total)
        total += metadata.row_group(group).num_rows
    return starts
