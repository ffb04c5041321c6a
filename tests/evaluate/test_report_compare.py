"""Comparing runs: differing settings, real differences, and pairs that must not be compared."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from reactdist.errors import InputError
from reactdist.evaluate.report_compare import (
    Comparison,
    compare_runs,
    setting_differences,
    terminal_tables,
    write_comparison,
)
from reactdist.tracking.facts import FINGERPRINT_TAG, RunFacts

ITEMS = 40


def run(name: str, correlation: float = 0.3, distance: float = 60.0, seed: int = 0) -> RunFacts:
    hard = np.random.default_rng(99).normal(size=ITEMS)
    own = np.random.default_rng(seed).normal(size=ITEMS)
    items = pd.DataFrame(
        {
            "item": np.arange(ITEMS),
            "session": np.arange(ITEMS) // 2,
            "FRCorr": correlation + 0.2 * hard + 0.02 * own,
            "FRDist": distance + 5 * hard + 0.2 * own,
            "FRDvs": 0.05 + 0.001 * own,
        }
    )
    return RunFacts(
        run_id=f"{name:0>32}", name=name, status="FINISHED",
        params={"model.window": "8", "seed": str(seed), "name": name},
        tags={FINGERPRINT_TAG: "f" * 64},
        metrics={"ACC": 0.1}, curves={"loss": [(0, 1.0), (1, 0.5)], "FRCorr": [(1, correlation)]},
        items=items,
    )  # fmt: skip


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {d.metric: d.verdict for d in comparison.differences}


def test_real_differences_are_told_from_chance_in_the_metrics_own_direction() -> None:
    comparison = compare_runs([run("a"), run("b", 0.4, 70.0, seed=1)])
    found = verdicts(comparison)
    assert found["FRCorr"] == "better", "higher FRCorr is better"
    assert found["FRDist"] == "worse", "higher FRDist is worse"
    correlation = comparison.differences[0]
    a, b = (r.items for r in comparison.runs)
    assert correlation.estimate == pytest.approx(b["FRCorr"].mean() - a["FRCorr"].mean())
    assert correlation.low < correlation.estimate < correlation.high
    assert verdicts(compare_runs([run("b", 0.4, 70.0, seed=1), run("a")]))["FRCorr"] == "worse"
    same = verdicts(compare_runs([run("a"), run("b", seed=1)]))
    assert same["FRCorr"] == same["FRDist"] == "not distinguishable"


def test_what_cannot_be_paired_gets_no_verdict() -> None:
    a, b = run("a"), run("b", 0.9, seed=1)
    assert b.items is not None
    assert verdicts(compare_runs([a, b]))["FRDvs"] == "not comparable"
    cases = {
        "other data": replace(b, tags={FINGERPRINT_TAG: "0" * 64}),
        "other items": replace(b, items=b.items.assign(item=b.items["item"] + 1)),
        "no per-item scores": replace(b, items=None, metrics={"FRCorr": 0.9, "FRDist": 60.0}),
    }
    for reason, other in cases.items():
        comparison = compare_runs([a, other])
        assert set(verdicts(comparison).values()) == {"not comparable"}
        assert reason in comparison.notes[0]
        assert comparison.differences[0].estimate == pytest.approx(0.6, abs=0.05)


def test_items_are_paired_by_number_not_by_place() -> None:
    a, b = run("a"), run("b", 0.4, seed=1)
    assert b.items is not None
    mixed = replace(b, items=b.items.sample(frac=1, random_state=0))
    paired, straight = (compare_runs([a, other]).differences for other in (mixed, b))
    for one, two in zip(paired, straight, strict=True):
        assert one.verdict == two.verdict
        assert one.low == pytest.approx(two.low, nan_ok=True)
        assert one.estimate == pytest.approx(two.estimate)


def test_settings_that_differ_are_listed_and_no_others() -> None:
    a, b = run("a"), run("b", seed=1)
    c = replace(run("c"), params={"seed": "0", "extra": "x", "folder": "f"})
    assert setting_differences([a, b]) == [("seed", ("0", "1"))]
    assert setting_differences([a, b, c]) == [
        ("extra", ("-", "-", "x")), ("model.window", ("8", "8", "-")), ("seed", ("0", "1", "0")),
    ]  # fmt: skip


def test_three_runs_are_compared_in_pairs_with_unique_labels() -> None:
    twin = replace(run("a", seed=2), run_id="f" * 32)
    comparison = compare_runs([run("a"), run("b", seed=1), twin])
    assert list(comparison.labels) == ["a (000000)", "b", "a (ffffff)"]
    assert {(d.first, d.second) for d in comparison.differences} == {
        ("a (000000)", "b"), ("a (000000)", "a (ffffff)"), ("b", "a (ffffff)"),
    }  # fmt: skip
    with pytest.raises(InputError, match="two or three different runs"):
        compare_runs([run("a"), run("a")])


def test_runs_without_scores_still_show_their_settings(tmp_path: Path) -> None:
    bare = [replace(run(name, seed=n), items=None, metrics={}) for n, name in enumerate("ab")]
    comparison = compare_runs(bare)
    assert [table.title for table in terminal_tables(comparison)] == ["Settings that differ"]
    assert (
        "stored no per-item scores" in write_comparison(tmp_path / "c.html", comparison).read_text()
    )


def test_the_page_and_the_terminal_say_the_same(tmp_path: Path) -> None:
    comparison = compare_runs([run("a"), run("<b>", 0.4, seed=1)])
    text = write_comparison(tmp_path / "c.html", comparison).read_text()
    assert "real: &lt;b&gt; is better" in text
    assert "<b>" not in text
    assert text.count("<svg") == 1
    assert "http" not in text
    out = io.StringIO()
    console = Console(file=out, width=200)
    for table in terminal_tables(comparison):
        console.print(table)
    assert "real: <b> is better" in out.getvalue()
    assert "seed" in out.getvalue()
