"""Evaluate a model on a split: ten samples an item, every metric, beside the naive baselines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from reactdist.checkpoints.export import load_config, load_exported
from reactdist.data.shards import Shards
from reactdist.errors import InputError
from reactdist.evaluate.predict import (
    Predictions,
    other_speakers,
    predict,
    predict_baseline,
    validation_items,
)
from reactdist.evaluate.truth import Truth, means
from reactdist.metrics.intervals import Interval, bootstrap_interval, paired_difference
from reactdist.models.baselines import BASELINES
from reactdist.schema import NUM_SAMPLES

NOT_COMPUTED = "not computed: needs Inception weights"
MODEL = "model"
SWAPPED = "model, other speakers"
"""The control: the same model shown an unrelated speaker for every item."""

Tick = Callable[[str], None]


@dataclass(frozen=True)
class Scores:
    """One predictor on one split."""

    name: str
    metrics: dict[str, float]
    table: pd.DataFrame
    """Per item: item, session, a column a metric."""
    intervals: dict[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """A model beside its baselines."""

    split: str
    frames: int
    num_samples: int
    predictions: Predictions
    truth: Truth
    scores: dict[str, Scores]
    """By predictor name; `model` first."""


def evaluate_model(
    folder: Path,
    shards: Shards,
    split: str,
    *,
    frames: int | None = None,
    items: int | None = None,
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
    baselines: Sequence[str] = tuple(BASELINES),
    control: bool = False,
    level: float = 0.95,
    tick: Tick = lambda what: None,
) -> Evaluated:
    """Score an exported model on a split.

    Args:
        folder: exported model.
        frames: first frames of every clip, None for whole clips.
        items: size of a seeded subset, None for the whole split.
        control: also score the model with every speaker replaced by an unrelated one.
        tick: called with the predictor's name after each predicted item.

    Raises:
        InputError: model and shards do not fit each other.
    """
    model = load_exported(folder, "cuda" if torch.cuda.is_available() else "cpu")
    check_fits(folder, shards, split)
    chosen = validation_items(len(shards.items(split)), items, seed)
    truth = Truth.read(shards, split, frames)

    def predicted(name: str, speaker_of: Sequence[int] | None = None) -> Predictions:
        rows = []
        for row in predict(
            model,
            shards,
            split,
            items=chosen,
            frames=frames,
            num_samples=num_samples,
            seed=seed,
            speaker_of=speaker_of,
        ):
            rows.append(row)
            tick(name)
        return Predictions.stack(rows)

    own = predicted(MODEL)
    scores = {MODEL: scored(MODEL, own, truth, seed, level)}
    if control:
        others = other_speakers(truth.neighbours, truth.sessions, seed)
        swapped = predicted(SWAPPED, [others[item] for item in chosen])
        scores[SWAPPED] = scored(SWAPPED, swapped, truth, seed, level)
    for name in baselines:
        naive = predict_baseline(
            name, shards, split, frames=frames, num_samples=num_samples, seed=seed
        ).rows(chosen)
        scores[name] = scored(name, naive, truth, seed, level)
        tick(name)
    return Evaluated(split, own.emotion.shape[2], num_samples, own, truth, scores)


def scored(name: str, predictions: Predictions, truth: Truth, seed: int, level: float) -> Scores:
    """All metrics of predictions, with intervals over sessions."""
    table = truth.score_items(predictions)
    metrics = means(table, predictions.emotion.shape[1])
    sessions = table["session"].to_numpy()
    intervals = {
        metric: bootstrap_interval(table[metric].to_numpy(), sessions, seed=seed, level=level)
        for metric in ("FRCorr", "FRDist", "FRDiv", "FRVar", "FRSyn", "ACC")
    }
    return Scores(name, metrics, table, intervals)


def difference(
    a: Scores, b: Scores, metric: str, *, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of `a - b` over the same items, with its interval over sessions."""
    if not np.array_equal(a.table["item"], b.table["item"]):
        raise ValueError(f"{a.name} and {b.name} were scored on other items")
    return paired_difference(
        a.table[metric].to_numpy(),
        b.table[metric].to_numpy(),
        a.table["session"].to_numpy(),
        seed=seed,
        level=level,
    )


def check_fits(folder: Path, shards: Shards, split: str) -> None:
    """Refuse a model for other pictures, a split that is not there.

    Raises:
        InputError: what does not fit, and what would.
    """
    model = load_config(folder)["model"]
    size = model.get("image_size")
    if size is not None and size != shards.image_size:
        raise InputError(
            f"the model sees {size} pixel images, the shards hold {shards.image_size}",
            where=folder,
            fix=f"build shards with --image-size {size}",
        )
    if split not in shards.splits:
        raise InputError(
            f"no split {split!r} in the shards", fix="there are: " + ", ".join(shards.splits)
        )
