"""Whether two people's labels were exchanged: cannot be proven, but can be suspected.

A person's attributes follow from the same face as their coefficients. A linear map from
coefficients to attributes is learned over the whole release; a pair is suspect if the attributes
of both persons correlate better with what the map makes of the *other* person's coefficients.
Only second moments are kept of each pair, so memory does not grow with clip length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reactdist.schema import NUM_COEFFICIENTS

Floats = npt.NDArray[np.float32]

RIDGE = 1e-2
"""Relative to the mean variance of the coefficients."""
MARGIN = 0.02
"""How much better (mean correlation) the exchange must fit; see the README for what it yields."""
ENOUGH_PAIRS = 4
"""With fewer pairs there is nothing to learn the map from."""


@dataclass(frozen=True)
class Fit:
    """Second moments of one pair over time, each clip centred; [a][b]: attributes a, face b."""

    cross: tuple[tuple[Floats, Floats], tuple[Floats, Floats]]
    """(58, 25) coefficients of b with attributes of a."""
    coefficients: tuple[Floats, Floats]
    """(58, 58)."""
    attributes: tuple[Floats, Floats]
    """(25,) variances."""


def moments(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> Fit:
    """`Fit` of two persons' (attributes (T, 25), coefficients (T, 58))."""
    frames = min(len(array) for person in (first, second) for array in person)
    (e0, c0), (e1, c1) = (
        tuple(array[:frames] - array[:frames].mean(0) for array in person)
        for person in (first, second)
    )
    e, c = (e0, e1), (c0, c1)
    cross = tuple(tuple(c[b].T @ e[a] / frames for b in (0, 1)) for a in (0, 1))
    return Fit(
        cross,  # type: ignore[arg-type]
        (c0.T @ c0 / frames, c1.T @ c1 / frames),
        (e0.var(0), e1.var(0)),
    )


def suspicion(fits: Sequence[Fit]) -> npt.NDArray[np.float64]:
    """(pairs,): how much better the exchanged labels fit, in mean correlation.

    Above MARGIN is suspect.
    The map is learned twice, the second time without the pairs that looked exchanged.
    """
    if len(fits) < ENOUGH_PAIRS:
        return np.full(len(fits), -np.inf)
    learned_from = list(fits)
    for _ in range(2):
        weights = _map(learned_from)
        scores = np.array([_gain(fit, weights) for fit in fits])
        kept = [fit for fit, score in zip(fits, scores, strict=True) if score < 0]
        learned_from = kept if len(kept) >= ENOUGH_PAIRS else learned_from
    return scores


def _map(fits: Sequence[Fit]) -> npt.NDArray[np.float64]:
    """(58, 25) ridge regression of attributes on coefficients, over all clips."""
    own = sum(fit.coefficients[a].astype(np.float64) for fit in fits for a in (0, 1))
    cross = sum(fit.cross[a][a].astype(np.float64) for fit in fits for a in (0, 1))
    ridge = RIDGE * np.trace(own) / NUM_COEFFICIENTS
    return np.linalg.solve(own + ridge * np.eye(NUM_COEFFICIENTS), cross)


def _gain(fit: Fit, weights: npt.NDArray[np.float64]) -> float:
    """Mean correlation of attributes with the other's face, less that with their own."""

    def agreement(a: int, b: int) -> float:
        covariance = np.einsum("ck,ck->k", weights, fit.cross[a][b])
        predicted = np.einsum("ck,cd,dk->k", weights, fit.coefficients[b], weights)
        scale = np.sqrt(np.maximum(predicted * fit.attributes[a], 0))
        varies = scale > 1e-9
        return float((covariance[varies] / scale[varies]).mean()) if varies.any() else 0.0

    own = agreement(0, 0) + agreement(1, 1)
    other = agreement(0, 1) + agreement(1, 0)
    return (other - own) / 2
