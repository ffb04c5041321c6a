"""Runs side by side: what was set differently, which scores really differ, the curves.

Two runs are compared item by item: the items are the same clips, so what makes an item hard
cancels, and the interval of the mean difference says whether it can be told from nothing.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reactdist.errors import InputError
from reactdist.evaluate.report import number, page, section, write_page
from reactdist.tracking.facts import RunFacts

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

Verdict = Literal["better", "worse", "not distinguishable", "not comparable"]
ACROSS_ITEMS = frozenset({"FRDvs"})
"""Metrics whose value of an item depends on the other items: no paired interval is honest."""


@dataclass(frozen=True)
class Difference:
    """One metric of one pair of runs."""

    metric: str
    first: str
    second: str
    first_value: float
    second_value: float
    low: float
    estimate: float
    """Mean over the items of second - first, between its interval's ends `low` and `high`."""
    high: float
    verdict: Verdict
    """Of the second against the first: a real difference, or not distinguishable."""
    reason: str = ""
    """Why it is not comparable."""


@dataclass(frozen=True)
class Comparison:
    """What `compare_runs` found."""

    runs: Sequence[RunFacts]
    labels: Sequence[str]
    """A short name a run, unique."""
    settings: Sequence[tuple[str, tuple[str, ...]]]
    """Parameter that differs -> its value in each run ("-": not set)."""
    differences: Sequence[Difference]
    level: float
    notes: Sequence[str]


def compare_runs(runs: Sequence[RunFacts], *, seed: int = 0, level: float = 0.95) -> Comparison:
    """Compare two or more runs, each pair of them.

    Raises:
        InputError: fewer than two runs, or one run given twice.
    """
    if len(runs) < 2 or len({run.run_id for run in runs}) < len(runs):
        raise InputError("give two or three different runs", where="compare")
    labels = _labels(runs)
    differences: list[Difference] = []
    notes: list[str] = []
    for (a, first), (b, second) in itertools.combinations(zip(runs, labels, strict=True), 2):
        problem = _not_comparable(a, b)
        if problem:
            notes.append(f"{first} and {second} cannot be compared item by item: {problem}.")
        differences += _differences(a, b, first, second, problem, seed, level)
    return Comparison(runs, labels, setting_differences(runs), differences, level, notes)


def setting_differences(runs: Sequence[RunFacts]) -> list[tuple[str, tuple[str, ...]]]:
    """Parameters that are not the same in all runs, by name; `name` and `folder` always differ."""
    keys = sorted({key for run in runs for key in run.params} - {"name", "folder"})
    values = {key: tuple(run.params.get(key, "-") for run in runs) for key in keys}
    return [(key, given) for key, given in values.items() if len(set(given)) > 1]


def write_comparison(path: Path, comparison: Comparison) -> Path:
    """The comparison as one self-contained HTML page with the curves; returns `path`."""
    from reactdist.evaluate.report_figures import run_curves_figure

    body = section("Scores", _scores_tables(comparison), _explained(comparison))
    body += section("Settings that differ", _settings_table(comparison))
    drawn = run_curves_figure(
        {label: _curves(run) for label, run in zip(comparison.labels, comparison.runs, strict=True)}
    )
    if drawn:
        body += section("Curves", f"<figure>{drawn}</figure>")
    title = ", ".join(comparison.labels)
    return write_page(Path(path), page(f"Comparison: {title}", "", body))


def terminal_tables(comparison: Comparison) -> list[Table]:
    """Score differences, a table a pair, and differing settings, for rich to print."""
    from rich.markup import escape

    from reactdist import terminal

    tables = []
    colours = {"better": "green", "worse": "red"}
    for first, second, differences in _pairs(comparison):
        scores = terminal.table(escape(f"{second} against {first}"))
        for heading in ("metric", first, second, "difference", "verdict"):
            justify = "right" if heading in {first, second} else "left"
            scores.add_column(escape(heading), justify=justify)  # type: ignore[arg-type]
        for d in differences:
            verdict = escape(_verdict_text(d))
            colour = colours.get(d.verdict)
            scores.add_row(
                d.metric,
                number(d.first_value),
                number(d.second_value),
                escape(_interval_text(d)),
                f"[{colour}]{verdict}[/{colour}]" if colour else verdict,
            )
        tables.append(scores)
    settings = terminal.table("Settings that differ")
    last = tables[-1] if tables else settings  # runs that came to no evaluation have no scores
    last.caption, last.caption_justify = escape(_explained(comparison)), "left"
    settings.add_column("key")
    for label in comparison.labels:
        settings.add_column(escape(label))
    for key, values in comparison.settings:
        settings.add_row(*map(escape, (key, *values)))
    return [*tables, settings]


def _pairs(comparison: Comparison) -> list[tuple[str, str, list[Difference]]]:
    """(first, second, its differences), in the order of the runs."""
    grouped = itertools.groupby(comparison.differences, key=lambda d: (d.first, d.second))
    return [(*pair, list(differences)) for pair, differences in grouped]


def _curves(run: RunFacts) -> dict[str, list[tuple[int, float]]]:
    """Scores and loss terms first; `best.*` says again what `val.*` says."""
    said_elsewhere = ("best.", "epoch")
    keys = [k for k in run.curves if not k.startswith(said_elsewhere)]
    keys = [k for k in keys if not k.endswith("_undefined_items")]
    keys.sort(key=lambda key: (not key.startswith("val."), not key.startswith("loss."), key))
    return {key: run.curves[key] for key in keys}


def _labels(runs: Sequence[RunFacts]) -> list[str]:
    names = [run.name for run in runs]
    return [
        name if names.count(name) == 1 else f"{name} ({run.run_id[:6]})"
        for name, run in zip(names, runs, strict=True)
    ]


def _not_comparable(a: RunFacts, b: RunFacts) -> str:
    """Why per-item scores cannot be paired, "" when they can."""
    if a.items is None or b.items is None:
        missing = a if a.items is None else b
        return f"{missing.name} stored no per-item scores"
    if a.fingerprint != b.fingerprint:
        return "they were scored on other data (fingerprints differ)"
    if list(_sorted(a.items)["item"]) != list(_sorted(b.items)["item"]):
        return "they were scored on other items of the split"
    return ""


def _differences(
    a: RunFacts, b: RunFacts, first: str, second: str, problem: str, seed: int, level: float
) -> list[Difference]:
    from reactdist.metrics.intervals import paired_difference
    from reactdist.metrics.suite import METRICS

    found = []
    for metric in METRICS:
        name = metric.name
        was, is_now = _mean(a, name), _mean(b, name)
        if math.isnan(was) or math.isnan(is_now):
            continue
        reason = problem
        if name in ACROSS_ITEMS:
            reason = "compares items with each other"
        elif not problem and not all(r.items is not None and name in r.items for r in (a, b)):
            reason = "no values per item"
        if reason or a.items is None or b.items is None:
            low = high = math.nan
            estimate = is_now - was
            verdict: Verdict = "not comparable"
        else:
            one, two = _sorted(a.items), _sorted(b.items)
            interval = paired_difference(
                two[name].to_numpy(), one[name].to_numpy(), one["session"].to_numpy(),
                seed=seed, level=level,
            )  # fmt: skip
            low, estimate, high = interval.low, interval.estimate, interval.high
            verdict = "not distinguishable"
            if interval.excludes_zero:
                verdict = "better" if (estimate > 0) == metric.higher_is_better else "worse"
        found.append(
            Difference(name, first, second, was, is_now, low, estimate, high, verdict, reason)
        )
    return found


def _mean(run: RunFacts, metric: str) -> float:
    if run.items is not None and metric in run.items:
        return float(run.items[metric].mean())
    # What training logs for its best model.
    return run.metrics.get(f"best.{metric}", run.metrics.get(metric, math.nan))


def _sorted(items: pd.DataFrame) -> pd.DataFrame:
    return items.sort_values("item", kind="stable")


def _explained(comparison: Comparison) -> str:
    text = (
        f"Differences are means over the same items with {comparison.level:.0%} bootstrap "
        "intervals over sessions; each interval is taken by itself."
    )
    return " ".join([text, *comparison.notes])


def _verdict_text(d: Difference) -> str:
    if d.verdict in ("better", "worse"):
        return f"real: {d.second} is {d.verdict}"
    return f"{d.verdict} ({d.reason})" if d.reason else d.verdict


def _interval_text(d: Difference) -> str:
    # Equal means differ by rounding: 5e-18 is no result.
    estimate = 0.0 if abs(d.estimate) < 1e-12 else d.estimate
    if math.isnan(d.low):
        return number(estimate)
    return f"{number(estimate)} [{number(d.low)}, {number(d.high)}]"


def _scores_tables(comparison: Comparison) -> str:
    classes = {"better": "pass", "worse": "fail"}
    text = ""
    for first, second, differences in _pairs(comparison):
        headings = ("metric", first, second, "difference", "verdict")
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in headings)
        rows = "".join(
            f'<tr><th scope="row">{html.escape(d.metric)}</th>'
            f"<td>{number(d.first_value)}</td><td>{number(d.second_value)}</td>"
            f"<td>{_interval_text(d)}</td>"
            f'<td class="{classes.get(d.verdict, "")}">{html.escape(_verdict_text(d))}</td></tr>'
            for d in differences
        )
        text += (
            f"<h3>{html.escape(second)} against {html.escape(first)}</h3>"
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
            "</div>"
        )
    return text


def _settings_table(comparison: Comparison) -> str:
    if not comparison.settings:
        return "<p>None: the runs differ in their seeds or code only, if at all.</p>"
    head = "".join(f'<th scope="col">{html.escape(label)}</th>' for label in comparison.labels)
    rows = "".join(
        f'<tr><th scope="row">{html.escape(key)}</th>'
        + "".join(f"<td>{html.escape(value)}</td>" for value in values)
        + "</tr>"
        for key, values in comparison.settings
    )
    return (
        f'<div class="wide"><table><thead><tr><th>key</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
