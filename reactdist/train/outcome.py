"""How a group of workers ended for good: said by the rank that knows, heard by the driver.

What another attempt may cure (a lost worker or node, storage, the first time that memory runs
out) is raised instead, and Ray Train starts the group again.
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

from reactdist.errors import DataError, InputError, NonFiniteLoss, OutOfMemory, ReactdistError
from reactdist.train.loop import Preempted

_KINDS = {
    kind.__name__: kind for kind in (NonFiniteLoss, Preempted, InputError, DataError, OutOfMemory)
}


class Outcome:
    """The end of a run, as a file in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "outcome.json"

    def forget(self) -> None:
        """Before a new start."""
        for path in (self.path, *self.folder.glob("out-of-memory-*")):
            path.unlink(missing_ok=True)

    def said(self) -> bool:
        """Whether a rank has said how the run ended."""
        return os.path.exists(self.path)  # False too where storage does not answer

    def say(self, error: ReactdistError) -> None:
        """Write it, whole; the first rank to say something is the one believed."""
        kind = next(k.__name__ for k in type(error).__mro__ if k.__name__ in _KINDS)
        document = {"kind": kind, "what": error.what, "where": error.where, "fix": error.fix}
        part = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        try:
            part.write_text(json.dumps(document))
            try:
                os.link(part, self.path)
            except FileExistsError:
                return
            except OSError:  # storage without hard links: the last one is believed
                part.replace(self.path)
        finally:
            part.unlink(missing_ok=True)

    def heard(self) -> ReactdistError | None:
        """What was said."""
        if not self.said():
            return None
        said = json.loads(self.path.read_text())
        return _KINDS[said["kind"]](said["what"], where=said["where"], fix=said["fix"])

    def is_final(self, error: ReactdistError, rank: int) -> bool:
        """Whether another attempt would meet the same error: by its type, or for the second time
        that memory ran out on this rank at the same step."""
        if not isinstance(error, OutOfMemory):
            return not error.retryable
        note = self.folder / f"out-of-memory-{rank}"
        before = note.read_text() if note.exists() else None
        note.write_text(error.where)
        return before == error.where
