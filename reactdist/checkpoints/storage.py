"""What storage answers when it is full, read-only or gone, as one type of error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from reactdist.errors import StorageError


@contextlib.contextmanager
def storage_errors(what: str, where: Path) -> Iterator[None]:
    """Raise what fails inside as `what` could not be written.

    Raises:
        StorageError: of an OSError, or of safetensors' own type for a full disk.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageError(
            f"{what} could not be written ({reason})",
            where=where,
            fix="free space or make the folder writable",
        ) from None
