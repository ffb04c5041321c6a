"""How many trials a cluster holds."""

from __future__ import annotations

from typing import Any

import pytest

from reactdist.config import parse
from reactdist.errors import InputError
from reactdist.tune.places import needs_of, trials_at_a_time
from reactdist.tune.settings import StudySettings

CPU8 = {"CPU": 8.0}
GPU2 = {"CPU": 16.0, "GPU": 2.0}


def study(workers: dict[str, Any], gpus: float = 0.0) -> StudySettings:
    values = {"base": {"workers": workers, "batch_size": 16}, "trial": {"gpus": gpus}}
    return parse(StudySettings, values)


@pytest.mark.parametrize(
    ("workers", "gpus", "nodes", "places"),
    [
        ({}, 0, [CPU8], 8),
        ({"cpus": 3}, 0, [CPU8, CPU8], 4),  # no trial is on two nodes: 2 on each
        ({}, 0.1, [GPU2], 16),  # 20 by the cards, 16 by the cores
        ({"cpus": 0.5}, 0.1, [GPU2], 20),
        ({}, 1, [CPU8, GPU2], 2),
        ({"count": 2}, 0, [CPU8], 4),
        ({"count": 4, "cpus": 3}, 0, [CPU8, CPU8], 1),  # its workers may be on several nodes
        ({"count": 2, "gpu": "auto"}, 0, [CPU8, GPU2], 1),  # a GPU a worker, where there are some
        ({"count": 2, "gpu": False}, 0, [CPU8, GPU2], 12),
        ({"ray": True}, 0, [CPU8], 8),
    ],
)
def test_places(
    workers: dict[str, Any], gpus: float, nodes: list[dict[str, float]], places: int
) -> None:
    needs = needs_of(study(workers, gpus), has_gpus=any("GPU" in node for node in nodes))
    assert trials_at_a_time(needs, nodes, where="s") == places


@pytest.mark.parametrize(
    ("workers", "gpus", "said"),
    [
        ({"cpus": 9}, 0, "needs 9 CPU and 0 GPU on one node; the cluster has 8 CPU, 0 GPU"),
        ({}, 0.5, "needs 1 CPU and 0.5 GPU on one node"),
        ({"count": 4, "cpus": 3}, 0, "needs 4 workers of 3 CPU and 0 GPU on one node"),
        ({"count": 2, "gpu": True}, 0, "needs 2 workers of 1 CPU and 1 GPU on one node"),
    ],
)
def test_a_trial_that_can_never_be_placed(workers: dict[str, Any], gpus: float, said: str) -> None:
    with pytest.raises(InputError) as raised:
        trials_at_a_time(needs_of(study(workers, gpus), has_gpus=False), [CPU8], where="s")
    assert said in raised.value.line()
