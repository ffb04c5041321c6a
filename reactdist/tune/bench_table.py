"""The comparison of searches as a table, lines of text, a picture and its numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from reactdist.metrics.intervals import Interval
from reactdist.terminal import short, table
from reactdist.tune.bench import REFERENCE, Along, Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOTS_PER_INCH = 130


def comparison_table(found: Comparison) -> Table:
    """A row a method."""
    view = table(
        f"best objective after {found.budget_steps} optimizer steps, mean of {found.seeds} seeds "
        f"(95% interval), {found.workers} trials at a time"
    )
    view.add_column("method")
    for heading in (
        "trials",
        "best objective",
        f"steps to {REFERENCE}'s best",
        "seeds that reach it",
    ):
        view.add_column(heading, justify="right")
    for row in found.methods:
        view.add_row(
            row.method,
            f"{row.trials:.1f}",
            _with_ends(row.final),
            "never" if row.share.estimate == float("inf") else _percent(row.share),
            f"{row.reached:.0%}",
        )
    return view


def summary(found: Comparison) -> Iterator[str]:
    """What the curves are, and how much of their differences is noise."""
    low, middle, high = (short(level) for level in found.levels)
    yield (
        f"{found.configurations} recorded configurations: best objective {found.best:.3g}, "
        f"quartiles {low} {middle} {high}"
    )
    yield (
        f"standard deviation between configurations {found.between_sd:.3g}, between two seeds of "
        f"one {short(found.repeat_sd)}"
    )


def write_comparison(folder: Path, found: Comparison) -> list[Path]:
    """`best_so_far.png` and the points of its lines, `best_so_far.csv`."""
    import matplotlib.pyplot as plt

    from reactdist.evaluate.report_figures import house_style

    folder.mkdir(parents=True, exist_ok=True)
    plt.switch_backend("Agg")
    with house_style():
        figure, (steps, trials) = plt.subplots(1, 2, figsize=(9.5, 3.6), sharey=True)
        for row in found.methods:
            _draw(steps, row.by_steps, row.method, 1.0)
            _draw(trials, row.by_trials, row.method, 1.0)
        target = next(row for row in found.methods if row.method == REFERENCE).final.estimate
        steps.axhline(target, color="0.6", linewidth=0.8, linestyle=":")
        steps.axvline(0.4 * found.budget_steps, color="0.6", linewidth=0.8, linestyle=":")
        steps.set_xlabel("optimizer steps of all trials")
        steps.set_ylabel("best objective so far")
        trials.set_xlabel("trials that have ended")
        trials.legend(loc="lower right")
        picture = folder / "best_so_far.png"
        figure.savefig(picture, dpi=_DOTS_PER_INCH, bbox_inches="tight")
        plt.close(figure)
    return [picture, _write_points(folder / "best_so_far.csv", found)]


def _draw(axes: Axes, along: Along, name: str, alpha: float) -> None:
    (line,) = axes.plot(along.spent, along.mean, label=name, alpha=alpha)
    axes.fill_between(along.spent, along.low, along.high, color=line.get_color(), alpha=0.15)


def _write_points(path: Path, found: Comparison) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["method", "against", "spent", "mean", "low", "high"])
        for row in found.methods:
            for against, along in (("steps", row.by_steps), ("trials", row.by_trials)):
                for point in zip(along.spent, along.mean, along.low, along.high, strict=True):
                    writer.writerow([row.method, against, *(f"{value:.6g}" for value in point)])
    return path


def _with_ends(value: Interval) -> str:
    return f"{value.estimate:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _percent(share: Interval) -> str:
    high = "never" if share.high == float("inf") else f"{share.high:.0%}"
    return f"{share.estimate:.0%} [{share.low:.0%}, {high}]"
