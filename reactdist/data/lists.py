"""Pair lists and the index of the appropriateness matrix: who spoke with whom, by path.

A person clip is named by its path inside a release's folders, without extension:
`SITE/SESSION/ROLE/INDEX` (NoXI, RECOLA) or `SITE/TASK/SUBJECT/.../INDEX` (UDIVA).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reactdist.errors import DataError, InputError


@dataclass(frozen=True)
class Pair:
    """Two person clips of one conversation, the listed direction first."""

    speaker: str
    listener: str

    def mirrored(self) -> Pair:
        """The other direction: the listener speaks."""
        return Pair(self.listener, self.speaker)


@dataclass(frozen=True)
class IndexRow:
    """One row of `data_indices.csv`: a conversation clip; sites compare without case."""

    site: str
    session: str
    index: str

    @classmethod
    def of_path(cls, path: str) -> IndexRow:
        """The row that a clip path belongs to; both persons of a pair give the same row."""
        parts = path.split("/")
        if len(parts) >= 5:
            return cls(parts[0].lower(), f"{parts[2]}_{parts[1]}", parts[-1])
        return cls(parts[0].lower(), parts[1], parts[-1])


def read_pairs(path: str | Path) -> tuple[Pair, ...]:
    """Pairs in file order, from a csv with or without the leading index column.

    Raises:
        InputError: the file is missing or lacks the two columns.
        DataError: a path is absolute, leaves the release, or has fewer than four parts.
    """
    path = Path(path)
    rows = list(_rows(path, ("speaker_path", "listener_path")))
    return tuple(
        Pair(_checked(speaker, path, line), _checked(listener, path, line))
        for line, (speaker, listener) in rows
    )


def read_index(path: str | Path) -> tuple[IndexRow, ...]:
    """Rows of `data_indices.csv` in file order; half of the matrix has one row for each.

    Raises:
        InputError: the file is missing or lacks the three columns.
    """
    columns = ("site", "chat_index", "clip_index")
    return tuple(
        IndexRow(site.lower(), session, index)
        for _, (site, session, index) in _rows(Path(path), columns)
    )


def repeated(pairs: Iterable[Pair]) -> list[Pair]:
    """Pairs that come after an equal or mirrored one; both directions are items already."""
    seen: set[frozenset[str]] = set()
    again = []
    for pair in pairs:
        both = frozenset((pair.speaker, pair.listener))
        if both in seen:
            again.append(pair)
        seen.add(both)
    return again


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line number, values of `columns`) of every row."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(f"cannot read the list ({reason})", where=path) from None
    reader = csv.reader(text.splitlines())
    header = [name.strip() for name in next(reader, [])]
    missing = [name for name in columns if name not in header]
    if missing:
        raise InputError(
            f"has no column {', '.join(missing)}", where=path, fix=f"needs {','.join(columns)}"
        )
    places = [header.index(name) for name in columns]
    for line, row in enumerate(reader, start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(places):
            raise DataError("the row is cut short", where=f"{path} line {line}")
        yield line, tuple(row[place].strip() for place in places)


def _checked(clip: str, path: Path, line: int) -> str:
    """`clip` if it stays inside a release; text from a csv becomes a file name only here."""
    parts = clip.split("/")
    inside = not PurePosixPath(clip).is_absolute() and "\\" not in clip and "\0" not in clip
    if not inside or any(part in ("", ".", "..") for part in parts):
        raise DataError(
            f"the path {clip!r} leaves the release",
            where=f"{path} line {line}",
            fix="write SITE/SESSION/ROLE/INDEX, relative and without ..",
        )
    if len(parts) < 4:
        raise DataError(
            f"the path {clip!r} has {len(parts)} parts",
            where=f"{path} line {line}",
            fix="write SITE/SESSION/ROLE/INDEX",
        )
    return clip
