"""The figures of a report, as SVG or PNG elements to be put into the page."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reactdist.evaluate.report_style import CYCLE, INK, LINE, MODEL, MUTED, SPEAKER

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from reactdist.evaluate.report import Reaction, ScoreRow, Search

# Any key: matplotlib's stubs want a literal type of all of its 300 names.
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
}
_TRIAL = "#8b94a5"
LOG_RATIO = 20
"""A positive parameter that spans more than this factor is drawn on a logarithmic axis."""


@contextmanager
def house_style() -> Iterator[None]:
    """Our look for figures made inside the block, with whatever backend."""
    with mpl.rc_context(_STYLE):
        yield


def svg(fig: Figure, label: str) -> str:
    """The figure as an svg element; ids are made from `label`, so two in a page do not mix."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": hashlib.sha256(label.encode()).hexdigest()}):
        fig.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Inside HTML no namespaces are needed; without them the page holds no address at all.
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Group names (axes_1, ...) are the same in every figure and nothing refers to them.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)


def png(fig: Figure, label: str, dots_per_inch: int = 130) -> str:
    """The figure as an img element with its data inside; for plots of very many points."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", bbox_inches="tight", dpi=dots_per_inch)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(label)}" src="data:image/png;base64,{data}">'


def score_figure(rows: Sequence[ScoreRow], metrics: Sequence[str]) -> str:
    """A panel a metric: value and confidence interval of each model and baseline."""
    from reactdist.evaluate.report import BETTER, Score, as_score

    shown = [row for row in rows if row.kind != "reference"]
    with house_style():
        fig = Figure(figsize=(10.5, 0.9 + 0.32 * len(shown)))
        panels = fig.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            for place, row in enumerate(reversed(shown)):
                given = row.scores.get(metric)
                if not isinstance(given, Score | float | int):
                    continue
                score = as_score(given)
                colour = MODEL if row.kind == "model" else MUTED
                if score.ends is not None:
                    axes.plot(score.ends, [place] * 2, color=colour, linewidth=2)
                axes.plot(score.value, place, "o", color=colour, markersize=6)
            arrow = {"higher": " →", "lower": " ←"}.get(BETTER.get(metric, ""), "")
            axes.set_title(metric + (f"  better{arrow}" if arrow else ""))
            axes.tick_params(length=0)
            axes.grid(axis="y", visible=False)
            axes.margins(x=0.08)
            axes.locator_params(axis="x", nbins=4)
        panels[0].set_yticks(range(len(shown)), [row.name for row in reversed(shown)])
        panels[0].set_ylim(-0.6, len(shown) - 0.4)
        fig.tight_layout(w_pad=2)
        return svg(fig, "scores with confidence intervals")


def curves_figure(search: Search) -> str:
    """Each trial's curve of the objective, and the best value after each trial."""
    with house_style():
        return svg(draw_curves(search), "learning curves of the trials and best value so far")


def draw_curves(search: Search) -> Figure:
    """The figure of `curves_figure`, to be saved in another way; call it in `house_style`."""
    fig = Figure(figsize=(10.5, 3.4))
    left, right = fig.subplots(1, 2, width_ratios=[3, 2])
    for trial in search.trials:
        chosen = trial.name == search.chosen
        colour, width = (MODEL, 2.2) if chosen else (_TRIAL, 1.2)
        order = 3 if chosen else 2
        left.plot(trial.steps, trial.values, color=colour, linewidth=width, zorder=order)
        if len(trial.steps):
            mark = "x" if trial.stopped_early else "o"
            end = trial.steps[-1], trial.values[-1]
            left.plot(*end, mark, color=colour, markersize=5, zorder=order)
    left.set_xlabel(search.step_name)
    left.set_ylabel(search.objective)
    left.set_title("Trials")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [
        Line2D([], [], color=_TRIAL, label="trial"),
        Line2D([], [], color=_TRIAL, marker="x", linestyle="", label="stopped early"),
    ]
    if search.chosen:
        handles.append(Line2D([], [], color=MODEL, linewidth=2.2, label="chosen"))
    left.legend(handles=handles, loc="best", fontsize=8)
    _best_so_far(right, search)
    fig.tight_layout(w_pad=3)
    return fig


def _best_so_far(axes: Axes, search: Search) -> None:
    best = [best_value(trial.values) for trial in search.trials]
    numbers = np.arange(1, len(best) + 1)
    so_far = np.fmax.accumulate(np.asarray(best, dtype=float))
    axes.plot(numbers, best, "o", color=_TRIAL, markersize=5)
    axes.step(numbers, so_far, where="post", color=MODEL, linewidth=2)
    axes.set_title("Best so far")
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def params_figure(search: Search) -> str:
    """Best objective of each trial against each searched parameter; "" when none varies."""
    names = list(search.params) or varying_params(search)
    if not names:
        return ""
    best = [best_value(trial.values) for trial in search.trials]
    with house_style():
        columns = min(len(names), 4)
        lines = math.ceil(len(names) / columns)
        fig = Figure(figsize=(10.5, 2.9 * lines))
        grid = fig.subplots(lines, columns, sharey=True, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            values = [trial.params.get(name) for trial in search.trials]
            _against(axes, values, best, search)
            axes.set_xlabel(name)
        for axes in list(grid.flat)[len(names) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel(search.objective)
        fig.tight_layout(w_pad=2)
        return svg(fig, "objective against the searched parameters")


def _against(axes: Axes, values: Sequence[Any], best: Sequence[float], search: Search) -> None:
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    levels = sorted({v for v in values if v is not None}, key=lambda v: (str(type(v)), v))
    few = len(levels) <= 6 and (not numeric or all(float(v).is_integer() for v in levels))
    places = [float(levels.index(v)) if few else v for v in values]
    if few:
        # Equal settings lie on one another otherwise; the offset is by trial, not by chance.
        middle = (len(values) - 1) / 2
        places = [p + 0.25 * (n - middle) / max(len(values), 1) for n, p in enumerate(places)]
        axes.set_xticks(range(len(levels)), [str(level) for level in levels])
        axes.set_xlim(-0.5, len(levels) - 0.5)
    elif min(values) > 0 and max(values) / min(values) > LOG_RATIO:
        axes.set_xscale("log")
    for place, value, trial in zip(places, best, search.trials, strict=True):
        chosen = trial.name == search.chosen
        axes.plot(
            place, value, "x" if trial.stopped_early else "o", markersize=8 if chosen else 6,
            color=MODEL if chosen else _TRIAL, zorder=3 if chosen else 2,
        )  # fmt: skip


def reaction_figure(reaction: Reaction, frame_rate_hz: float) -> str:
    """Speaker, real listener and samples over time, a panel an attribute."""
    with house_style():
        shown = [name for name in reaction.shown if name in reaction.attributes]
        fig = Figure(figsize=(10.5, 1.45 * len(shown) + 0.5))
        panels = fig.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        time_s = np.arange(len(reaction.listener)) / frame_rate_hz
        for axes, name in zip(panels, shown, strict=True):
            column = list(reaction.attributes).index(name)
            axes.plot(time_s, reaction.speaker[:, column], color=SPEAKER, linewidth=1, alpha=0.75)
            for sample in reaction.samples:
                axes.plot(time_s, sample[:, column], color=MODEL, linewidth=0.8, alpha=0.4)
            axes.plot(time_s, reaction.listener[:, column], color=INK, linewidth=1.5)
            axes.set_ylabel(name)
            axes.margins(x=0.005)
        panels[-1].set_xlabel("time (s)")
        handles = [
            Line2D([], [], color=SPEAKER, label="speaker"),
            Line2D([], [], color=INK, linewidth=1.5, label="real listener"),
            Line2D([], [], color=MODEL, label=f"model, {len(reaction.samples)} samples"),
        ]
        panels[0].legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3)
        fig.align_ylabels(panels)
        fig.tight_layout(h_pad=0.6)
        return png(fig, f"reactions of {len(reaction.samples)} samples")


def run_curves_figure(curves: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]) -> str:
    """A panel a metric with a line a run; `curves`: run -> metric -> (step, value). "" if none.

    Panels are in the order of the metrics; those with one point in every run have no curve and
    are left out.
    """
    keys = list(dict.fromkeys(k for run in curves.values() for k in run))
    keys = [k for k in keys if any(len(run.get(k, ())) > 1 for run in curves.values())]
    if not keys:
        return ""
    columns = min(len(keys), 3)
    lines = math.ceil(len(keys) / columns)
    with house_style():
        fig = Figure(figsize=(10.5, 2.3 * lines + 0.4))
        grid = fig.subplots(lines, columns, squeeze=False)
        for axes, key in zip(grid.flat, keys, strict=False):
            for (_, run), colour in zip(curves.items(), itertools.cycle(CYCLE)):
                points = run.get(key) or [(0, math.nan)]
                marker = "o" if len(points) < 4 else ""
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4)
            axes.set_title(key)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        for axes in list(grid.flat)[len(keys) :]:
            axes.set_visible(False)
        handles = [
            Line2D([], [], color=colour, label=label)
            for label, colour in zip(curves, itertools.cycle(CYCLE))
        ]
        fig.tight_layout(h_pad=1.2, w_pad=1.5)
        fig.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(curves))
        return svg(fig, "curves of " + ", ".join(curves))


def best_value(values: Sequence[float]) -> float:
    """Largest finite value, NaN when there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return max(finite) if finite else math.nan


def varying_params(search: Search) -> list[str]:
    """Names of the parameters that are not the same in all trials."""
    names = list(dict.fromkeys(name for trial in search.trials for name in trial.params))
    return [n for n in names if len({str(trial.params.get(n)) for trial in search.trials}) > 1]
