"""FRDvs, diversity across items (speakers).

Mean squared difference a frame and attribute between predictions of different items with the same
sample number k, over the N(N-1) ordered pairs of items. Higher is better; uniform noise in [0,1]
gives 1/6. With N = 1 it is undefined. Source: REACT 2024 challenge; the published FRDvs.

It is not a mean of independent items, so the set is summed up first (`across_items`): with
M = mean prediction and S = sum over items |p - M|^2, item i has
sum over j |p_i - p_j|^2 = N |p_i - M|^2 + S.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reactdist.metrics.inputs import Inputs, Item


@dataclass(frozen=True)
class AcrossItems:
    """Predictions of a set of items summed up; sets add up with `+` (Chan et al. 1979).

    count: items; mean (K,T,25) float64; spread: sum over items of |prediction - mean|^2.
    """

    count: int
    mean: np.ndarray
    spread: float

    def __add__(self, other: AcrossItems) -> AcrossItems:
        count = self.count + other.count
        step = other.mean - self.mean
        shift = float(np.vdot(step, step)) * self.count * other.count / count
        return AcrossItems(
            count, self.mean + step * (other.count / count), self.spread + other.spread + shift
        )


def across_items(inputs: Inputs) -> AcrossItems:
    """All predictions of `inputs` summed up, an item at a time."""
    mean = inputs.sample(0).astype(np.float64)
    spread = 0.0
    for count in range(2, len(inputs) + 1):
        step = inputs.sample(count - 1) - mean
        mean += step / count
        spread += float(np.vdot(step, step)) * (count - 1) / count
    return AcrossItems(len(inputs), mean, spread)


def frdvs(item: Item, across: AcrossItems) -> dict[str, float]:
    """The item's share of FRDvs: its mean squared difference to every other item's predictions."""
    if across.count < 2:
        return {"FRDvs": float("nan")}
    step = item.predictions - across.mean
    distance = across.count * float(np.vdot(step, step)) + across.spread
    return {"FRDvs": distance / ((across.count - 1) * step.size)}
