"""Scoring during training: fixed clips, the run's own window, the challenge metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor

from reactdist.data.shards import Shards
from reactdist.evaluate.objective import (
    BASELINE_OF_LIMITS,
    OBJECTIVE,
    ObjectiveSettings,
    objective,
)
from reactdist.evaluate.predict import (
    Predictions,
    predict,
    predict_baseline,
    validation_items,
)
from reactdist.evaluate.predictions import write_predictions
from reactdist.evaluate.truth import Truth, means
from reactdist.models.registry import build_model


class Gather(Protocol):
    """The workers that share the items."""

    rank: int
    world: int

    def gather(self, value: Any) -> list[Any] | None: ...

    def broadcast(self, value: Any) -> Any: ...


class Subset(Protocol):
    """Which clips are scored; `ValidationSettings` of a run has these fields."""

    split: Any
    items: int | None
    frames: int | None
    num_samples: int
    seed: int
    objective: ObjectiveSettings


class Validation:
    """Weights in, metrics out. Items are divided over the ranks; rank 0 scores."""

    def __init__(
        self,
        model: Mapping[str, Any],
        shards: Shards,
        subset: Subset,
        *,
        device: torch.device,
        ranks: Gather,
    ) -> None:
        values = dict(model)
        # A copy of its own: under ZeRO-3 the trained module holds no whole parameters, and
        # averaged weights are scored without touching it.
        self.model = build_model(values.pop("name"), values).to(device).eval()
        self.shards = shards
        self.subset = subset
        self.ranks = ranks
        self.items = validation_items(len(shards.items(subset.split)), subset.items, subset.seed)
        self.truth: Truth | None = None
        self.predictions: Predictions | None = None
        self.table: pd.DataFrame | None = None
        self._mean_face_metrics: dict[str, float] | None = None

    def __call__(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics of these weights, the same dict on every rank."""
        self.model.load_state_dict(weights)
        mine = list(
            predict(
                self.model,
                self.shards,
                self.subset.split,
                items=self.items[self.ranks.rank :: self.ranks.world],
                frames=self.subset.frames,
                num_samples=self.subset.num_samples,
                seed=self.subset.seed,
            )
        )
        gathered = self.ranks.gather(mine)
        metrics: dict[str, float] | None = None
        if gathered is not None:
            metrics = self._score(Predictions.stack(row for rows in gathered for row in rows))
        result: dict[str, float] = self.ranks.broadcast(metrics)
        return result

    def write(self, folder: Path) -> None:
        """Store the last evaluation's ten samples and per-item scores as Parquet."""
        if self.predictions is None or self.table is None:
            raise RuntimeError("nothing was evaluated on this rank")
        folder.mkdir(parents=True, exist_ok=True)
        stored = self.predictions
        write_predictions(
            folder / "predictions.parquet", stored.items, stored.emotion, stored.coefficients
        )
        self.table.to_parquet(folder / "items.parquet", index=False)

    def _score(self, predictions: Predictions) -> dict[str, float]:
        if self.truth is None:
            self.truth = Truth.read(self.shards, self.subset.split, self.subset.frames)
        self.predictions = predictions
        self.table = self.truth.score_items(predictions)
        metrics = means(self.table, self.subset.num_samples)
        return {**metrics, OBJECTIVE: objective(metrics, self.subset.objective, self._mean_face())}

    def _mean_face(self) -> dict[str, float] | None:
        """Metrics of the MeanFr baseline on the same items, where a guard refers to them."""
        if not self.subset.objective.needs_mean_face or self.truth is None:
            return None
        if self._mean_face_metrics is None:
            # Its samples are equal, and guards that refer to it are per sample: one is enough.
            frozen = predict_baseline(
                BASELINE_OF_LIMITS,
                self.shards,
                self.subset.split,
                frames=self.subset.frames,
                num_samples=1,
            ).rows(self.items)
            guarded = {g.metric.removesuffix("_mean") for g in self.subset.objective.guards}
            table = self.truth.score_items(frozen, metrics=tuple(sorted(guarded)))
            self._mean_face_metrics = means(table, num_samples=1)
        return self._mean_face_metrics
