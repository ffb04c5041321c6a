"""FRDvs, diversity across items (speakers).

Mean squared difference a frame and attribute between predictions of different items with the same
sample number k, over the N(N-1) ordered pairs of items. Higher is better; uniform noise in [0,1]
gives 1/6. With N = 1 it is undefined. Source: REACT 2024 challenge; the published FRDvs.

It is not a mean of independent items, so the set is summed up first (`across_items`): with
M = mean prediction and S = sum over items |p - M|^2, item i has
sum over j |p_i - p_j|^2 = N |p_i - M|^2 + S.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reactdist.errors import InputError
from reactdist.metrics.inputs import Inputs, Item, check_predictions


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
        shift = _squared(step) * self.count * other.count / count
        return AcrossItems(
            count, self.mean + step * (other.count / count), self.spread + other.spread + shift
        )

    @property
    def num_frames(self) -> int:
        """T."""
        return int(self.mean.shape[1])


def _squared(values: np.ndarray) -> float:
    # Not np.vdot: BLAS would start threads inside our threads.
    return float(np.square(values).sum())


def across_items(inputs: Inputs) -> AcrossItems:
    """All predictions of `inputs` summed up, an item at a time."""
    mean = inputs.sample(0).astype(np.float64)
    spread = 0.0
    for count in range(2, len(inputs) + 1):
        step = inputs.sample(count - 1) - mean
        mean += step / count
        spread += _squared(step) * (count - 1) / count
    return AcrossItems(len(inputs), mean, spread)


def frdvs(item: Item, across: AcrossItems) -> dict[str, float]:
    """The item's share of FRDvs: its mean squared difference to every other item's predictions."""
    if across.count < 2:
        return {"FRDvs": float("nan")}
    step = item.predictions - across.mean
    distance = across.count * _squared(step) + across.spread
    return {"FRDvs": distance / ((across.count - 1) * step.size)}


def leave_one_session_out(
    predictions: Any,
    sessions: Sequence[object] | np.ndarray,
    *,
    frames: int | None = None,
    binarize_au: bool = False,
) -> np.ndarray:
    """(S,) FRDvs without each session in turn, for `intervals.jackknife_interval`.

    predictions (N,K,T,25) are read twice, the second time a session after another; sessions (N,)
    are labels; `frames` as in `check_predictions`. What is left follows from the whole and the
    session's own sums.
    """
    inputs = check_predictions(predictions, frames=frames, binarize_au=binarize_au)
    labels, groups = np.unique(np.asarray(sessions), return_inverse=True)
    if groups.shape != (len(inputs),):
        raise InputError(
            f"{groups.size} session labels for {len(inputs)} items", fix="one label an item"
        )
    whole = across_items(inputs)
    return np.array(
        [_without(whole, inputs, np.flatnonzero(groups == group)) for group in range(len(labels))]
    )


def _without(whole: AcrossItems, inputs: Inputs, members: np.ndarray) -> float:
    """FRDvs of `whole` without the items `members`."""
    left = whole.count - len(members)
    if left < 2:
        return float("nan")
    shift = np.zeros_like(whole.mean)
    inside = 0.0
    for member in members:
        step = inputs.sample(int(member)) - whole.mean
        shift += step
        inside += _squared(step)
    # sum |p - M|^2 over the rest, less what moving the mean to the rest's own saves
    spread = whole.spread - inside - _squared(shift) / left
    return 2 * spread / ((left - 1) * whole.mean.size)
