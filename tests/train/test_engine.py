"""DeepSpeed engines against plain torch, and state that moves between ZeRO stages and worlds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reactdist.train import meeting

SCRIPT = Path(__file__).parent / "engine_process.py"
STEPS, SPLIT = 20, 8
Losses = dict[str, list[float]]


def launch_ranks(script: Path, folder: Path, world: int, request: dict[str, Any]) -> None:
    """Run `script` as `world` ranks, each a process of its own, until all have ended well."""
    store = folder / f"store-{len(list(folder.glob('store-*')))}"
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                str(script),
                json.dumps({**request, "rank": rank, "world": world, "store": str(store)}),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    printed = [process.communicate()[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), printed[0][-2000:]


def launch(folder: Path, world: int, jobs: dict[str, dict[str, Any]], **request: Any) -> Losses:
    """Run jobs one after the other in `world` processes of their own; name -> global losses."""
    out = folder / f"out-{len(list(folder.glob('out-*')))}.json"
    launch_ranks(SCRIPT, folder, world, {"jobs": jobs, "out": str(out), **request})
    result: Losses = json.loads(out.read_text())
    return result


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Losses:
    """All runs; importing DeepSpeed is the slow part, so processes are few."""
    folder = tmp_path_factory.mktemp("engines")
    whole, half = {"start": 0, "stop": STEPS}, {"precision": "float16"}
    first, rest = {"start": 0, "stop": SPLIT}, {"start": SPLIT, "stop": STEPS}
    saved = {name: str(folder / name) for name in ("0x2", "2x2", "3x1")}
    found = launch(
        folder,
        2,
        {f"stage {stage}": {"stage": stage, **whole} for stage in range(4)}
        | {f"bad {stage}": {"stage": stage, "what": "bad"} for stage in range(4)}
        | {
            f"bfloat16 {stage}": {"stage": stage, "engine": {"precision": "bfloat16"}, **whole}
            for stage in range(4)
        }
        | {
            f"transvae {stage} {again}": {
                "stage": stage,
                "model": "transvae",
                "values": {"checkpoint_video": again},
                "engine": {"precision": "bfloat16" if stage == 3 else "float32"},
                "start": 0,
                "stop": 3,
            }
            for stage in (0, 3)
            for again in (False, True)
        }
        | {f"meet {norm}": {"what": "meet", "clip_norm": norm} for norm in (0.0, 1.0)}
        | {
            "machines": {"stage": 0, "shared": "/nowhere", **whole},
            "accumulation of two workers": {"stage": 0, "accumulation": 3, **whole},
            "own reduction": {
                "stage": 0,
                "engine": {"deepspeed": {"prescale_gradients": True}},
                **whole,
            },
            "json": {
                "stage": 2,
                "engine": {"deepspeed": {"zero_optimization": {"reduce_bucket_size": 50}}},
                **whole,
            },
        }
        | {"0x2": {"stage": 0, "save": saved["0x2"], **first}}
        | {"2x2": {"stage": 2, "save": saved["2x2"], **first}},
    )
    found |= launch(
        folder,
        1,
        {
            "torch": {"stage": "torch", **whole},
            "autocast torch": {"stage": "torch", "autocast": True, **whole},
            "torch moments": {"stage": "torch", "moments": True, **whole},
            "bad torch": {"stage": "torch", "what": "bad"},
            "accumulation": {"stage": 1, "accumulation": 3, **whole},
            "2x1 after 0x2": {"stage": 2, "load": saved["0x2"], **rest},
            "0x1 after 2x2": {"stage": 0, "load": saved["2x2"], **rest},
            "3x1": {"stage": 3, "save": saved["3x1"], **first},
        },
    )
    jobs = {"1x3 after 3x1": {"stage": 1, "load": saved["3x1"], **rest}}
    # Last: DeepSpeed keeps for the rest of a process that one of its engines was in float16.
    saved["half"] = str(folder / "half")
    jobs["float16 transvae"] = {
        "engine": half,
        "stage": 0,
        "left_out": 6,
        "model": "transvae",
        "values": {},
        "start": 0,
        "stop": 8,
    }
    jobs["float16 first"] = {
        "engine": half, "stage": 0, "left_out": 2, "save": saved["half"], **first
    }  # fmt: skip
    for stage in range(4):
        job = {"engine": half, "stage": stage}
        jobs |= {
            f"float16 {stage}": {**job, "left_out": 2, **whole},
            f"float16 {stage} rest": {**job, "left_out": 2, "load": saved["half"], **rest},
            f"float16 {stage} moments": {
                **job, "loss_scale": 1024.0, "moments": True, "load": saved["0x2"], **rest
            },
            f"bad float16 {stage}": {**job, "what": "bad"},
            f"left out {stage}": {**job, "what": "left out"},
        }  # fmt: skip
    return found | launch(folder, 3, jobs)


def test_it_learns_so_equal_losses_mean_equal_updates(losses: Losses) -> None:
    assert losses["torch"][-1] < 0.8 * losses["torch"][0]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_workers_of_every_zero_stage_learn_like_plain_torch(losses: Losses, stage: int) -> None:
    assert losses[f"stage {stage}"] == pytest.approx(losses["torch"], rel=1e-5)


@pytest.mark.parametrize("stage", ["torch", 0, 1, 2, 3])
def test_a_gradient_not_finite_on_one_rank_stops_all_before_the_update(
    losses: Losses, stage: str | int
) -> None:
    assert losses[f"bad {stage}"] == [2.0]  # the third step


def test_gradients_of_two_workers_meet_where_any_of_them_reaches(losses: Losses) -> None:
    """Means over both workers, 0 from one that does not reach a parameter; clipped to norm 1."""
    first, second = np.array([4.5, 6.0, 2.5]), np.array([3.0, 4.0])
    for norm in (0.0, 1.0):
        wanted = [g / (np.linalg.norm(g) if norm else 1.0) for g in (first, second)]
        assert losses[f"meet {norm}"] == pytest.approx([*wanted[0], 0, *wanted[1], 0, 0])


def test_workers_of_two_machines_learn_the_same(losses: Losses) -> None:
    """Without memory to share; a sum of two has the same bits in any order."""
    assert losses["machines"] == losses["stage 0"]


def test_shared_memory_is_a_file_without_a_name(losses: Losses) -> None:
    """So it is gone with the workers, however they end."""
    assert losses["left in shared memory"] == []


def test_memory_that_is_not_there_is_not_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "_SHARED", str(tmp_path))
    assert meeting._new_file(2**60) == ""
    assert list(tmp_path.iterdir()) == []
    assert Path(meeting._new_file(4096)).stat().st_size == 4096


def test_deepspeed_reduces_where_its_json_says_how(losses: Losses) -> None:
    assert losses["own reduction"] == pytest.approx(losses["torch"], rel=1e-5)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_bfloat16_of_every_stage_learns_like_torch_autocast(losses: Losses, stage: int) -> None:
    found = losses[f"bfloat16 {stage}"]
    assert found == pytest.approx(losses["autocast torch"], rel=2e-2)
    assert found == pytest.approx(losses["torch"], rel=5e-2)
    assert found[0] != pytest.approx(losses["torch"][0], rel=1e-5)  # it did compute in bfloat16


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_float16_of_every_stage_learns(losses: Losses, stage: int) -> None:
    """Updates that a scale too large for float16 left out are made up for by those after it."""
    found, wanted = losses[f"float16 {stage}"], losses["torch"]
    assert found[0] == pytest.approx(wanted[0], rel=1e-2)
    assert found[0] != pytest.approx(wanted[0], rel=1e-5)
    assert np.mean(found[-5:]) == pytest.approx(np.mean(wanted[-5:]), rel=0.1)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_float16_gradients_are_clipped_as_if_their_loss_had_no_scale(
    losses: Losses, stage: int
) -> None:
    """AdamW's losses would not tell: it takes any scale out of the gradient again."""
    found, wanted = losses[f"float16 {stage} moments"], np.array(losses["torch moments"])
    assert found == pytest.approx(wanted, abs=0.02 * float(np.abs(wanted).max()))


def test_float16_trains_the_transvae(losses: Losses) -> None:
    first, *_, last = losses["float16 transvae"]
    assert last < first


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_float16_run_goes_on_with_the_scale_it_had(losses: Losses, stage: int) -> None:
    """To the bit at the same stage; the count of updates (`left_out`) says it for the others."""
    found, whole = losses[f"float16 {stage} rest"], losses["float16 0"]
    assert losses["float16 first"] == whole[:SPLIT]
    assert found == whole[SPLIT:] if stage == 0 else found == pytest.approx(whole[SPLIT:], rel=0.02)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_checkpoint_may_be_asked_for_before_the_first_update(losses: Losses, stage: int) -> None:
    assert losses[f"left out {stage}"] == [0.0, 1.0]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_gradient_that_no_scale_makes_finite_ends_a_float16_run(
    losses: Losses, stage: int
) -> None:
    # From step 2 on 2**16 is halved until it is below 1; steps before may have begun.
    assert 16 <= losses[f"bad float16 {stage}"][0] <= 18


@pytest.mark.parametrize("stage", [0, 3])
def test_activation_checkpointing_changes_no_loss(losses: Losses, stage: int) -> None:
    """float32 at stage 0, bfloat16 at stage 3, where parameters are gathered a second time."""
    kept, again = (losses[f"transvae {stage} {again}"] for again in (False, True))
    assert again == pytest.approx(kept, rel=1e-5)


def test_keys_that_may_be_brought_are_deepspeeds_own(losses: Losses) -> None:
    assert losses["unknown keys"] == []


def test_a_brought_json_reaches_deepspeed_and_keeps_the_losses(losses: Losses) -> None:
    assert losses["json"] == pytest.approx(losses["torch"], rel=1e-5)


@pytest.mark.parametrize("name", ["accumulation", "accumulation of two workers"])
def test_accumulation_is_the_same_step(losses: Losses, name: str) -> None:
    assert losses[name] == pytest.approx(losses["torch"], rel=1e-5)


@pytest.mark.parametrize("second", ["2x1 after 0x2", "0x1 after 2x2", "1x3 after 3x1"])
def test_a_state_goes_on_at_another_stage_and_number_of_workers(
    losses: Losses, second: str
) -> None:
    first = second.split(" after ")[1]
    assert losses[first] + losses[second] == pytest.approx(losses["torch"], rel=1e-5)
