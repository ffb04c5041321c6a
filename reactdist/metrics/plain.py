"""The same metrics in straightforward arithmetic: pair by pair, attribute by attribute.

tslearn's `dtw`, numpy's `corrcoef`, a loop for every sum in a definition: slow and easy to check.
`score --reference` prints it beside the fast suite, the tests and `bench.py` compare with it.
tslearn is needed here only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from reactdist.errors import InputError
from reactdist.metrics.inputs import Inputs, Item, check_inputs
from reactdist.schema import AFFECT_SLICE, AU_SLICE, EXPRESSION_SLICE, NUM_ATTRIBUTES

LAGS = range(-49, 50)


def plain_score(
    predictions: Any,
    listeners: Any,
    speakers: Any,
    neighbours: Any,
    metrics: Sequence[str] | None = None,
    *,
    binarize_au: bool = False,
    on_item: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Means under the names of `score`, for the metrics asked for (default all in `PLAIN`)."""
    inputs = check_inputs(predictions, listeners, speakers, neighbours, binarize_au=binarize_au)
    values: dict[str, list[float]] = {}
    for row in range(len(inputs)):
        item = inputs.item(row)
        for name, value in PLAIN.items():
            if metrics is None or name.removeprefix("published_") in metrics:
                values.setdefault(name, []).append(value(item, inputs))
        if on_item is not None:
            on_item()
    return {name: _defined_mean(column) for name, column in values.items()}


def concordance(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean over attributes of CCC of two clips (T, 25); a constant attribute counts 0."""
    total = 0.0
    for attribute in range(NUM_ATTRIBUTES):
        x = truth[:, attribute].astype(np.float64)
        y = prediction[:, attribute].astype(np.float64)
        if _constant(x) or _constant(y):
            continue
        correlation = np.corrcoef(x, y)[0, 1]
        spread = np.var(x) + np.var(y) + (np.mean(x) - np.mean(y)) ** 2 + 1e-8
        total += 2 * correlation * np.std(x) * np.std(y) / spread
    return total / NUM_ATTRIBUTES


def distance(truth: np.ndarray, prediction: np.ndarray) -> float:
    """DTW of action units / 15 + of affect + of expressions / 8, of two clips (T, 25)."""
    try:
        from tslearn.metrics import dtw
    except ImportError:
        raise InputError("the reference needs tslearn", fix="pip install tslearn") from None
    parts = (slice_.stop - slice_.start for slice_ in (AU_SLICE, EXPRESSION_SLICE))
    action_units, expressions = parts
    return float(
        dtw(truth[:, AU_SLICE], prediction[:, AU_SLICE]) / action_units
        + dtw(truth[:, AFFECT_SLICE], prediction[:, AFFECT_SLICE])
        + dtw(truth[:, EXPRESSION_SLICE], prediction[:, EXPRESSION_SLICE]) / expressions
    )


def correlation_at(lag: int, prediction: np.ndarray, speaker: np.ndarray) -> np.ndarray:
    """(25,) Pearson's r of the overlap at `lag`; NaN where a side is constant."""
    if lag >= 0:
        x, y = prediction[lag:], speaker[: len(speaker) - lag]
    else:
        x, y = prediction[:lag], speaker[-lag:]
    return np.array(
        [
            np.nan
            if _constant(x[:, attribute]) or _constant(y[:, attribute])
            else np.corrcoef(x[:, attribute], y[:, attribute])[0, 1]
            for attribute in range(NUM_ATTRIBUTES)
        ]
    )


def synchrony(item: Item, _: Inputs) -> float:
    """Corrected FRSyn of one item; NaN when no prediction has a varying attribute."""
    return _defined_mean([_peak(prediction, item.speaker) for prediction in item.predictions])


def published_synchrony(item: Item, _: Inputs) -> float:
    """FRSyn as published: the first prediction only, and argmax takes the first NaN."""
    means = [correlation_at(lag, item.predictions[0], item.speaker).mean() for lag in LAGS]
    return float(abs(LAGS[int(np.argmax(np.asarray(means, np.float32)))]))


def correlation(item: Item, _: Inputs) -> float:
    """FRCorr of one item."""
    return sum(
        max(concordance(truth, prediction) for truth in item.listeners)
        for prediction in item.predictions
    )


def nearest_distance(item: Item, _: Inputs) -> float:
    """FRDist of one item."""
    return sum(
        min(distance(truth, prediction) for truth in item.listeners)
        for prediction in item.predictions
    )


def diversity(item: Item, _: Inputs) -> float:
    """FRDiv of one item."""
    samples = len(item.predictions)
    pairs = [(a, b) for a in range(samples) for b in range(samples) if a != b]
    clips = item.predictions.astype(np.float64)
    return float(np.mean([((clips[a] - clips[b]) ** 2).mean() for a, b in pairs] or [np.nan]))


def variance(item: Item, _: Inputs) -> float:
    """FRVar of one item."""
    clips = item.predictions.astype(np.float64)
    return float(np.mean([clip.var(axis=0, ddof=1) for clip in clips]))


def diversity_across(item: Item, inputs: Inputs) -> float:
    """FRDvs of one item: against the predictions of every other item."""
    mine = item.predictions.astype(np.float64)
    others = [inputs.sample(other) for other in range(len(inputs)) if other != item.row]
    return float(np.mean([((mine - other) ** 2).mean() for other in others] or [np.nan]))


def accuracy(item: Item, inputs: Inputs) -> float:
    """ACC of one item: how often the most concordant of all real clips is appropriate."""
    real = [inputs.listener(row) for row in range(inputs.listeners.shape[0])]
    appropriate = inputs.neighbours[item.row]
    right = []
    for prediction in item.predictions:
        if (prediction == prediction[0]).all():
            continue  # never moves: concordant with nothing
        agreement = np.array([concordance(clip, prediction) for clip in real])
        right.append(agreement[appropriate].max() >= agreement.max())
    return float(np.mean(right or [np.nan]))


PLAIN: dict[str, Callable[[Item, Inputs], float]] = {
    "FRCorr": correlation,
    "FRDist": nearest_distance,
    "FRDiv": diversity,
    "FRVar": variance,
    "FRDvs": diversity_across,
    "FRSyn": synchrony,
    "published_FRSyn": published_synchrony,
    "ACC": accuracy,
}
"""Value of one item by the name of its key in `score`."""


def _peak(prediction: np.ndarray, speaker: np.ndarray) -> float:
    correlations = np.array([correlation_at(lag, prediction, speaker) for lag in LAGS])
    varies = ~np.isnan(correlations).any(axis=0)
    if not varies.any():
        return float("nan")
    mean = correlations[:, varies].mean(axis=1)
    return float(min(abs(lag) for lag, m in zip(LAGS, mean, strict=True) if m >= mean.max() - 1e-9))


def _constant(series: np.ndarray) -> bool:
    return bool((series == series[0]).all())


def _defined_mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
