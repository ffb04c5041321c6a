"""What runs are ranked by."""

from __future__ import annotations

import math

import pytest

from reactdist.config import parse
from reactdist.errors import InputError
from reactdist.evaluate.objective import Guard, ObjectiveSettings, objective, violation

METRICS = {"FRCorr": 0.3, "FRDist_mean": 9.0, "FRDiv": 0.01, "FRSyn": 40.0}
MEAN_FACE = {"FRDist_mean": 10.0}


def test_where_guards_hold_the_metric_alone_decides() -> None:
    assert objective(METRICS, ObjectiveSettings(), MEAN_FACE) == 0.3


def test_a_missed_guard_costs_its_share() -> None:
    worse = {**METRICS, "FRDist_mean": 12.0}
    assert objective(worse, ObjectiveSettings(), MEAN_FACE) == pytest.approx(0.3 - 0.2)
    equal = {**METRICS, "FRDiv": 0.0}  # ten equal samples
    assert objective(equal, ObjectiveSettings(), MEAN_FACE) == pytest.approx(0.3 - 1.0)


def test_a_stated_combination() -> None:
    settings = ObjectiveSettings(terms={"FRCorr": 2.0, "FRSyn": -0.01}, guards=())
    assert objective(METRICS, settings) == pytest.approx(0.6 - 0.4)
    assert math.isnan(objective({**METRICS, "FRSyn": math.nan}, settings))


def test_violation_is_relative_to_the_limit() -> None:
    assert violation(15.0, Guard(metric="FRSyn", max=10.0)) == pytest.approx(0.5)
    assert violation(9.0, Guard(metric="FRSyn", max=10.0)) == 0.0
    assert violation(0.5, Guard(metric="FRDiv", min=1.0)) == pytest.approx(0.5)


def test_sums_over_samples_are_not_held_against_one_sample_of_the_mean_face() -> None:
    with pytest.raises(InputError, match="max_ratio_to_mean_face"):
        parse(Guard, {"metric": "FRDist", "max_ratio_to_mean_face": 1.0})
