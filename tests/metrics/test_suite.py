"""The suite as a whole: blocks of a larger set, threads, memory, the JIT's cache."""

import os
import subprocess
import sys
import tracemalloc
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reactdist.errors import InputError
from reactdist.metrics import METRICS, reduce_items, score, score_items, summarise
from reactdist.metrics.intervals import metric_intervals
from reactdist.metrics.jit import kernel


@pytest.fixture
def problem(clips, neighbours) -> tuple[np.ndarray, ...]:
    return clips(0, 9, 3), clips(1, 9), clips(2, 9), neighbours(0, 9)


def test_blocks_give_the_numbers_of_the_whole(problem) -> None:
    predictions, *truth = problem
    whole = score_items(*problem)
    blocks = [np.array([4, 1, 7]), np.array([0, 2, 3, 5]), np.array([8, 6])]
    across = reduce(add, (summarise(predictions[rows]) for rows in blocks))
    parts = [score_items(predictions[rows], *truth, rows=rows, across=across) for rows in blocks]
    together = pd.concat(parts).sort_values("item", ignore_index=True)
    pd.testing.assert_frame_equal(together, whole, rtol=1e-9)
    again = [score_items(predictions[rows], *truth, rows=rows, across=across) for rows in blocks]
    for one, other in zip(parts, again, strict=True):
        pd.testing.assert_frame_equal(one, other, rtol=0, atol=0)


def test_blocks_a_frame_longer_than_the_truth(problem) -> None:
    predictions, *truth = problem
    longer = np.concatenate([predictions, predictions[:, :, -1:]], axis=2)
    with pytest.raises(InputError, match="make it with frames=120"), pytest.warns():
        score_items(longer, *truth, across=summarise(longer))
    with pytest.warns(UserWarning, match="scored on the first 120"):
        table = score_items(longer, *truth, across=summarise(longer, frames=120))
    pd.testing.assert_frame_equal(table, score_items(*problem))


def test_threads_change_no_bit(problem) -> None:
    one = score_items(*problem, threads=1)
    pd.testing.assert_frame_equal(one, score_items(*problem, threads=4), rtol=0, atol=0)


def test_the_mean_of_the_table_is_the_score(problem) -> None:
    table = score_items(*problem)
    expected = score(*problem)
    assert reduce_items(table, 3) == expected
    assert expected["FRDist"] == pytest.approx(table["FRDist"].mean())
    table.insert(1, "session", "a")
    assert reduce_items(table, 3) == expected


def test_only_what_is_asked_for(problem) -> None:
    assert set(score(*problem, metrics=["FRVar", "FRCorr"])) == {"FRCorr", "FRCorr_mean", "FRVar"}
    with pytest.raises(InputError, match="unknown metric 'FRcorr'"):
        score(*problem, metrics=["FRcorr"])


def test_every_metric_is_listed_once() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)


def test_intervals_of_a_table(problem) -> None:
    predictions = problem[0]
    table = score_items(*problem)
    sessions = np.repeat(["a", "b", "c"], 3)
    intervals = metric_intervals(table, predictions, sessions, seed=0)
    assert set(intervals) == set(table.columns.drop("item"))
    # FRDvs without a session, by computing it anew.
    left_out = [
        reduce_items(score_items(predictions[keep], *_eye(keep.sum()), ["FRDvs"]), 3)["FRDvs"]
        for keep in (sessions != name for name in "abc")
    ]
    spread = np.sqrt(2 * np.var(left_out)) * 4.302653  # Student's t, 2 degrees, 95 %
    assert intervals["FRDvs"].high - intervals["FRDvs"].estimate == pytest.approx(spread, rel=1e-6)


def _eye(items: int) -> tuple[np.ndarray, ...]:
    return np.zeros((items, 120, 25)), np.zeros((items, 120, 25)), np.eye(items)


def test_predictions_are_never_read_whole(clips, tmp_path: Path) -> None:
    items, samples, frames = 64, 10, 120
    np.save(tmp_path / "p.npy", clips(3, items, samples, frames=frames))
    truth = clips(4, items, frames=frames)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    score(mapped[:2], truth[:2], truth[:2], np.eye(2))  # compiles
    tracemalloc.start()
    score(mapped, truth, truth, np.eye(items), threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * mapped.nbytes


def test_a_gpu_machine_needs_no_more_than_numbers() -> None:
    absent = ("pydantic", "ray", "mlflow", "deepspeed", "tslearn", "optuna", "sklearn")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}));"
        "import numpy as np; from reactdist.metrics import score;"
        "import reactdist.metrics.frdist_device, reactdist.metrics.frrea;"
        "a = np.ones((1, 1, 60, 25)); print(score(a, a[0], a[0], np.eye(1))['FRDist'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "0.0", done.stderr


def test_a_kernel_works_where_nothing_can_be_cached() -> None:
    # A function without a file has no place for a cache, as one in a read-only image has none.
    assert kernel(eval("lambda x: x + 1"))(1) == 2


def test_processes_may_compile_at_the_same_time(tmp_path: Path) -> None:
    """Trials start together on a fresh clone."""
    code = (
        "import numpy as np; from reactdist.metrics.frdist import nearest_distances as d;"
        "print(d(np.zeros((1, 70, 25)), np.ones((1, 70, 25)))[0])"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    # Each group is D attributes one apart for 70 frames: sqrt(70 D) over its divisor.
    expected = sum(np.sqrt(70 * d) / by for d, by in ((15, 15), (2, 1), (8, 8)))
    for out, errors in outputs:
        assert float(out) == pytest.approx(expected, rel=1e-6), errors
    assert any(tmp_path.rglob("*.nbi"))
