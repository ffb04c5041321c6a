"""Predictions written to Parquet and read back, whole, in parts, and damaged."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from reactdist.errors import InputError
from reactdist.evaluate.predictions import PredictionWriter, read_predictions, write_predictions


def _made(items: int, frames: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return (
        generator.random((items, 3, frames, 25), np.float32),
        generator.random((items, 3, frames, 58), np.float32),
    )


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    emotion, coefficients = _made(11)
    items = np.random.default_rng(1).permutation(11)
    write_predictions(tmp_path / "p.parquet", items, emotion, coefficients)
    stored = read_predictions(tmp_path / "p.parquet")
    assert stored.items.tolist() == list(range(11))
    assert stored.emotion.shape == (11, 3, 6, 25)
    assert stored.coefficients.shape == (11, 3, 6, 58)
    for row in range(11):
        assert (stored.emotion[row] == emotion[items.tolist().index(row)]).all()
    assert (np.asarray(stored.coefficients) == coefficients[np.argsort(items)]).all()
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.parquet"]


def test_a_row_is_read_without_the_others(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.parquet", range(9), *_made(9))
    metadata = pq.ParquetFile(tmp_path / "p.parquet").metadata
    assert [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)] == [4, 4, 1]


def test_parts_of_a_folder_are_one_set_cut_to_the_shortest_clip(tmp_path: Path) -> None:
    write_predictions(tmp_path / "a.parquet", [2, 3], *_made(2, frames=7))
    write_predictions(tmp_path / "b.parquet", [0, 1], *_made(2, frames=6, seed=1))
    stored = read_predictions(tmp_path)
    assert stored.items.tolist() == [0, 1, 2, 3]
    assert np.asarray(stored.emotion).shape == (4, 3, 6, 25)
    assert (stored.emotion[2] == _made(2, frames=7)[0][0][:, :6]).all()


def test_many_threads_may_read(tmp_path: Path) -> None:
    emotion, coefficients = _made(40)
    write_predictions(tmp_path / "p.parquet", range(40), emotion, coefficients)
    stored = read_predictions(tmp_path / "p.parquet")
    with ThreadPoolExecutor(8) as pool:
        same = pool.map(lambda row: (stored.emotion[row] == emotion[row]).all(), [*range(40)] * 5)
    assert all(same)


def test_a_failed_writer_leaves_nothing(tmp_path: Path) -> None:
    def fail_after_one_item() -> None:
        emotion, coefficients = _made(2)
        with PredictionWriter(tmp_path / "p.parquet") as writer:
            writer.append(0, emotion[0], coefficients[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_one_item()
    assert list(tmp_path.iterdir()) == []


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_predictions(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_predictions(tmp_path / "text.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no predictions"):
        read_predictions(tmp_path / "empty")
    twice = tmp_path / "twice"
    write_predictions(twice / "a.parquet", [0, 1], *_made(2))
    write_predictions(twice / "b.parquet", [1, 2], *_made(2))
    with pytest.raises(InputError, match="item 1 is there twice"):
        read_predictions(twice)
    with pytest.raises(InputError, match=r"emotion \(3, 6, 24\)"):
        write_predictions(tmp_path / "x.parquet", [0], _made(1)[0][..., :24], _made(1)[1])
    with pytest.raises(ValueError, match="zip"):
        write_predictions(tmp_path / "x.parquet", [0, 1], *_made(1))
