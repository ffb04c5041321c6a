"""FRCorr, appropriateness by correlation.

FRCorr = mean over items of sum over the K predictions of max over appropriate real reactions j of
CCC(j, prediction), CCC taken for each attribute and averaged over the 25. Higher is better; from
about -K to K (the published K is 10). `FRCorr_mean` is FRCorr / K.
Source: REACT 2024 challenge; the published FRC.
"""

from __future__ import annotations

from reactdist.metrics.concordance import centre, concordance
from reactdist.metrics.inputs import Item


def frcorr(item: Item, _: object = None) -> dict[str, float]:
    """FRCorr of one item: predictions (K,T,25) against its listeners (J,T,25)."""
    agreement = concordance(centre(item.predictions), centre(item.listeners))  # (K, J)
    return {"FRCorr": float(agreement.max(axis=1).sum())}
