"""When a search is given up, and what it has used."""

from __future__ import annotations

import pytest

from reactdist.evaluate.objective import OBJECTIVE
from reactdist.tune.journal import Journal, Report
from reactdist.tune.limits import budget, limit_reached, trials_since_best
from reactdist.tune.places import Needs
from reactdist.tune.settings import LimitSettings

GROUP = Needs(count=2, cpus=3, gpus=1, group=True)


def journal(*results: tuple[int, float], seconds: float = 0.0) -> Journal:
    made = Journal(None)
    for step, (number, value) in enumerate(results, 1):
        if number not in made.trials:
            made.propose(number, {})
        made.report(number, Report(step, step, {OBJECTIVE: value}), seconds=seconds)
    return made


def test_a_better_result_of_any_trial_starts_the_count_again() -> None:
    results = [(0, 0.1), (1, 0.0), (1, 0.2), (2, 0.1), (2, 0.15), (3, 0.0)]
    limits = [
        bool(limit_reached(LimitSettings(patience_trials=2), journal(*results[:n]), GROUP))
        for n in range(1, len(results) + 1)
    ]
    assert limits == [False, False, False, False, False, True]


def test_an_undefined_objective_is_a_result_that_is_not_better() -> None:
    assert trials_since_best(journal((0, 0.1), (1, float("nan")), (2, float("nan")))) == 2


def test_hours_are_what_every_worker_reserves() -> None:
    used = budget(journal((0, 0.1), (0, 0.2), (1, 0.1), seconds=1200), GROUP)
    assert used.gpu_hours == pytest.approx(1 * 2)
    assert used.core_hours == pytest.approx(1 * 2 * 3)


@pytest.mark.parametrize(
    ("settings", "reached"),
    [
        ({"gpu_hours": 2.1}, ""),
        ({"gpu_hours": 2}, "2 of 2 GPU-hours used"),
        ({"core_hours": 6}, "6 of 6 core-hours used"),
        ({"core_hours": 6.5, "gpu_hours": 3}, ""),
    ],
)
def test_a_spent_budget_ends_the_search(settings: dict[str, float], reached: str) -> None:
    spent = journal((0, 0.1), (1, 0.2), (2, 0.3), seconds=1200)
    assert limit_reached(LimitSettings(**settings), spent, GROUP) == reached
