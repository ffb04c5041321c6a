"""What can be wrong with a file of a release; the kind of fault is the type."""

from __future__ import annotations

from typing import ClassVar

from reactdist.errors import DataError


class FileFault(DataError):
    """A file that cannot be used; `kind` is its word in reports."""

    kind: ClassVar[str] = "damaged"


class Missing(FileFault):
    """Not there."""

    kind = "missing"


class Empty(FileFault):
    """There, with nothing in it."""

    kind = "empty"


class Truncated(FileFault):
    """Ends before what its header promises."""

    kind = "truncated"


class Damaged(FileFault):
    """Not readable as what it should be."""

    kind = "damaged"


class Undecodable(FileFault):
    """The container is whole, its pictures are not."""

    kind = "undecodable"


class WrongShape(FileFault):
    """Another width, size, type or set of columns than published."""

    kind = "wrong-shape"


class NonFinite(FileFault):
    """NaN or infinite values."""

    kind = "non-finite"


class OutOfRange(FileFault):
    """Values that the quantity cannot have."""

    kind = "out-of-range"


class WrongLength(FileFault):
    """Another number of frames than the clip's other files."""

    kind = "length"
