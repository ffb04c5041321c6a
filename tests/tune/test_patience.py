"""When a search is given up."""

from __future__ import annotations

from reactdist.evaluate.objective import OBJECTIVE
from reactdist.tune.patience import PatienceStopper


def test_a_better_result_of_any_trial_starts_the_count_again() -> None:
    stopper = PatienceStopper(2)
    given_up = []
    for trial, value in [("a", 0.1), ("b", 0.0), ("b", 0.2), ("c", 0.1), ("c", 0.15), ("d", 0.0)]:
        assert not stopper(trial, {OBJECTIVE: value})  # no single trial is stopped
        given_up.append(stopper.stop_all())
    assert given_up == [False, False, False, False, False, True]


def test_results_without_an_objective_still_count() -> None:
    stopper = PatienceStopper(1)
    stopper("a", {OBJECTIVE: 0.1})
    assert not stopper.stop_all()
    stopper("b", {})
    assert stopper.stop_all()
