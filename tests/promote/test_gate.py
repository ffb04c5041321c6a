"""The gate on tables whose answer is known; pure values, no MLflow."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from reactdist.config import parse
from reactdist.errors import InputError
from reactdist.promote.gate import (
    Check,
    Evaluation,
    Evidence,
    best_of,
    gate,
    relative_error,
)
from reactdist.promote.settings import GateSettings

SETTINGS = GateSettings()
ITEMS = 40


def evaluation(
    name: str,
    correlation: float = 0.3,
    distance: float = 60.0,
    diversity: float = 0.01,
    seed: int = 0,
) -> Evaluation:
    """Per-item values around the given means; what is hard in an item is hard for every model."""
    hard = np.random.default_rng(99).normal(size=ITEMS)
    own = np.random.default_rng(seed).normal(size=ITEMS)
    table = pd.DataFrame(
        {
            "item": np.arange(ITEMS),
            "session": np.arange(ITEMS) // 2,
            "FRCorr": correlation + 0.2 * hard + 0.01 * own,
            "FRDist": distance + 5 * hard + 0.1 * own,
            "FRDiv": np.full(ITEMS, diversity),
        }
    )
    return Evaluation(name, table, "f" * 64, noise_seed=7919)


def evidence(candidate: Evaluation, *references: Evaluation, champion: bool = True) -> Evidence:
    return Evidence(candidate, references, champion, "f" * 64, ITEMS, (0, 1), 3e-7)


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


def test_a_better_candidate_passes_and_every_check_has_numbers() -> None:
    checks = gate(evidence(evaluation("new", 0.35, seed=1), evaluation("old")), SETTINGS)
    assert failed(checks) == []
    assert [check.name for check in checks] == [
        "same data",
        "full validation split",
        "fresh noise",
        "exported weights reproduce the stored predictions",
        "FRCorr beats old",
        "FRDist not worse than old",
        "FRDiv large enough",
        "FRDiv not worse than old",
    ]
    beats = next(check for check in checks if check.name == "FRCorr beats old")
    assert beats.numbers["better_by"] == pytest.approx(0.05, abs=0.01)
    assert 0 < beats.numbers["low"] < beats.numbers["better_by"] < beats.numbers["high"]
    assert "higher is better" in beats.detail


def test_a_difference_smaller_than_its_interval_is_not_better() -> None:
    old = evaluation("old")
    for correlation in (0.3, 0.25):
        checks = gate(evidence(evaluation("new", correlation, seed=1), old), SETTINGS)
        assert failed(checks) == ["FRCorr beats old"]
    # Pairing is what makes a small difference visible: unpaired, 0.05 drowns in 0.2 of noise.
    assert failed(gate(evidence(evaluation("new", 0.32, seed=1), old), SETTINGS)) == []


def test_the_direction_of_a_metric_decides_what_better_is() -> None:
    settings = parse(GateSettings, {"objective": "FRDist", "guards": []})
    old = evaluation("old")
    assert failed(gate(evidence(evaluation("new", distance=55.0, seed=1), old), settings)) == []
    worse = gate(evidence(evaluation("new", distance=65.0, seed=1), old), settings)
    assert failed(worse) == ["FRDist beats old"]


@pytest.mark.parametrize(("distance", "passes"), [(59.0, True), (62.9, True), (63.2, False)])
def test_a_guard_allows_its_margin_and_no_more(distance: float, passes: bool) -> None:
    old = evaluation("old")
    mean = old.table["FRDist"].mean()
    new = evaluation("new", 0.4, distance=distance, seed=0)
    expected = new.table["FRDist"].mean() <= 1.05 * mean
    assert expected == passes
    assert ("FRDist not worse than old" not in failed(gate(evidence(new, old), SETTINGS))) == passes


def test_the_estimate_of_a_guard_decides_not_the_hope_in_its_interval() -> None:
    old = evaluation("old")
    noise = np.random.default_rng(1).normal(size=ITEMS)
    worse = old.table["FRDist"] + 4.0 + 10 * (noise - noise.mean())
    new = replace(evaluation("new", 0.5), table=evaluation("new", 0.5).table.assign(FRDist=worse))
    checks = gate(evidence(new, old), SETTINGS)
    guard = next(check for check in checks if check.name == "FRDist not worse than old")
    assert guard.numbers["high"] > -guard.numbers["allowed"] > guard.numbers["better_by"]
    assert not guard.passed


def test_ten_equal_samples_fail_even_against_baselines() -> None:
    collapsed = evaluation("new", 0.5, diversity=0.0)
    noise = evaluation("Random", 0.05, 228.0, diversity=1 / 6)
    checks = gate(evidence(collapsed, noise, champion=False), SETTINGS)
    assert failed(checks) == ["FRDiv large enough"]
    lively = evaluation("new", 0.5, diversity=0.01)
    assert failed(gate(evidence(lively, noise, champion=False), SETTINGS)) == []


def test_without_a_champion_every_baseline_must_be_beaten() -> None:
    names = {"Random": 0.05, "MeanSeq": 0.34, "MeanFr": 0.0}
    baselines = [evaluation(name, value, 70.0, seed=3) for name, value in names.items()]
    checks = gate(evidence(evaluation("new", 0.3), *baselines, champion=False), SETTINGS)
    assert failed(checks) == ["FRCorr beats MeanSeq"]
    assert sum(check.name.startswith("FRCorr beats") for check in checks) == 3


def test_evidence_that_is_not_comparable_fails_by_name() -> None:
    new, old = evaluation("new", 0.5), evaluation("old")
    good = evidence(new, old)
    elsewhere = {
        "candidate": replace(good, candidate=replace(new, fingerprint="0" * 64)),
        "reference": replace(good, references=[replace(old, fingerprint="0" * 64)]),
        "both": evidence(replace(new, fingerprint="0" * 64), replace(old, fingerprint="0" * 64)),
        "unknown": replace(good, candidate=replace(new, fingerprint="")),
    }
    for what, bad in elsewhere.items():
        assert failed(gate(bad, SETTINGS)) == ["same data"], what
    cases = {
        "full validation split": replace(good, split_items=ITEMS + 2),
        "fresh noise": replace(good, search_seeds=(0, 7919)),
        "exported weights reproduce the stored predictions": replace(good, reproduction_error=2e-5),
    }
    for name, bad in cases.items():
        assert failed(gate(bad, SETTINGS)) == [name]
    assert failed(gate(replace(good, reproduction_error=None), SETTINGS)) == [
        "exported weights reproduce the stored predictions"
    ]
    assert failed(gate(replace(good, reproduction_error=math.nan), SETTINGS)) == [
        "exported weights reproduce the stored predictions"
    ]


def test_a_reference_on_other_items_is_never_compared() -> None:
    shifted = evaluation("old").table.assign(item=np.arange(ITEMS) + 1)
    other = replace(evaluation("old"), table=shifted)
    checks = gate(evidence(evaluation("new", 0.5), other), SETTINGS)
    assert failed(checks) == ["full validation split"]
    assert not [check for check in checks if "beats" in check.name]


def test_the_order_of_the_items_does_not_matter() -> None:
    new, old = evaluation("new", 0.35, seed=1), evaluation("old")
    mixed = replace(old, table=old.table.sample(frac=1, random_state=0))
    assert gate(evidence(new, mixed), SETTINGS) == gate(evidence(new, old), SETTINGS)


def test_missing_evidence_is_an_error() -> None:
    with pytest.raises(InputError, match="nothing to compare"):
        gate(evidence(evaluation("new")), SETTINGS)
    old = evaluation("old")
    bare = replace(old, table=old.table.drop(columns="FRDist"))
    with pytest.raises(InputError, match="old has no FRDist per item"):
        gate(evidence(evaluation("new"), bare), SETTINGS)


def test_undefined_items_are_left_out() -> None:
    new = evaluation("new", 0.5)
    table = new.table.copy()
    table.loc[:9, "FRCorr"] = np.nan
    checks = gate(evidence(replace(new, table=table), evaluation("old")), SETTINGS)
    assert failed(checks) == []


def test_the_best_of_the_redrawn_is_chosen() -> None:
    nothing = evaluation("nan")
    nothing = replace(nothing, table=nothing.table.assign(FRCorr=np.nan))
    some = [nothing, evaluation("a", 0.2), evaluation("b", 0.4), evaluation("c", 0.3)]
    assert best_of(some, SETTINGS).name == "b"
    distance = parse(GateSettings, {"objective": "FRDist", "guards": []})
    assert best_of([evaluation("far"), evaluation("near", distance=50.0)], distance).name == "near"
    assert best_of([nothing], SETTINGS).name == "nan"
    with pytest.raises(InputError, match="no candidate"):
        best_of([], SETTINGS)


def test_relative_error_is_by_the_largest_magnitude() -> None:
    stored = np.array([[0.0, 2.0], [-4.0, 1e-9]], dtype=np.float32)
    assert relative_error(stored, stored + 4e-5) == pytest.approx(1e-5, rel=0.01)
    assert relative_error(stored, stored) == 0.0
    assert relative_error(np.zeros(3), np.zeros(3)) == 0.0
    assert relative_error(stored, stored[:1]) == math.inf
    assert math.isnan(relative_error(stored, stored * np.nan))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"objective": "loss"}, "'loss' cannot be gated on"),
        ({"objective": "FRCor"}, "did you mean 'FRCorr'"),
        ({"guards": [{"metric": "FRCorr"}]}, "the objective and a guard"),
        ({"guards": [{"metric": "FRVar"}, {"metric": "FRVar"}]}, "guarded twice"),
        ({"guards": [{"metric": "FRVar", "marign": 1}]}, "did you mean 'margin'"),
        ({"level": 1.0}, "level"),
    ],
)
def test_impossible_settings_are_named(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(GateSettings, values)
