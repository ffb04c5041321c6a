"""A folder that gets its name only when it is complete.

Work goes to `OUT.partial`, so a run that was stopped leaves nothing that looks finished; the next
run recognises such a rest by its marker and throws it away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from reactdist.errors import InputError

MARKER = ".unfinished-reactdist-release"


@contextmanager
def unfinished(out: Path, needed_bytes: int) -> Iterator[Path]:
    """The folder to write to; becomes `out` at the end, is removed when the work fails.

    Raises:
        InputError: `out` is not a new or empty folder, another run writes it, or the disk refuses.
    """
    out = Path(out).resolve()
    partial = out.with_name(out.name + ".partial")
    _check_free(out, partial)
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with _locked(partial / MARKER):
            try:
                _empty(partial)
                _check_space(partial, needed_bytes)
                yield partial
                (partial / MARKER).unlink()
                partial.rename(out)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"the release cannot be written ({error.strerror or error})",
            where=out,
            fix="free some space or name another folder",
        ) from None


def _check_free(out: Path, partial: Path) -> None:
    if os.path.ismount(out):
        raise InputError("is a mount point", where=out, fix="name a new folder inside it")
    if out.exists() and not _is_empty(out):
        raise InputError("exists and is not an empty folder", where=out, fix="name a new folder")
    if partial.exists() and not (_is_empty(partial) or (partial / MARKER).is_file()):
        raise InputError(
            "is in the way and not an unfinished release", where=partial, fix="move it away"
        )


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


@contextmanager
def _locked(marker: Path) -> Iterator[IO[bytes]]:
    """The marker file, held by this process as long as it lives."""
    with marker.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "another run is writing this release", where=marker.parent, fix="wait for it"
            ) from None
        yield file


def _empty(partial: Path) -> None:
    for entry in partial.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != MARKER:
            entry.unlink()


def _check_space(partial: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(partial).free
    if free < needed_bytes:
        raise OSError(f"it needs {needed_bytes >> 20} MiB, {free >> 20} MiB are free")
