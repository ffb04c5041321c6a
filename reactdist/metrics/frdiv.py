"""FRDiv, diversity among the K predictions of an item.

Mean squared difference a frame and attribute between the predictions of an item, over the K(K-1)
ordered pairs. Higher is better; uniform noise in [0,1] gives 1/6. With K = 1 it is undefined.
Source: REACT 2024 challenge; the published FRDiv (s_mse).
"""

from __future__ import annotations

import numpy as np

from reactdist.metrics.inputs import Item


def frdiv(item: Item, _: object = None) -> dict[str, float]:
    """FRDiv of one item's predictions (K,T,25); NaN for K = 1."""
    predictions = item.predictions.astype(np.float64, copy=False)
    samples = len(predictions)
    if samples < 2:
        return {"FRDiv": float("nan")}
    # sum over ordered pairs |a - b|^2 = 2 K sum |a - mean|^2
    deviation = predictions - predictions.mean(axis=0)
    spread = float(np.square(deviation).sum())
    elements = deviation[0].size
    return {"FRDiv": 2 * spread / ((samples - 1) * elements)}
