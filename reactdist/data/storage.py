"""Where shards lie: a local folder or any filesystem pyarrow has a URI for (`s3://bucket/path`)."""

from __future__ import annotations

import posixpath
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactdist.errors import InputError, StorageError

_TEMPORARY = ".writing"


@dataclass(frozen=True)
class Store:
    """A folder on a pyarrow filesystem; names are relative to it, with `/`."""

    filesystem: Any
    base: str
    shown: str
    """As the user wrote it."""

    @classmethod
    def at(cls, path: str | Path) -> Store:
        """The folder at a local path or URI; it need not exist.

        Raises:
            InputError: a URI of a kind that pyarrow does not know.
        """
        import pyarrow as pa
        from pyarrow import fs

        text = str(path)
        if "://" not in text:
            return cls(fs.LocalFileSystem(), str(Path(text).absolute()), text)
        try:
            filesystem, base = fs.FileSystem.from_uri(text)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"cannot use this address ({error})", where=text) from None
        return cls(filesystem, base, text)

    @property
    def is_local(self) -> bool:
        return self.filesystem.type_name == "local"

    def path(self, name: str) -> str:
        """`name` as the filesystem wants it."""
        return posixpath.join(self.base, name) if name else self.base

    def where(self, name: str) -> str:
        """`name` as a user wants to read it."""
        # s3://bucket/path?region=... and the like: what follows is about the filesystem.
        return posixpath.join(self.shown.partition("?")[0], name)

    def size(self, name: str) -> int | None:
        """Bytes of a file, None if there is none.

        Raises:
            StorageError: the storage does not answer, or not to us.
        """
        from pyarrow import fs

        try:
            info = self.filesystem.get_file_info(self.path(name))
        except OSError as error:
            raise self._unreadable(name, error) from None
        return int(info.size) if info.type == fs.FileType.File else None

    def exists(self, name: str) -> bool:
        return self.size(name) is not None

    def read(self, name: str) -> bytes:
        """All bytes of a file.

        Raises:
            StorageError: there is none, or it cannot be read.
        """
        try:
            with self.filesystem.open_input_stream(self.path(name)) as stream:
                return bytes(stream.read())
        except OSError as error:
            raise self._unreadable(name, error) from None

    def write(self, name: str, data: bytes) -> None:
        """Write a file that appears whole or not at all.

        Raises:
            StorageError: the disk is full, or the folder cannot be written.
        """
        writing = temporary(name, new_writer())
        try:
            self.filesystem.create_dir(posixpath.dirname(self.path(name)), recursive=True)
            with self.filesystem.open_output_stream(self.path(writing)) as stream:
                stream.write(data)
            self.commit(writing, name)
        except OSError as error:
            with suppress(OSError, StorageError):
                self.remove(writing)
            raise StorageError(f"cannot write ({_said(error)})", where=self.where(name)) from None

    def commit(self, writing: str, name: str) -> None:
        """Give the finished temporary file its name."""
        self.filesystem.move(self.path(writing), self.path(name))

    def sweep(self) -> None:
        """Delete the temporary files that killed writers left."""
        from pyarrow import fs

        for info in self.filesystem.get_file_info(fs.FileSelector(self.base, recursive=True)):
            if info.path.endswith(_TEMPORARY):
                self.filesystem.delete_file(info.path)

    def remove(self, name: str) -> None:
        """Delete a file if it is there."""
        if self.exists(name):
            self.filesystem.delete_file(self.path(name))

    def remove_folder(self, name: str) -> None:
        """Delete a folder and what is in it, if it is there."""
        from pyarrow import fs

        if self.filesystem.get_file_info(self.path(name)).type == fs.FileType.Directory:
            self.filesystem.delete_dir(self.path(name))

    def _unreadable(self, name: str, error: OSError) -> StorageError:
        return StorageError(f"cannot be read ({_said(error)})", where=self.where(name))


def temporary(name: str, writer: str = "") -> str:
    """The name that a file has while it is written; a killed writer leaves it behind.

    `writer` tells several writers of one file apart: a task may have outlived its killed build, or
    run on a node that was only believed lost. Each then gives its own whole file the name.
    """
    return f"{name}.{writer}{_TEMPORARY}" if writer else f"{name}{_TEMPORARY}"


def new_writer() -> str:
    """Tells one writer from all others."""
    return secrets.token_hex(4)


def _said(error: OSError) -> str:
    return " ".join(str(error).split())
