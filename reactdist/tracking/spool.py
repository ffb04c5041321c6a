"""What a run has logged, on disk and in order, until MLflow has taken it.

Every call of a run is first a line here and is then sent, so a server that is away costs nothing
but disk, and a process killed in between loses nothing. A spool is a folder:

    run.json        address, experiment, run id: enough to send from anywhere
    records.jsonl   one record a line, in order, never rewritten
    sent            how many of them MLflow has
    files/N/        copies of artifacts not yet sent
    rejected.jsonl  records that MLflow will never take, with its answer
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from reactdist.errors import InputError

Record = dict[str, Any]
"""`op` (metrics, tags, artifact, artifacts, finish) and its values; times in ms since 1970."""

_OPEN_HERE: set[Path] = set()
"""Folders that this process has open."""


@dataclass(frozen=True)
class SpoolHeader:
    """Which run the records belong to."""

    uri: str
    experiment: str
    key: str
    run_id: str


def folder_of(root: Path, uri: str, experiment: str, key: str) -> Path:
    """The folder of one run's spool under `root`; the same identity gives the same folder."""
    digest = hashlib.sha256("\n".join((uri, experiment, key)).encode()).hexdigest()
    return root / digest[:16]


def spools_under(root: Path) -> list[Path]:
    """Every spool folder at or below `root`, sorted."""
    return sorted(path.parent for path in root.rglob("run.json") if _is_header(path))


def read_header(folder: Path) -> SpoolHeader | None:
    """Whose spool this is, None where there is none."""
    path = folder / "run.json"
    return SpoolHeader(**json.loads(path.read_text())) if _is_header(path) else None


class Spool:
    """The open spool of one run; one process holds it at a time (a file lock)."""

    def __init__(self, folder: Path, header: SpoolHeader, *, wait_s: float = 0.0) -> None:
        """Open or create. Raises InputError when it is still open elsewhere after `wait_s`."""
        self.folder = folder
        self.header = header
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _take_lock(folder, wait_s)
        _replace(folder / "run.json", json.dumps(header.__dict__))
        records = _read_records(folder / "records.jsonl")
        self.sent = _read_count(folder / "sent", len(records))
        """How many records MLflow has."""
        self.found = records[: self.sent]
        """Records already sent when the spool was opened (what an earlier process logged)."""
        self.pending: deque[Record] = deque(records[self.sent :])
        """Records that MLflow has not taken yet, oldest first."""
        self._file: IO[str] = (folder / "records.jsonl").open("a")

    def append(self, record: Record) -> None:
        """Add a record. A full disk (OSError) still leaves it in memory to be sent."""
        self.pending.append(record)
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Force what was appended onto the disk, against the loss of the whole machine."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def stage(self, source: Path) -> str:
        """Copy a file or folder to be sent later; returns its place inside the spool."""
        place = self._next_place()
        if source.is_dir():
            shutil.copytree(source, place, dirs_exist_ok=True)
        else:
            shutil.copy2(source, place / source.name)
        return str(place.relative_to(self.folder))

    def stage_text(self, name: str, text: str) -> str:
        """Keep `text` as a file `name` to be sent later; returns its place inside the spool."""
        place = self._next_place()
        (place / name).write_text(text)
        return str(place.relative_to(self.folder))

    def _next_place(self) -> Path:
        place = self.folder / "files" / f"{self.sent + len(self.pending):08d}"
        # A copy half made by a process that was killed has the same number.
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place

    def mark_sent(self, count: int) -> None:
        """MLflow has taken the first `count` pending records."""
        done = [self.pending.popleft() for _ in range(count)]
        self.sent += count
        # Written after the send: records sent twice are one point, records not sent are a hole.
        _replace(self.folder / "sent", str(self.sent))
        for record in done:
            if "staged" in record:
                shutil.rmtree(self.folder / record["staged"], ignore_errors=True)

    def reject(self, record: Record, answer: str) -> None:
        """Keep a record that MLflow refuses for good, so that it does not block the others."""
        with (self.folder / "rejected.jsonl").open("a") as file:
            file.write(json.dumps({**record, "answer": answer}) + "\n")

    def close(self) -> None:
        """Close; a spool that MLflow has all of is removed, one with rejected records is kept."""
        if self._file.closed:
            return
        with contextlib.suppress(OSError):
            self.sync()
        with contextlib.suppress(OSError):
            # Closing flushes again, and fails again when the disk is full.
            self._file.close()
        if not self.pending and not (self.folder / "rejected.jsonl").exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.folder.parent.rmdir()
        _OPEN_HERE.discard(self.folder.absolute())
        self._lock.close()


def _take_lock(folder: Path, wait_s: float) -> IO[str]:
    """A record lock on the folder's lock file, tried for `wait_s` (a killed process may linger).

    Not flock: a data-loading worker, forked while a run is open, would inherit that and hold it
    past the death of its parent. Record locks die with their process, but a process may take its
    own twice, hence `_OPEN_HERE`.
    """
    limit = time.monotonic() + wait_s
    while (lock := _try_lock(folder)) is None:
        if time.monotonic() >= limit:
            raise InputError(
                "another process is logging this run", where=folder, fix="wait until it has ended"
            )
        time.sleep(0.2)
    _OPEN_HERE.add(folder.absolute())
    return lock


def _try_lock(folder: Path) -> IO[str] | None:
    # Looked at first: closing a second handle of a file would drop this process's lock on it.
    if folder.absolute() in _OPEN_HERE:
        return None
    lock = (folder / "lock").open("w")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return None
    return lock


def _read_records(path: Path) -> list[Record]:
    if not path.exists():
        return []
    whole: list[Record] = []
    good_bytes = 0
    with path.open("rb") as file:
        for line in file:
            # A line cut short by a crash can only be the last; what follows must start clean.
            if not line.endswith(b"\n"):
                break
            whole.append(json.loads(line))
            good_bytes += len(line)
    if good_bytes < path.stat().st_size:
        os.truncate(path, good_bytes)
    return whole


def _read_count(path: Path, limit: int) -> int:
    return min(int(path.read_text()), limit) if path.exists() else 0


def _is_header(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        return set(json.loads(path.read_text())) == set(SpoolHeader.__dataclass_fields__)
    except ValueError:
        return False


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)
