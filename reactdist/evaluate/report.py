"""The report of a study or an evaluation: one self-contained HTML file.

Everything is inside the file (figures as SVG or PNG), so it can be mailed, stored as an MLflow
artifact and opened without a network. `ReportData` says what goes in; a part that is empty is
left out of the page.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from reactdist.evaluate.report_style import STYLE

NOT_COMPUTED = "not computed: needs Inception weights"
"""What the FRRea cells say where its weights are absent."""

BETTER: Mapping[str, Literal["higher", "lower"]] = {
    "FRCorr": "higher", "FRDist": "lower", "FRDiv": "higher", "FRVar": "higher",
    "FRDvs": "higher", "FRRea": "lower", "FRSyn": "lower", "ACC": "higher",
}  # fmt: skip
"""Which direction of a challenge metric is better (REACT 2024, metrics)."""


METRICS: Sequence[str] = ("FRCorr", "FRDist", "FRDiv", "FRVar", "FRDvs", "FRSyn", "ACC", "FRRea")


@dataclass(frozen=True)
class Score:
    """A value of a metric, with the ends of its confidence interval where there is one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends, None where there is no interval or (one session) it is unbounded."""
        if self.low is None or self.high is None or not np.isfinite([self.low, self.high]).all():
            return None
        return self.low, self.high


@dataclass(frozen=True)
class ScoreRow:
    """One model's or baseline's scores: metric name -> Score, a number, or a text to show."""

    name: str
    scores: Mapping[str, Score | float | str]
    kind: Literal["model", "baseline", "reference"] = "baseline"
    """`model` rows stand out; a `reference` (GT) is in the table but not in the figure, whose
    scale it would break."""


@dataclass(frozen=True)
class CheckRow:
    """Something that was checked, its numbers, and how it came out."""

    name: str
    detail: str
    passed: bool


@dataclass(frozen=True)
class Trial:
    """One trial of a search: its curve of the objective and the settings it was given."""

    name: str
    params: Mapping[str, float | int | str]
    steps: Sequence[float]
    """Epoch (or whatever the search counts by) of each value."""
    values: Sequence[float]
    """Objective at each step, higher is better; NaN is left out."""
    stopped_early: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Challenge metrics at its best evaluation; those that are traded off are shown."""


@dataclass(frozen=True)
class Search:
    """A search: trials in the order they started, and what was searched."""

    trials: Sequence[Trial]
    objective: str = "objective"
    step_name: str = "epoch"
    params: Sequence[str] = ()
    """Keys of `Trial.params` to plot the objective against; empty for all that vary."""
    chosen: str = ""
    """Name of the trial that was chosen, marked in the figures."""
    pareto: Sequence[str] = ()
    """Names of the trials that no other beats in all of `pareto_metrics`."""
    pareto_metrics: Mapping[str, str] = field(default_factory=dict)
    """Metric -> max or min."""


@dataclass(frozen=True)
class Reaction:
    """One item: the speaker, what the listener really did, and the model's samples."""

    title: str
    speaker: np.ndarray
    """(T, A) attributes of the speaker."""
    listener: np.ndarray
    """(T, A) attributes of the real listener."""
    samples: np.ndarray
    """(K, T, A) generated reactions."""
    attributes: Sequence[str]
    """A names of the last axis."""
    shown: Sequence[str] = ("AU12", "valence", "arousal", "Happy")
    """Attributes to draw, a panel each."""


@dataclass(frozen=True)
class ReportData:
    """All that a report shows, as plain values; see the classes of the fields."""

    title: str
    summary: str = ""
    """A sentence or two under the title."""
    facts: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Heading -> name -> value: data and its fingerprint, model and its settings, run ids, code."""
    metrics: Sequence[str] = (
        "FRCorr",
        "FRDist",
        "FRDiv",
        "FRVar",
        "FRDvs",
        "FRSyn",
        "ACC",
        "FRRea",
    )
    """Columns of the table of scores."""
    scores: Sequence[ScoreRow] = ()
    scores_note: str = ""
    """What the scores and intervals are: split, items, samples an item, level, resampled unit."""
    checks: Sequence[CheckRow] = ()
    search: Search | None = None
    reactions: Sequence[Reaction] = ()
    frame_rate_hz: float = 25.0
    notes: Sequence[str] = ()
    """Caveats and definitions, a paragraph each."""


def write_report(path: Path, data: ReportData) -> Path:
    """Write the report as one HTML file, whole or not at all; returns `path`."""
    return write_page(Path(path), render(data))


def write_page(path: Path, text: str) -> Path:
    """Write a page, whole or not at all; returns `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return path


def render(data: ReportData) -> str:
    """The page as text."""
    parts = [
        _checks(data.checks),
        _scores(data),
        _search(data.search),
        _reactions(data),
        _facts(data.facts),
        _notes(data.notes),
    ]
    return page(data.title, data.summary, "".join(part for part in parts if part))


def page(title: str, summary: str, body: str) -> str:
    """A whole page in our style; `body` is HTML, the other two are text."""
    shown = html.escape(title)
    said = f'<p class="summary">{html.escape(summary)}</p>' if summary else ""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{shown}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><main><header><h1>{shown}</h1>{said}</header>"
        f"{body}</main></body></html>\n"
    )


def section(title: str, body: str, note: str = "") -> str:
    """A section of the page; `body` is HTML, the other two are text."""
    said = f'<p class="note">{html.escape(note)}</p>' if note else ""
    return f"<section><h2>{html.escape(title)}</h2>{said}{body}</section>"


def figure(image: str, caption: str) -> str:
    """A figure of the page; `image` is HTML (an svg or img element)."""
    return f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _checks(checks: Sequence[CheckRow]) -> str:
    if not checks:
        return ""
    rows = "".join(
        f'<tr><td class="{"pass" if check.passed else "fail"}">'
        f"{'✓ pass' if check.passed else '✗ FAIL'}</td>"
        f'<th scope="row">{html.escape(check.name)}</th><td>{html.escape(check.detail)}</td></tr>'
        for check in checks
    )
    failed = sum(not check.passed for check in checks)
    said = f"{failed} of {len(checks)} checks failed." if failed else "All checks passed."
    return section("Checks", f'<table class="checks"><tbody>{rows}</tbody></table>', said)


def _scores(data: ReportData) -> str:
    if not data.scores:
        return ""
    from reactdist.evaluate.report_figures import score_figure

    arrows = {"higher": " ↑", "lower": " ↓"}
    head = "".join(
        f'<th scope="col">{html.escape(name)}{arrows.get(BETTER.get(name, ""), "")}</th>'
        for name in data.metrics
    )
    rows = "".join(
        f'<tr class="{row.kind}"><th scope="row">{html.escape(row.name)}</th>'
        + "".join(_cell(data.scores, place, name) for name in data.metrics)
        + "</tr>"
        for place, row in enumerate(data.scores)
    )
    table = (
        f'<div class="wide"><table class="scores"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
    drawn = [name for name in data.metrics if _drawable(data.scores, name)][:4]
    image = score_figure(data.scores, drawn) if drawn else ""
    caption = (
        "↑ higher is better, ↓ lower is better. Bars are confidence intervals; references (GT) "
        "are left out of the figure."
    )
    return section("Scores", table + (figure(image, caption) if image else ""), data.scores_note)


def _cell(rows: Sequence[ScoreRow], place: int, metric: str) -> str:
    given = {str(row.scores.get(metric)) for row in rows}
    score = rows[place].scores.get(metric)
    if len(given) == 1 and (score is None or isinstance(score, str)):
        # Said once, down the whole column.
        text = score or (NOT_COMPUTED if metric == "FRRea" else "not computed")
        cell = f'<td class="text" rowspan="{len(rows)}">{html.escape(text)}</td>'
        return cell if place == 0 else ""
    if score is None:
        return '<td class="text">–</td>'
    if isinstance(score, str):
        return f'<td class="text">{html.escape(score)}</td>'
    score = as_score(score)
    if not np.isfinite(score.value):
        return '<td class="text">undefined</td>'
    interval = ""
    if score.ends is not None:
        low, high = map(number, score.ends)
        interval = f'<span class="interval">{low} … {high}</span>'
    return f"<td>{number(score.value)}{interval}</td>"


def as_score(score: Score | float) -> Score:
    """A plain number as a Score without an interval."""
    return score if isinstance(score, Score) else Score(float(score))


def number(value: float) -> str:
    """Three or four significant digits, without an exponent where it reads well."""
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    size = abs(value)
    if size >= 100:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.4f}" if size >= 1e-3 else f"{value:.1e}"


def _drawable(rows: Sequence[ScoreRow], metric: str) -> bool:
    values = [row.scores.get(metric) for row in rows if row.kind != "reference"]
    return sum(isinstance(v, Score | float | int) for v in values) >= 2


def _search(search: Search | None) -> str:
    if search is None or not search.trials:
        return ""
    from reactdist.evaluate.report_figures import curves_figure, params_figure

    stopped = sum(trial.stopped_early for trial in search.trials)
    note = (
        f"{len(search.trials)} trials, {stopped} of them stopped early; objective: "
        f"{search.objective} (higher is better)."
    )
    body = figure(
        curves_figure(search),
        "Left: each trial's objective; × where it was stopped early. "
        "Right: the best value found after each trial.",
    )
    image = params_figure(search)
    if image:
        body += figure(image, "Best objective of each trial against what was searched.")
    return section("Search", body, note)


def _reactions(data: ReportData) -> str:
    if not data.reactions:
        return ""
    from reactdist.evaluate.report_figures import reaction_figure

    body = "".join(
        f"<h3>{html.escape(reaction.title)}</h3>"
        + figure(reaction_figure(reaction, data.frame_rate_hz), "")
        for reaction in data.reactions
    )
    return section(
        "Reactions",
        body.replace("<figcaption></figcaption>", ""),
        "Each panel is one attribute over time: what the speaker does, what the real listener did, "
        "and the model's samples. A sample need not follow this listener; any appropriate one will "
        "do.",
    )


def _facts(facts: Mapping[str, Mapping[str, object]]) -> str:
    if not facts:
        return ""
    blocks = "".join(
        f"<div><h3>{html.escape(heading)}</h3><dl>"
        + "".join(
            f"<dt>{html.escape(str(name))}</dt><dd>{html.escape(str(value))}</dd>"
            for name, value in values.items()
        )
        + "</dl></div>"
        for heading, values in facts.items()
    )
    return section("Facts", f'<div class="facts">{blocks}</div>')


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return section("Notes", f"<ul>{items}</ul>")
