"""The appropriateness matrix, cut to the items of one split.

Entry (i, j) is true if the listener of item j is also an appropriate reaction to the speaker of
item i. Items are the pairs as listed, then all of them mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError  # numpy's, of a header cut in the middle

import numpy as np
import numpy.typing as npt

from reactdist.data.lists import IndexRow, Pair, read_index, read_pairs
from reactdist.errors import DataError, InputError

Bools = npt.NDArray[np.bool_]
SHOWN = 20
"""How many offending paths an error spells out."""


def cut_neighbours(
    matrix: npt.ArrayLike | str | Path, index_csv: str | Path, pair_csv: str | Path
) -> Bools:
    """(N, N) bool in pair-list order, N = 2 x pairs, from the full (2R, 2R) matrix of R index rows.

    Raises:
        InputError: the matrix is not square with two rows an index row.
        DataError: a pair of the list is not in the index; names the paths.
    """
    return cut(load_matrix(matrix), read_index(index_csv), read_pairs(pair_csv))


def cut(matrix: npt.NDArray[np.generic], index: Sequence[IndexRow], pairs: Sequence[Pair]) -> Bools:
    """As `cut_neighbours`, from what was already read."""
    if matrix.ndim != 2 or matrix.shape != (2 * len(index), 2 * len(index)):
        raise InputError(
            f"the appropriateness matrix has shape {matrix.shape}, "
            f"the index has {len(index)} rows: expected {(2 * len(index), 2 * len(index))}",
            fix="use the matrix and the data_indices.csv of the same release",
        )
    unknown = not_in_index(index, pairs)
    if unknown:
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        raise DataError(
            f"{len(unknown)} pairs are not in the index: {', '.join(unknown[:SHOWN])}{more}",
            fix="use the data_indices.csv that belongs to the list",
        )
    # The first of repeated rows counts, as published.
    row_of = {row: number for number, row in reversed(list(enumerate(index)))}
    listed = np.array([row_of[IndexRow.of_path(pair.speaker)] for pair in pairs], np.int64)
    rows = np.concatenate([listed, listed + len(index)])
    return np.asarray(matrix[rows][:, rows]) != 0


def not_in_index(index: Sequence[IndexRow], pairs: Sequence[Pair]) -> list[str]:
    """Speaker paths of the pairs that no index row matches."""
    known = set(index)
    return [pair.speaker for pair in pairs if IndexRow.of_path(pair.speaker) not in known]


def load_matrix(source: npt.ArrayLike | str | Path) -> npt.NDArray[np.generic]:
    """The full matrix; a path is memory-mapped, since a split needs a small part of it.

    Raises:
        InputError: the file is missing or is not a plain npy array.
    """
    if not isinstance(source, str | Path):
        return np.asarray(source)
    try:
        return np.load(source, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, TokenError) as error:
        raise InputError(
            f"cannot read the appropriateness matrix ({error})", where=source
        ) from None
