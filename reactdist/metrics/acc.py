"""ACC, accuracy of appropriate reaction prediction. This definition is ours.

The challenge names the metric, but no public implementation and no readable definition exists.
Here: the share of predictions whose most concordant real listener clip among all N of the split
(mean CCC over attributes, see `concordance.py`) is an appropriate one. Higher is better; 0 to 1.
Chance is the share of appropriate clips, so it does not compare across splits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reactdist.metrics.concordance import Centred, centre, concordance
from reactdist.metrics.inputs import Inputs, Item
from reactdist.schema import NUM_ATTRIBUTES

_TIE = 1e-5
"""CCC differences under float32 rounding: an appropriate clip that ties for the best is right."""
_CHUNK = 64
"""Listener clips centred at once, which bounds the memory of the float64 moments."""


@dataclass(frozen=True)
class RealClips:
    """All N real listener clips, centred in float32, and which are appropriate for which item."""

    clips: Centred
    neighbours: np.ndarray

    @property
    def num_frames(self) -> int:
        """T."""
        return int(self.clips.values.shape[2])


def real_clips(inputs: Inputs) -> RealClips:
    """The listeners of `inputs` centred: 25 x N x T float32 in memory."""
    total, frames = inputs.listeners.shape[0], inputs.num_frames
    values = np.empty((NUM_ATTRIBUTES, total, frames), np.float32)
    mean, variance = np.empty((2, NUM_ATTRIBUTES, total))
    for start in range(0, total, _CHUNK):
        chosen = slice(start, min(start + _CHUNK, total))
        part = centre(np.stack([inputs.listener(j) for j in range(total)[chosen]]))
        values[:, chosen], mean[:, chosen], variance[:, chosen] = (
            part.values,
            part.mean,
            part.variance,
        )
    return RealClips(Centred(values, mean, variance), inputs.neighbours)


def acc(item: Item, real: RealClips) -> dict[str, float]:
    """The share of the item's K predictions whose best real clip is appropriate.

    A prediction that never moves is concordant with no clip and is left out; NaN when none moves.
    """
    moves = np.ptp(item.predictions, axis=1).any(axis=1)  # (K,)
    if not moves.any():
        return {"ACC": float("nan")}
    agreement = concordance(centre(item.predictions[moves], np.float32), real.clips)  # (K', N)
    appropriate = agreement[:, real.neighbours[item.row]].max(axis=1)
    return {"ACC": float((appropriate >= agreement.max(axis=1) - _TIE).mean())}
