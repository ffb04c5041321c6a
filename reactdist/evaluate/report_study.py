"""The pictures of a study, as files that open in the MLflow UI.

Parallel coordinates, slices and contours are Optuna's own plots of the same trials, whichever
searcher proposed them.
"""

from __future__ import annotations

import base64
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reactdist.evaluate.report import Search, figure, page, section, write_page
from reactdist.evaluate.report_figures import (
    LOG_RATIO,
    best_value,
    draw_curves,
    house_style,
    varying_params,
)
from reactdist.evaluate.report_style import MODEL, MUTED

if TYPE_CHECKING:
    import pandas as pd
    from optuna import Study

_FEW_LEVELS = 6
_DOTS_PER_INCH = 110
CAPTIONS = {
    "best_so_far": "Each trial's objective as it trained, and the best value after each trial.",
    "parallel_coordinates": "A line a trial, from its objective through its settings.",
    "slice": "Objective against each searched setting; darker points are later trials.",
    "contour": "Objective over pairs of settings, interpolated between the trials (dots).",
    "pareto": "Two metrics of every trial at its best evaluation; no trial is better in both than "
    "one of the Pareto set (dark, joined).",
}


def write_study_plots(folder: Path, search: Search) -> list[Path]:
    """Write `trials.csv`, a PNG a plot and `study.html` with all of them; returns the files.

    A plot that cannot be drawn (one trial, nothing varied) is left out. NaN trials are left out
    of Optuna's plots and stay in the table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = trials_table(search)
    csv = folder / "trials.csv"
    table.to_csv(csv, index=False)
    plots = [_curves(folder, search), *_optuna_plots(folder, search), *_pareto(folder, search)]
    body = "".join(figure(_embedded(plot), CAPTIONS[plot.stem]) for plot in plots)
    html = page(
        f"Study: {search.objective}",
        f"{len(search.trials)} trials; higher is better.",
        section("Plots", body) + section("Trials", _as_html(table)),
    )
    return [csv, *plots, write_page(folder / "study.html", html)]


def trials_table(search: Search) -> pd.DataFrame:
    """A row a trial, best first: name, best objective, steps, stopped_early, the metrics that are
    traded off and whether it is in their Pareto set, its settings."""
    import pandas as pd

    rows = [
        {
            "trial": trial.name,
            search.objective: best_value(trial.values),
            search.step_name: trial.steps[-1] if len(trial.steps) else 0,
            "stopped_early": trial.stopped_early,
            **{name: trial.metrics.get(name, math.nan) for name in search.pareto_metrics},
            **({"pareto": trial.name in search.pareto} if search.pareto_metrics else {}),
            **trial.params,
        }
        for trial in search.trials
    ]
    return pd.DataFrame(rows).sort_values(search.objective, ascending=False, kind="stable")


def _curves(folder: Path, search: Search) -> Path:
    path = folder / "best_so_far.png"
    with house_style():
        draw_curves(search).savefig(path, dpi=_DOTS_PER_INCH, bbox_inches="tight")
    return path


def _optuna_plots(folder: Path, search: Search) -> list[Path]:
    names = list(search.params) or varying_params(search)
    scored = [t for t in search.trials if math.isfinite(best_value(t.values))]
    if len(scored) < 2 or not names:
        return []
    with _quiet_optuna():
        import matplotlib.pyplot as plt
        from optuna.visualization import matplotlib as plots

        plt.switch_backend("Agg")
        study = _as_optuna(search, names)
        draw = {
            "parallel_coordinates": (plots.plot_parallel_coordinate, (10.5, 4.5)),
            "slice": (plots.plot_slice, (10.5, 3.6)),
            "contour": (plots.plot_contour, (10.5, 9.0 if len(names) > 2 else 5.0)),
        }
        if len(names) < 2:
            del draw["contour"]
        written = []
        for name, (plot, inches) in draw.items():
            plot(study, params=names)
            fig = plt.gcf()
            fig.set_size_inches(*inches)
            path = folder / f"{name}.png"
            fig.savefig(path, dpi=_DOTS_PER_INCH, bbox_inches="tight")
            plt.close(fig)
            written.append(path)
    return written


def _pareto(folder: Path, search: Search) -> list[Path]:
    """The first two metrics that are traded off against each other."""
    names = list(search.pareto_metrics)[:2]
    points = {
        trial.name: [trial.metrics.get(name, math.nan) for name in names] for trial in search.trials
    }
    points = {name: point for name, point in points.items() if all(map(math.isfinite, point))}
    if len(names) < 2 or len(points) < 2:
        return []
    import matplotlib.pyplot as plt

    plt.switch_backend("Agg")
    path = folder / "pareto.png"
    with house_style():
        figure, axes = plt.subplots(figsize=(6.0, 4.0))
        every = zip(*points.values(), strict=True)
        axes.plot(*every, color=MUTED, marker="o", markersize=5, linestyle="none")
        best = sorted(points[name] for name in search.pareto if name in points)
        axes.plot(*zip(*best, strict=True), color=MODEL, marker="o", markersize=6, linewidth=1)
        for axis, name in ((axes.xaxis, names[0]), (axes.yaxis, names[1])):
            better = "higher" if search.pareto_metrics[name] == "max" else "lower"
            axis.set_label_text(f"{name} ({better} is better)")
        figure.savefig(path, dpi=_DOTS_PER_INCH, bbox_inches="tight")
        plt.close(figure)
    return [path]


def _as_optuna(search: Search, names: list[str]) -> Study:
    """The trials as an Optuna study in memory, which is what its plots take."""
    import optuna

    distributions = {name: _distribution(search, name) for name in names}
    study = optuna.create_study(direction="maximize")
    for trial in search.trials:
        value = best_value(trial.values)
        given = {name: trial.params[name] for name in names if name in trial.params}
        if math.isfinite(value):
            study.add_trial(
                optuna.trial.create_trial(
                    params=given,
                    distributions={name: distributions[name] for name in given},
                    value=value,
                )
            )
    return study


def _distribution(search: Search, name: str) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    values = [trial.params[name] for trial in search.trials if name in trial.params]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    levels = list(dict.fromkeys(values))
    whole = all(isinstance(v, int) for v in values)
    if len(numbers) < len(values) or (whole and len(levels) <= _FEW_LEVELS):
        key = (lambda v: v) if len(numbers) == len(values) else str
        return CategoricalDistribution(tuple(sorted(levels, key=key)))
    low, high = float(min(numbers)), float(max(numbers))
    return FloatDistribution(low, high, log=low > 0 and high / low > LOG_RATIO)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Its plots are marked experimental and a new study is announced; neither helps a reader."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(level)


def _as_html(table: pd.DataFrame) -> str:
    rows = table.to_html(index=False, border=0, na_rep="", float_format="{:.4g}".format)
    return f'<div class="wide">{rows}</div>'


def _embedded(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{path.stem}" src="data:image/png;base64,{data}">'
