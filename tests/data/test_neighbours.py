"""The cut of the appropriateness matrix, against the published cut of the real lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reactdist.data.lists import IndexRow, Pair
from reactdist.data.neighbours import cut, cut_neighbours
from reactdist.errors import DataError, InputError

GOLDEN = Path(__file__).parents[1] / "golden"
LISTS = GOLDEN / "lists"
FULL_ROWS = 8616


def made_up_matrix() -> np.ndarray:
    i, j = np.arange(FULL_ROWS)[:, None], np.arange(FULL_ROWS)[None, :]
    return ((7919 * i + 104729 * j) % 97 == 0) | (i == j)


def test_agrees_with_the_published_cut(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", made_up_matrix().astype(np.float32))
    golden = np.load(GOLDEN / "neighbours_val.npz", allow_pickle=False)
    rows, columns = golden["shape"]
    expected = np.unpackbits(golden["packed"], axis=1)[:, :columns].astype(bool)
    assert expected.shape == (rows, columns)
    got = cut_neighbours(tmp_path / "m.npy", LISTS / "data_indices.csv", LISTS / "val.csv")
    np.testing.assert_array_equal(got, expected)


INDEX = (IndexRow("noxi", "s1", "1"), IndexRow("udiva", "002003_animal", "4"))


def test_udiva_paths_match_subject_and_task() -> None:
    pairs = [Pair("UDIVA/animal/002003/FC1/part/4", "UDIVA/animal/002003/FC2/part/4")]
    matrix = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(cut(matrix, INDEX, pairs), matrix[[1, 3]][:, [1, 3]] != 0)


def test_mirrored_items_come_from_the_second_half() -> None:
    matrix = np.zeros((4, 4))
    matrix[2, 0] = 1
    pairs = [Pair("NoXI/s1/Expert_video/1", "NoXI/s1/Novice_video/1")]
    assert cut(matrix, INDEX, pairs).tolist() == [[False, False], [True, False]]


def test_unmatched_paths_are_named() -> None:
    pairs = [Pair("NoXI/s2/Expert_video/1", "NoXI/s2/Novice_video/1")]
    with pytest.raises(DataError, match="NoXI/s2/Expert_video/1"):
        cut(np.zeros((4, 4)), INDEX, pairs)


def test_a_matrix_of_another_release_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected \(4, 4\)"):
        cut(np.zeros((6, 6)), INDEX, [])
