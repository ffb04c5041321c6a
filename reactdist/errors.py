"""What a user can be told: what happened, where, and how to fix it.

Whether a failed run is worth retrying is the type of the error, not a guess from its text.
"""

from __future__ import annotations

import errno


class ReactdistError(Exception):
    """An error with three parts that the command line prints as one line.

    `exit_code` is what the process ends with: 1 for a finding (a gate not met, a loss gone NaN),
    2 for bad usage or input.
    """

    exit_code = 2
    retryable = False

    def __init__(self, what: str, *, where: object = "", fix: str = "") -> None:
        self.what = what
        self.where = str(where)
        self.fix = fix
        super().__init__(self.line())

    def line(self) -> str:
        """The one line a user sees."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} - {self.fix}" if self.fix else text

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (Ray, DataLoader workers); keyword parts must survive.
        return _rebuild, (type(self), self.what, self.where, self.fix)


def _rebuild(cls: type[ReactdistError], what: str, where: str, fix: str) -> ReactdistError:
    return cls(what, where=where, fix=fix)


class InputError(ReactdistError):
    """Bad usage or input: a key, a path, a shape, a file."""


class DataError(InputError):
    """A clip, a list or a shard that cannot be used; `where` names the file and the clip."""


class GateNotMet(ReactdistError):
    """A check that a user asked for came out false (promotion gate, demo check, data check)."""

    exit_code = 1


class NonFiniteLoss(ReactdistError):
    """A loss term or gradient became NaN or infinite; the same step would fail again."""

    exit_code = 1


class StorageError(ReactdistError):
    """Storage could not be written or read; another attempt may succeed."""

    retryable = True


class OutOfMemory(ReactdistError):
    """Memory ran out; another attempt may find more, unless it ends at the same place."""

    exit_code = 1
    retryable = True


class WorkerLost(ReactdistError):
    """A worker or node went away; the run continues from its last checkpoint."""

    exit_code = 1
    retryable = True


def failure_elsewhere(error: Exception) -> str | None:
    """One line for a disk or a tracker that failed on the way; None for a fault of this program."""
    if type(error).__module__.partition(".")[0] in ("mlflow", "requests", "sqlalchemy"):
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return f"MLflow failed on the way ({first}) - look at it, then run the same command again"
    if not isinstance(error, OSError):
        return None
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return None
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror} - free space or choose a folder you may write"
