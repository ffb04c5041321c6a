"""Evaluate a model on a split: ten samples an item, every metric, beside the naive baselines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from reactdist.checkpoints.export import WEIGHTS, load_config, load_exported
from reactdist.data.hashing import sha256_of
from reactdist.data.shards import Shards
from reactdist.errors import InputError
from reactdist.evaluate.blocks import (
    BLOCK_ITEMS,
    Kept,
    Runner,
    Tick,
    code_hash,
    cut,
    run_here,
    score_blocks,
)
from reactdist.evaluate.predict import other_speakers, training_clips, validation_items
from reactdist.evaluate.predictions import StoredPredictions, read_predictions
from reactdist.evaluate.sources import BaselineSource, Draw, ModelSource, Source
from reactdist.evaluate.truth import Truth, means
from reactdist.metrics.intervals import Interval, metric_intervals, paired_difference
from reactdist.models.baselines import BASELINES
from reactdist.schema import NUM_SAMPLES

PREDICTIONS = "predictions.parquet"
NOT_COMPUTED = "not computed: needs Inception weights"
MODEL = "model"
SWAPPED = "model, other speakers"
"""The control: the same model shown an unrelated speaker for every item."""


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
    predictions: StoredPredictions
    truth: Truth
    scores: dict[str, Scores]
    """By predictor name; `model` first."""


def evaluate_model(
    folder: Path,
    shards: Shards,
    split: str,
    out: Path,
    *,
    frames: int | None = None,
    items: int | None = None,
    num_samples: int = NUM_SAMPLES,
    seed: int = 0,
    baselines: Sequence[str] = tuple(BASELINES),
    control: bool = False,
    level: float = 0.95,
    block_items: int = BLOCK_ITEMS,
    runner: Runner = run_here,
    tick: Tick = lambda what, done, total: None,
) -> Evaluated:
    """Score an exported model on a split, block by block.

    The model's predictions stay in `out/predictions.parquet`, a folder of a file a block; what
    else is kept until the end lies in `unfinished(out)`. Called again after a kill with the same
    arguments it computes only what is missing.

    Args:
        folder: exported model.
        frames: first frames of every clip, None for whole clips.
        items: size of a seeded subset, None for the whole split.
        control: also score the model with every speaker replaced by an unrelated one.
        runner: who does the work, `distributed.blocks.run_on_ray` or this process.

    Raises:
        InputError: model and shards do not fit each other.
    """
    check_fits(folder, shards, split)
    out = out.absolute()  # workers are in folders of their own
    chosen = validation_items(len(shards.items(split)), items, seed)
    truth = Truth.read(shards, split, frames)
    draw = Draw(shards, split, frames, num_samples, seed)
    strangers = other_speakers(truth.neighbours, truth.sessions, seed) if control else None
    sources = _sources(load_exported(folder), draw, strangers, baselines)
    settings = {
        "code": code_hash(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "weights": sha256_of(folder / WEIGHTS)[0],
        "model": load_config(folder)["model"],
        "data": shards.fingerprint,
        "draw": [split, frames, num_samples, seed],
        "items": chosen,
        "block_items": block_items,
    }
    kept = {name: _kept(name, source, out, settings) for name, source in sources.items()}
    blocks = [block for name in sources for block in cut(name, chosen, block_items)]
    tables = score_blocks(sources, kept, truth, blocks, runner=runner, tick=tick)
    predictions = read_predictions(out / PREDICTIONS)
    return Evaluated(
        split,
        truth.listeners.shape[1],
        num_samples,
        predictions,
        truth,
        {
            name: scored(name, table, truth, draw, level, predictions if name == MODEL else None)
            for name, table in tables.items()
        },
    )


def _sources(
    model: nn.Module, draw: Draw, strangers: Sequence[int] | None, baselines: Sequence[str]
) -> dict[str, Source]:
    """By predictor name, the model first."""
    sources: dict[str, Source] = {MODEL: ModelSource(model, draw)}
    if strangers is not None:
        sources[SWAPPED] = ModelSource(model, draw, dict(enumerate(strangers)))
    for name in baselines:
        sources[name] = BaselineSource(BASELINES[name](training_clips(draw.shards)), draw)
    return sources


def _kept(name: str, source: Source, out: Path, settings: Mapping[str, Any]) -> Kept:
    place = unfinished(out) / slug(name)
    parts = (out if name == MODEL else place) / PREDICTIONS
    key = hashlib.sha256(json.dumps({"source": name, **settings}).encode()).hexdigest()
    return Kept(parts if source.is_costly else None, place / "items", key)


def unfinished(out: Path) -> Path:
    """Where an evaluation keeps what it only needs to go on after a kill."""
    return out.with_name(f"{out.name}.unfinished")


def scored(
    name: str,
    table: pd.DataFrame,
    truth: Truth,
    draw: Draw,
    level: float,
    predictions: StoredPredictions | None,
) -> Scores:
    """The means of a table of items, with intervals over sessions; FRDvs's needs predictions."""
    sessions = [truth.sessions[int(item)] for item in table["item"]]
    intervals = metric_intervals(
        table,
        predictions.emotion if predictions else None,
        sessions,
        seed=draw.seed,
        level=level,
        frames=truth.listeners.shape[1],
    )
    table.insert(1, "session", sessions)
    return Scores(name, means(table, draw.num_samples), table, intervals)


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


def slug(name: str) -> str:
    """`name` as part of a file's name."""
    kept = "".join(c if c.isalnum() or c in "-._" else "-" for c in name)
    return "-".join(part for part in kept.split("-") if part) or "model"
