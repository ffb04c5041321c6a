"""Blocks of an evaluation on a real Ray: the bits of one process, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from reactdist.data.shards import Shards
from reactdist.distributed.blocks import run_on_ray
from reactdist.errors import DataError
from reactdist.evaluate.blocks import Block, cut
from reactdist.evaluate.run import Evaluated, evaluate_model
from reactdist.evaluate.score_files import score_files

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        # Workers need not find this file.
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def alone(
    small_shards: str, small_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Evaluated:
    """The evaluation in this process, with the one thread that a Ray worker has."""
    out = tmp_path_factory.mktemp("alone") / "out"
    shards = Shards.open(small_shards)
    return evaluate_model(
        small_model, shards, "train", out, num_samples=4, control=True, block_items=1
    )


def test_ray_gives_the_bits_of_one_process(
    ray_here: None, alone: Evaluated, small_shards: str, small_model: Path, tmp_path: Path
) -> None:
    there = evaluate_model(
        small_model,
        Shards.open(small_shards),
        "train",
        tmp_path / "out",
        num_samples=4,
        control=True,
        block_items=1,
        runner=run_on_ray,
    )
    assert there.scores.keys() == alone.scores.keys()
    for name, scores in alone.scores.items():
        pd.testing.assert_frame_equal(there.scores[name].table, scores.table, rtol=0, atol=0)
        assert repr(there.scores[name].metrics) == repr(scores.metrics)


@dataclass(frozen=True)
class Dying:
    """Ends its process with kill -9 at the third block, the first time it is tried."""

    marker: Path
    uses_gpu: bool = False

    def __call__(self, block: Block) -> tuple[int, int]:
        if block.number == 2 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return sum(block.items), os.getpid()


def test_a_killed_process_costs_its_block_another_attempt(ray_here: None, tmp_path: Path) -> None:
    blocks = cut("a", range(20), size=2)
    results = dict(run_on_ray(Dying(tmp_path / "marker"), blocks))
    assert (tmp_path / "marker").exists()
    assert {block: total for block, (total, _) in results.items()} == {
        block: sum(block.items) for block in blocks
    }
    assert os.getpid() not in {pid for _, pid in results.values()}


def test_files_are_scored_with_the_bits_of_one_process(ray_here: None, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {
        "predictions": generator.random((9, 2, 60, 25), np.float32),
        "listeners": generator.random((9, 60, 25), np.float32),
        "speakers": generator.random((9, 61, 25), np.float32),
        "neighbours": np.eye(9, dtype=bool) | (generator.random((9, 9)) < 0.3),
    }
    files = [tmp_path / f"{name}.npy" for name in arrays]
    for file, array in zip(files, arrays.values(), strict=True):
        np.save(file, array)
    with pytest.warns(UserWarning, match="scored on the first 60"):
        here = score_files(*files, block_items=2)
    with pytest.warns(UserWarning, match="scored on the first 60"):
        there = score_files(*files, block_items=2, runner=run_on_ray)
    pd.testing.assert_frame_equal(there, here, rtol=0, atol=0)


@dataclass(frozen=True)
class Failing:
    """Finds a clip damaged."""

    uses_gpu: bool = False

    def __call__(self, block: Block) -> None:
        raise DataError("is damaged", where="val/NoXI/1", fix="build again")


def test_an_error_for_the_user_arrives_whole(ray_here: None) -> None:
    with pytest.raises(DataError, match="val/NoXI/1: is damaged - build again") as caught:
        list(run_on_ray(Failing(), cut("a", range(2), size=1)))
    assert caught.value.exit_code == 2


def test_kill_9_of_the_command_then_the_same_command(
    alone: Evaluated, small_shards: str, small_model: Path, tmp_path: Path, tracker: str
) -> None:
    command = [
        sys.executable, "-m", "reactdist.cli", "evaluate", str(small_model), "--ray",
        "--shards", small_shards, "--split", "train", "--samples", "4", "--control",
        "--block-items", "1", "--out", str(tmp_path / "out"), "--tracking", tracker,
    ]  # fmt: skip
    parts = tmp_path / "out" / "predictions.parquet"
    driver = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(finished(parts)) < 2:
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    driver.kill()
    driver.wait(timeout=60)
    before = finished(parts)
    assert not (tmp_path / "out" / "evaluation.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "scoring: " in done.stderr
    assert before.items() <= finished(parts).items()  # not one of them was written again
    for name, scores in alone.scores.items():
        slug = "model-other-speakers" if "other" in name else name
        stored = pd.read_parquet(tmp_path / "out" / f"items-{slug}.parquet")
        pd.testing.assert_frame_equal(stored, scores.table, rtol=0, atol=0)
    assert [entry.name for entry in tmp_path.iterdir() if "unfinished" in entry.name] == []


def finished(parts: Path) -> dict[str, int]:
    """Inode of every whole file of predictions."""
    return {file.name: file.stat().st_ino for file in parts.glob("*.parquet")}
