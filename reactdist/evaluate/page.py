"""The report of an evaluation: plain values for `report.write_report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

import numpy as np

from reactdist.data.shards import Shards
from reactdist.evaluate.report import (
    CheckRow,
    Reaction,
    ReportData,
    Score,
    ScoreRow,
    Search,
    Trial,
)
from reactdist.evaluate.run import MODEL, NOT_COMPUTED, SWAPPED, Evaluated, Scores
from reactdist.evaluate.study import StudyResult
from reactdist.schema import ATTRIBUTES

_REACTIONS = 3


def page(
    title: str,
    evaluated: Evaluated,
    shards: Shards,
    *,
    facts: Mapping[str, Mapping[str, object]],
    checks: Sequence[CheckRow] = (),
    study: StudyResult | None = None,
) -> ReportData:
    """All that the report of an evaluation shows."""
    items = len(evaluated.predictions.items)
    own = evaluated.scores[MODEL].metrics
    return ReportData(
        title=title,
        summary=(
            f"{evaluated.num_samples} reactions to each of {items} speakers of the "
            f"{evaluated.split} split: FRCorr {own['FRCorr']:.4g}, FRDist {own['FRDist']:.4g}."
        ),
        facts=facts,
        scores=[_row(scores) for scores in evaluated.scores.values()],
        scores_note=(
            f"{evaluated.split} split, {items} items (both directions of every pair), "
            f"{evaluated.frames} frames each, {evaluated.num_samples} samples an item. Intervals: "
            "95%, bootstrap over sessions. FRCorr and FRDist are summed over the samples."
        ),
        checks=checks,
        search=search_of(study) if study else None,
        reactions=_reactions(evaluated, shards),
        notes=(
            "ACC is this project's own definition (the challenge published none): the share of "
            "predictions whose most concordant real listener of the split is an appropriate one.",
            "FRSyn is the corrected synchrony over all samples; published_FRSyn is in the "
            "per-item tables' summary (evaluation.json).",
            f"FRRea: {NOT_COMPUTED}.",
        ),
    )


def read_page_facts(folder: Path, shards: Shards, model: str) -> dict[str, dict[str, object]]:
    """Data and model facts of an exported model on a set of shards."""
    from reactdist.checkpoints.export import load_config

    config = load_config(folder)
    manifest = shards.manifest
    return {
        "Data": {
            "fingerprint": shards.fingerprint,
            "image size": shards.image_size,
            "codec": manifest.codec,
            **{f"{split} items": len(shards.items(split)) for split in shards.splits},
        },
        "Model": {"reference": model, **config["model"]},
        "Training": {
            name: config.get(name)
            for name in ("run", "step", "epoch", "engine", "zero_stage", "world_size")
        },
    }


def _row(scores: Scores) -> ScoreRow:
    cells: dict[str, Score | float | str] = {"FRRea": NOT_COMPUTED}
    for name in ("FRCorr", "FRDist", "FRDiv", "FRVar", "FRDvs", "FRSyn", "ACC"):
        interval = scores.intervals.get(name)
        value = scores.metrics[name]
        known = interval is not None and isfinite(interval.low) and isfinite(interval.high)
        cells[name] = Score(value, interval.low, interval.high) if interval and known else value
    kind = "model" if scores.name == MODEL else "reference" if scores.name == "GT" else "baseline"
    shown = "model, shown unrelated speakers" if scores.name == SWAPPED else scores.name
    return ScoreRow(shown, cells, kind)  # type: ignore[arg-type]


def search_of(study: StudyResult) -> Search:
    """A study as the report's figures show it: trials in the order they were started."""
    trials = [
        Trial(
            name=trial.trial,
            params=trial.config,
            steps=[step for step, _ in trial.curve],
            values=[value for _, value in trial.curve],
            stopped_early=trial.stopped_early,
            metrics=trial.metrics,
        )
        for trial in sorted(study.trials, key=lambda trial: trial.number)
    ]
    return Search(
        trials,
        step_name="optimizer step",
        chosen=study.best.trial,
        pareto=study.pareto,
        pareto_metrics=study.pareto_metrics,
    )


def _reactions(evaluated: Evaluated, shards: Shards) -> list[Reaction]:
    """A few items, spread over the ranking by FRCorr: the best, the median, the worst."""
    table = evaluated.scores[MODEL].table
    order = np.argsort(-table["FRCorr"].to_numpy(), kind="stable")
    wanted = order[np.linspace(0, len(order) - 1, min(_REACTIONS, len(order))).astype(int)]
    shown = []
    listed = shards.items(evaluated.split)
    for row in dict.fromkeys(int(i) for i in wanted):
        item = int(evaluated.predictions.items[row])
        value = float(table["FRCorr"].iloc[row])
        shown.append(
            Reaction(
                title=f"{listed[item].speaker}: FRCorr {value:.3g}",
                speaker=evaluated.truth.speakers[item][: evaluated.frames],
                listener=evaluated.truth.listeners[item][: evaluated.frames],
                samples=evaluated.predictions.emotion[row],
                attributes=ATTRIBUTES,
            )
        )
    return shown
