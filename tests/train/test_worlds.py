"""A run goes on with another number of workers as if it had always had it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from reactdist.checkpoints import find_checkpoints
from reactdist.data.order import stream
from reactdist.data.shards import Shards
from tests.conftest import small_run
from tests.data.damage import damage_audio
from tests.train.test_engine import launch_ranks

RANK = Path(__file__).parent / "rank_process.py"
BATCH = 12
Curve = dict[str, dict[str, float]]


def train(
    output: Path, shards: str, world: int, stop_after: int | None = None, **changes: Any
) -> Curve:
    """Losses by step of a run (or its continuation) on `world` workers."""
    values = small_run(
        shards,
        output / "runs",
        **{
            "batch_size": BATCH,
            "model": {"dropout": 0.0},
            "loss": {"diversity_weight": 10.0},
            "validation": {"items": 3, "frames": 24, "every_epochs": 12, "num_samples": 2},
            **changes,
        },
    )
    out = output / f"losses-{len(list(output.glob('losses-*')))}.json"
    request = {"settings": dict(values), "stop_after": stop_after, "out": str(out)}
    launch_ranks(RANK, output, world, request)
    curve: Curve = json.loads(out.read_text())
    return curve


@pytest.mark.slow
def test_two_then_one_then_three_workers_like_one(small_shards: str, tmp_path: Path) -> None:
    """The real TransVAE with its diversity pass, the noise of which each worker draws itself."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    undisturbed = train(whole, small_shards, 1, epochs=12)
    curves = [
        train(parts, small_shards, world, stop, epochs=12, engine={"zero_stage": 2})
        for world, stop in ((2, 3), (1, 5), (3, None))
    ]
    assert [list(map(int, curve)) for curve in curves] == [[1, 2, 3], [4, 5], [6, 7, 8]]
    joined = {step: losses for curve in curves for step, losses in curve.items()}
    assert joined.keys() == undisturbed.keys()
    assert undisturbed["1"]["diversity"] > 0.1
    for step, losses in undisturbed.items():
        assert joined[step] == pytest.approx(losses, rel=1e-5, abs=1e-5), step
    state = find_checkpoints(parts / "runs" / "small" / "checkpoints")[-1].state
    assert state["world_size"] == 3
    assert state["items_consumed"] == len(undisturbed) * BATCH


@pytest.mark.slow
def test_damage_that_one_worker_meets_is_answered_by_both(
    small_shards: str, tmp_path: Path
) -> None:
    shards = Path(shutil.copytree(small_shards, tmp_path / "shards"))
    items = len(Shards.open(shards).items("train"))
    # The last item of the first batch, which is the second worker's; the dry run reads others.
    first_batch, _ = stream(items, 0, 0, 4)
    victim = int(first_batch[-1])
    key = damage_audio(shards, "train", victim)
    changes = {"batch_size": 4, "epochs": 2}
    train(tmp_path, str(shards), 2, data={"crop_frames": 16, "damaged": "fail"}, **changes)
    errors = sorted(tmp_path.glob("losses-0.json-error-*"))
    assert len(errors) == 2
    assert all(f"({key}) is damaged" in error.read_text() for error in errors)
    curve = train(tmp_path, str(shards), 2, data={"crop_frames": 16, "damaged": "skip"}, **changes)
    assert list(curve) == [str(step) for step in range(1, 2 * items // 4 + 1)]
    state = find_checkpoints(tmp_path / "runs" / "small" / "checkpoints")[-1].state
    assert state["skipped"] == {str(victim): 2}


@pytest.mark.slow
def test_a_resume_in_the_middle_is_exact_with_everything_on(
    small_shards: str, tmp_path: Path
) -> None:
    """Dropout, a moving learning rate, averaged weights, micro-batches: no bit differs.

    None of them has state of its own in a checkpoint but the averages: random numbers and the
    learning rate are functions of (seed, step).
    """
    changes = {
        "batch_size": 4,
        "accumulation": 2,
        "epochs": 4,
        "ema_decay": 0.9,
        "model": {"dropout": 0.1},
        "optimizer": {"lr": 1e-3, "schedule": "cosine", "warmup_steps": 3},
        "validation": {"items": 2, "frames": 24, "every_epochs": 4, "num_samples": 2},
    }
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    undisturbed = train(whole, small_shards, 2, **changes)
    first = train(parts, small_shards, 2, 3, **changes)
    assert list(first) == ["1", "2", "3"]
    assert first | train(parts, small_shards, 2, **changes) == undisturbed
    one, other = (
        find_checkpoints(folder / "runs" / "small" / "checkpoints")[-1] for folder in (whole, parts)
    )
    assert one.step == other.step == len(undisturbed)
    for name in ("model", "optimizer", "ema"):
        tensors, again = one.tensors(name), other.tensors(name)
        assert tensors.keys() == again.keys()
        assert all(torch.equal(tensors[key], again[key]) for key in tensors), name
    averaged, last = one.tensors("ema"), one.tensors("model")
    assert any(not torch.equal(averaged[key], last[key]) for key in last)
