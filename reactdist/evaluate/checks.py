"""What a model worth promoting must show on a split: better than naive, and by listening."""

from __future__ import annotations

from reactdist.evaluate.report import CheckRow
from reactdist.evaluate.run import MODEL, SWAPPED, Evaluated, difference

BEATEN = ("Random", "MeanSeq", "MeanFr")


def checks(evaluated: Evaluated) -> list[CheckRow]:
    """Beats every naive baseline on FRCorr and FRDist; unrelated speakers lower its FRCorr.

    The second needs the control (`evaluate_model(control=True)`); its 95% interval is paired on
    the same items and resampled over sessions.
    """
    scores = evaluated.scores
    own = scores[MODEL].metrics
    rows = []
    for name in BEATEN:
        other = scores[name].metrics
        for metric, sign in (("FRCorr", 1.0), ("FRDist", -1.0)):
            better = sign * (own[metric] - other[metric]) > 0
            word = "above" if sign > 0 else "below"
            detail = f"{own[metric]:.4g}, must be {word} {other[metric]:.4g}"
            rows.append(CheckRow(f"{metric} beats {name}", detail, better))
    if SWAPPED in scores:
        gap = difference(scores[MODEL], scores[SWAPPED], "FRCorr")
        detail = (
            f"FRCorr {own['FRCorr']:.4g}, with unrelated speakers "
            f"{scores[SWAPPED].metrics['FRCorr']:.4g}; difference {gap.estimate:.4g} "
            f"[{gap.low:.4g}, {gap.high:.4g}] must be above 0"
        )
        rows.append(CheckRow("uses the speaker", detail, gap.low > 0))
    return rows
