"""The emotion csv of a person clip: a header and 25 attributes a frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from reactdist.data.faults import (
    Damaged,
    Empty,
    Missing,
    NonFinite,
    OutOfRange,
    Truncated,
    WrongShape,
)
from reactdist.schema import AFFECT_SLICE, ATTRIBUTES, NUM_ATTRIBUTES

AFFECT_SLACK = 0.1
"""Valence and arousal come from a regressor that may overshoot [-1, 1] a little."""
SLACK = 1e-3


def read_emotion(path: str | Path) -> npt.NDArray[np.float32]:
    """(T, 25) in file order; may hold NaN, which `check_emotion` refuses.

    Raises:
        FileFault: missing, empty, cut short, a cell that is no number, other columns.
    """
    import pyarrow as pa
    from pyarrow import csv

    path = Path(path)
    if not path.is_file():
        raise Missing("is missing", where=path)
    if path.stat().st_size == 0:
        raise Empty("is empty", where=path)
    try:
        table = csv.read_csv(
            str(path),
            read_options=csv.ReadOptions(use_threads=False, block_size=1 << 24),
            convert_options=csv.ConvertOptions(strings_can_be_null=False),
        )
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        kind = Truncated if "got" in reason else Damaged
        raise kind(f"cannot read the csv ({reason})", where=path) from None
    if table.num_rows == 0:
        raise Empty("holds no rows", where=path)
    try:
        names = [name.strip().lower() for name in table.column_names]
    except UnicodeDecodeError:
        raise Damaged("the header is not text", where=path) from None
    if len(names) != NUM_ATTRIBUTES:
        raise WrongShape(f"has {len(names)} columns, expected {NUM_ATTRIBUTES}", where=path)
    for name, expected in zip(names, ATTRIBUTES, strict=True):
        if name != expected.lower():
            raise WrongShape(f"column {expected} is named {name!r}", where=path)
    values = np.empty((table.num_rows, NUM_ATTRIBUTES), np.float32)
    for column, name in enumerate(ATTRIBUTES):
        try:
            cells = table.column(column).cast(pa.float32())
        except pa.ArrowException:
            raise Damaged(f"column {name} holds a cell that is no number", where=path) from None
        values[:, column] = cells.to_numpy()
    return values


def check_emotion(values: npt.NDArray[np.float32], path: str | Path) -> None:
    """Refuse attributes (T, 25) that are not finite or not in their published ranges.

    Raises:
        FileFault: names the first attribute and frame.
    """
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        frame, column = bad[0]
        raise NonFinite(f"{ATTRIBUTES[column]} at frame {frame} is not finite", where=path)
    low = np.zeros(NUM_ATTRIBUTES, np.float32) - SLACK
    high = np.ones(NUM_ATTRIBUTES, np.float32) + SLACK
    low[AFFECT_SLICE], high[AFFECT_SLICE] = -1 - AFFECT_SLACK, 1 + AFFECT_SLACK
    bad = np.argwhere((values < low) | (values > high))
    if len(bad):
        frame, column = bad[0]
        value = values[frame, column]
        raise OutOfRange(f"{ATTRIBUTES[column]} at frame {frame} is {value:g}", where=path)
