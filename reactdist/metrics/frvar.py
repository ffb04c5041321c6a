"""FRVar, variation of a prediction over time.

Unbiased variance over the T frames, averaged over attributes and predictions. Higher is better;
uniform noise in [0,1] gives 1/12. Source: REACT 2024 challenge; the published FRVar.
"""

from __future__ import annotations

import numpy as np

from reactdist.metrics.inputs import Item


def frvar(item: Item, _: object = None) -> dict[str, float]:
    """FRVar of one item's predictions (K,T,25)."""
    return {"FRVar": float(item.predictions.var(axis=1, ddof=1, dtype=np.float64).mean())}
