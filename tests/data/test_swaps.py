"""Exchanged labels are suspected: precision and recall on generated releases."""

from __future__ import annotations

import numpy as np
import pytest

from reactdist.data.swaps import ENOUGH_PAIRS, MARGIN, Fit, moments, suspicion
from reactdist.data.synth.plan import DEFAULT_SPLITS, make_plan
from reactdist.data.synth.recording import record

NOISE = {"as generated": 0.0, "coefficients half noise": 1.0}


def fits(
    pairs: int, frames: int, seed: int, share: float, noise: float
) -> tuple[list[Fit], np.ndarray]:
    """Evidence of every pair, and which of them had their labels exchanged."""
    plan = make_plan(pairs, frames, seed, DEFAULT_SPLITS)
    rng = np.random.default_rng(seed)
    evidence, exchanged = [], rng.random(pairs) < share
    for clip, exchange in zip(plan.clips, exchanged, strict=True):
        emotion = [recording.emotion.astype(np.float32) for recording in record(plan, clip)]
        faces = [
            face + noise * face.std(0) * rng.standard_normal(face.shape)
            for face in (np.asarray(r.coefficients, np.float32) for r in record(plan, clip))
        ]
        if exchange:
            emotion.reverse()
        evidence.append(moments((emotion[0], faces[0]), (emotion[1], faces[1])))
    return evidence, exchanged


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE.keys())
def test_precision_and_recall(noise: float) -> None:
    found, missed, wrong = 0, 0, 0
    for seed in range(2):
        evidence, exchanged = fits(20, 200, seed, 0.2, noise)
        suspects = suspicion(evidence) > MARGIN
        found += int((suspects & exchanged).sum())
        missed += int((~suspects & exchanged).sum())
        wrong += int((suspects & ~exchanged).sum())
    print(f"{found} found, {missed} missed, {wrong} wrong")
    assert found >= 5
    assert found / (found + missed) >= 0.95
    assert found / (found + wrong) >= 0.95


def test_nothing_is_suspect_in_a_clean_release() -> None:
    evidence, _ = fits(20, 200, 7, 0.0, 0.5)
    assert not (suspicion(evidence) > MARGIN).any()


def test_too_few_pairs_say_nothing() -> None:
    evidence, _ = fits(6, 100, 0, 1.0, 0.0)
    assert (suspicion(evidence[: ENOUGH_PAIRS - 1]) == -np.inf).all()
