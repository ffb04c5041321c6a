"""The suite against values computed by running the published evaluation code."""

from pathlib import Path

import numpy as np
import pytest

from reactdist.metrics import score
from reactdist.metrics.frsyn import synchrony_lags

GOLDEN = Path(__file__).parent.parent / "golden" / "metrics.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def scores(golden: dict[str, np.ndarray]) -> dict[str, float]:
    names = ("predictions", "listener", "speaker", "neighbours")
    return score(*(golden[name] for name in names))


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("FRCorr", 1e-5), ("FRDist", 1e-4), ("FRDiv", 1e-5), ("FRVar", 1e-5), ("FRDvs", 1e-5)],
)
def test_agrees_with_the_published_value(name, tolerance, scores, golden) -> None:
    assert scores[name] == pytest.approx(float(golden[name]), rel=tolerance)


def test_published_synchrony_follows_the_published_arithmetic(scores, golden) -> None:
    # Constant attributes decide here: NaN wins, and only the first prediction is looked at.
    assert scores["published_FRSyn"] == float(golden["FRSyn_first_sample_only"])
    every = [
        synchrony_lags(predictions, speaker)[1].mean()
        for predictions, speaker in zip(golden["predictions"], golden["speaker"], strict=True)
    ]
    assert np.mean(every) == pytest.approx(float(golden["FRSyn_all_samples"]), rel=1e-6)


def test_corrected_synchrony_is_kept_apart(scores) -> None:
    assert scores["FRSyn"] != scores["published_FRSyn"]
    assert scores["FRSyn_undefined_items"] == 0
