"""Scoring during training: fixed clips, the run's own window, the challenge metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor

from reactdist.data.shards import Shards
from reactdist.errors import InputError
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

DRY_RUN_FRAMES = 64
"""Enough for some windows, little enough for a CPU."""


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
        skip_damaged: bool = False,
    ) -> None:
        """`skip_damaged`: of training clips, for the mean face that guards refer to; what is scored
        is never skipped."""
        values = dict(model)
        # A copy of its own: under ZeRO-3 the trained module holds no whole parameters, and
        # averaged weights are scored without touching it.
        self.model = build_model(values.pop("name"), values).to(device).eval()
        self.window_frames = int(model.get("window_size") or 0)
        self.shards = shards
        self.subset = subset
        self.ranks = ranks
        self.skip_damaged = skip_damaged
        self.items = validation_items(len(shards.items(subset.split)), subset.items, subset.seed)
        self.truth: Truth | None = None
        self.predictions: Predictions | None = None
        self.table: pd.DataFrame | None = None
        self._mean_face_metrics: dict[str, float] | None = None

    def dry_run(self) -> None:
        """React to the beginning of a clip and read the truth, so that hours later both work.

        Raises:
            InputError: on all ranks, what cannot be read.
        """
        shortest = min(item.num_frames for item in self.shards.items(self.subset.split))
        frames = min(self.subset.frames or shortest, max(DRY_RUN_FRAMES, self.window_frames))
        self._together(lambda: self._predict(self.items[:1], frames, num_samples=1))
        self._together(self._read_truth)
        self._together(self._mean_face)

    def __call__(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics of these weights, the same dict on every rank.

        Raises:
            InputError: on all ranks, a clip that one of them could not read.
        """
        self.model.load_state_dict(weights)
        mine = self.items[self.ranks.rank :: self.ranks.world]
        subset = self.subset
        predicted = self._together(lambda: self._predict(mine, subset.frames, subset.num_samples))
        scored = self._together(lambda: self._score(predicted))
        metrics: dict[str, float] = self.ranks.broadcast(scored and scored[0])
        return metrics

    def _together(self, work: Callable[[], Any]) -> list[Any] | None:
        """What `work` gives on each rank, on rank 0; what fails on one is raised on all."""
        result, problem = None, None
        try:
            result = work()
        except InputError as error:
            problem = error
        gathered = self.ranks.gather((result, problem))
        problems = [found for _, found in gathered or () if found is not None]
        problem = self.ranks.broadcast(problems[0] if problems else None)
        if problem is not None:
            raise problem
        return None if gathered is None else [result for result, _ in gathered]

    def _predict(self, items: Sequence[int], frames: int | None, num_samples: int) -> list[Any]:
        subset = self.subset
        return list(
            predict(
                self.model,
                self.shards,
                subset.split,
                items=items,
                frames=frames,
                num_samples=num_samples,
                seed=subset.seed,
            )
        )

    def _read_truth(self) -> None:
        if self.ranks.rank == 0 and self.truth is None:
            self.truth = Truth.read(self.shards, self.subset.split, self.subset.frames)

    def writer(self) -> Callable[[Path], None]:
        """What stores the ten samples and per-item scores of the last evaluation as Parquet."""
        stored, table = self.predictions, self.table
        if stored is None or table is None:
            raise RuntimeError("nothing was evaluated on this rank")

        def write(folder: Path) -> None:
            folder.mkdir(parents=True, exist_ok=True)
            write_predictions(
                folder / "predictions.parquet", stored.items, stored.emotion, stored.coefficients
            )
            table.to_parquet(folder / "items.parquet", index=False)

        return write

    def _score(self, predicted: list[Any] | None) -> dict[str, float] | None:
        """Metrics of the predictions of all ranks, which rank 0 holds."""
        if predicted is None:
            return None
        self._read_truth()
        assert self.truth is not None
        self.predictions = Predictions.stack(row for rows in predicted for row in rows)
        self.table = self.truth.score_items(self.predictions)
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
                skip_damaged=self.skip_damaged,
            ).rows(self.items)
            guarded = {g.metric.removesuffix("_mean") for g in self.subset.objective.guards}
            table = self.truth.score_items(frozen, metrics=tuple(sorted(guarded)))
            self._mean_face_metrics = means(table, num_samples=1)
        return self._mean_face_metrics
