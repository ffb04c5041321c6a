"""DeepSpeed engines against plain torch, and state that moves between ZeRO stages and worlds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "engine_process.py"
STEPS, SPLIT = 20, 8
Losses = dict[str, list[float]]


def launch(folder: Path, world: int, jobs: dict[str, dict[str, Any]]) -> Losses:
    """Run jobs one after the other in `world` processes of their own; name -> global losses."""
    number = len(list(folder.glob("out-*")))
    out = folder / f"out-{number}.json"
    request = {"world": world, "store": str(folder / f"store-{number}"), "jobs": jobs}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), json.dumps({**request, "rank": rank, "out": str(out)})],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    printed = [process.communicate()[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), printed[0][-2000:]
    result: Losses = json.loads(out.read_text())
    return result


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> Losses:
    """All runs; importing DeepSpeed is the slow part, so processes are few."""
    folder = tmp_path_factory.mktemp("engines")
    whole = {"start": 0, "stop": STEPS}
    first, rest = {"start": 0, "stop": SPLIT}, {"start": SPLIT, "stop": STEPS}
    saved = {name: str(folder / name) for name in ("0x2", "2x2", "3x1")}
    found = launch(
        folder,
        2,
        {f"stage {stage}": {"stage": stage, **whole} for stage in range(4)}
        | {"0x2": {"stage": 0, "save": saved["0x2"], **first}}
        | {"2x2": {"stage": 2, "save": saved["2x2"], **first}},
    )
    found |= launch(
        folder,
        1,
        {
            "torch": {"stage": "torch", **whole},
            "accumulation": {"stage": 1, "accumulation": 3, **whole},
            "2x1 after 0x2": {"stage": 2, "load": saved["0x2"], **rest},
            "0x1 after 2x2": {"stage": 0, "load": saved["2x2"], **rest},
            "3x1": {"stage": 3, "save": saved["3x1"], **first},
        },
    )
    jobs = {"1x3 after 3x1": {"stage": 1, "load": saved["3x1"], **rest}}
    return found | launch(folder, 3, jobs)


def test_it_learns_so_equal_losses_mean_equal_updates(losses: Losses) -> None:
    assert losses["torch"][-1] < 0.8 * losses["torch"][0]


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_workers_of_every_zero_stage_learn_like_plain_torch(losses: Losses, stage: int) -> None:
    assert losses[f"stage {stage}"] == pytest.approx(losses["torch"], rel=1e-5)


def test_accumulation_is_the_same_step(losses: Losses) -> None:
    assert losses["accumulation"] == pytest.approx(losses["torch"], rel=1e-5)


@pytest.mark.parametrize("second", ["2x1 after 0x2", "0x1 after 2x2", "1x3 after 3x1"])
def test_a_state_goes_on_at_another_stage_and_number_of_workers(
    losses: Losses, second: str
) -> None:
    first = second.split(" after ")[1]
    assert losses[first] + losses[second] == pytest.approx(losses["torch"], rel=1e-5)
