"""The engine on a GPU: every ZeRO stage and precision; needs no second one."""

from __future__ import annotations

import pytest
import torch

from tests.train.test_engine import STEPS, Losses, launch

STAGES = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Losses:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    whole = {"device": "cuda", "start": 0, "stop": STEPS}
    transvae = {**whole, "model": "transvae", "values": {}, "stop": 8}
    jobs = {
        "torch": {"stage": "torch", **whole},
        "transvae torch": {"stage": "torch", **transvae},
    }
    # float16 last: DeepSpeed keeps for the rest of a process that an engine was in it.
    for precision, left_out in (("float32", 0), ("bfloat16", 0), ("float16", 6)):
        for stage in STAGES:
            job = {"stage": stage, "engine": {"precision": precision}, "left_out": left_out}
            jobs[f"{precision} {stage}"] = {**whole, **job}
            jobs[f"transvae {precision} {stage}"] = {**transvae, **job}
            jobs[f"bad {precision} {stage}"] = {"device": "cuda", "what": "bad", **job}
    folder = tmp_path_factory.mktemp("cuda")
    return launch(folder, 1, jobs, backend="nccl")


@pytest.mark.parametrize("stage", STAGES)
def test_float32_has_the_losses_of_plain_torch(losses: Losses, stage: int) -> None:
    assert losses[f"float32 {stage}"] == pytest.approx(losses["torch"], rel=1e-5)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns(losses: Losses, precision: str, stage: int) -> None:
    found, wanted = losses[f"{precision} {stage}"], losses["torch"]
    assert found[0] == pytest.approx(wanted[0], rel=5e-2)
    assert found[0] != pytest.approx(wanted[0], rel=1e-5)
    assert sum(found[-5:]) == pytest.approx(sum(wanted[-5:]), rel=0.15)
    first, *_, last = losses[f"transvae {precision} {stage}"]
    assert last < first


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("precision", "step"), [("float32", 2), ("bfloat16", 2), ("float16", 18)])
def test_a_gradient_that_is_not_finite_ends_the_run(
    losses: Losses, precision: str, step: int, stage: int
) -> None:
    (found,) = losses[f"bad {precision} {stage}"]
    assert step - 2 * (precision == "float16") <= found <= step  # early scales may be too large
