"""A generated release can be learned, and only from the speaker.

An informed predictor is fitted to the training split (ridge regression from the speaker's last 57
frames to the listener's attributes) and scored on the test split, whose people and scripts it has
never seen. `python tests/data/test_synth_learnable.py [PAIRS FRAMES SEEDS]` prints the table of
the README.
"""

import sys
from dataclasses import dataclass

import numpy as np
import pytest

from reactdist.data.synth.plan import Plan, make_plan
from reactdist.data.synth.recording import record
from reactdist.metrics import score_items

LAGS_FRAMES = (0, 3, 6, 9, 12, 16, 20, 26, 34, 44, 56)
RIDGE = 1 / 30
SAMPLES = 10  # of the challenge; one prediction counts ten times


@dataclass(frozen=True)
class Items:
    """Both directions of a split: all listed ones, then all mirrored."""

    seen: np.ndarray  # (N, T, 83): attributes and coefficients of the speaker
    speakers: np.ndarray  # (N, T, 25)
    listeners: np.ndarray  # (N, T, 25)
    neighbours: np.ndarray  # (N, N)


def items(plan: Plan, split: str) -> Items:
    clips = plan.of_split(split)
    recordings = [record(plan, clip) for clip in clips]
    people = [r[0] for r in recordings] + [r[1] for r in recordings]
    emotion = np.stack([r.emotion for r in people])
    shown = np.concatenate([emotion, np.stack([r.coefficients for r in people])], axis=2)
    script = [(c.script, c.sides[role]) for role in (0, 1) for c in clips]
    neighbours = np.array([[a == b for b in script] for a in script])
    return Items(shown, emotion, np.roll(emotion, len(clips), axis=0), neighbours)


def informed(train: Items, seen: np.ndarray) -> np.ndarray:
    """(N, T, 25) expected reactions to the speakers `seen` (N, T, 83)."""
    inputs = _history(train.seen)
    flat = inputs.reshape(-1, inputs.shape[2])
    mean, scale = flat.mean(axis=0), flat.std(axis=0) + 1e-6
    flat = (flat - mean) / scale
    target = train.listeners.reshape(-1, 25)
    offset = target.mean(axis=0)
    gram = flat.T @ flat + RIDGE * len(flat) * np.eye(flat.shape[1])
    weights = np.linalg.solve(gram, flat.T @ (target - offset))
    return (_history(seen) - mean) / scale @ weights + offset


def _history(seen: np.ndarray) -> np.ndarray:
    frames = np.arange(seen.shape[1])
    return np.concatenate([seen[:, np.maximum(frames - lag, 0)] for lag in LAGS_FRAMES], axis=2)


def someone_else(neighbours: np.ndarray) -> np.ndarray:
    """For each item another one of another script."""
    rng = np.random.default_rng(0)
    return np.array([rng.choice(np.flatnonzero(~row)) for row in neighbours])


def predictions(train: Items, test: Items) -> dict[str, np.ndarray]:
    """Name -> (N, T, 25)."""
    count, frames, _ = test.listeners.shape
    sequence = train.speakers.mean(axis=0)
    expected = informed(train, test.seen)
    return {
        "GT": test.listeners,
        "Random": np.random.default_rng(0).uniform(size=test.listeners.shape),
        "Mime": test.speakers,
        "MeanSeq": np.broadcast_to(sequence, (count, frames, 25)),
        "MeanFr": np.broadcast_to(sequence.mean(axis=0), (count, frames, 25)),
        "informed": expected,
        "informed, other speakers": expected[someone_else(test.neighbours)],
    }


def scores(pairs: int, frames: int, seed: int) -> dict[str, np.ndarray]:
    """Name -> (N, 2): FRCorr and FRDist of every test item, summed over ten samples."""
    plan = make_plan(pairs, frames, seed)
    train, test = items(plan, "train"), items(plan, "test")
    result = {}
    for name, values in predictions(train, test).items():
        table = score_items(
            values[:, None], test.listeners, test.speakers, test.neighbours, ["FRCorr", "FRDist"]
        )
        result[name] = SAMPLES * table[["FRCorr", "FRDist"]].to_numpy()
    return result


@pytest.fixture(scope="module", params=[0, pytest.param(1, marks=pytest.mark.slow)])
def table(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    return scores(32, 300, request.param)


def test_the_speaker_tells_more_than_any_baseline_knows(table: dict[str, np.ndarray]) -> None:
    means = {name: values.mean(axis=0) for name, values in table.items()}
    for name in ("Random", "MeanSeq", "MeanFr"):
        assert means["informed"][0] > means[name][0] + 1.5, name
        assert means["informed"][1] < 0.85 * means[name][1], name


def test_a_reaction_is_not_the_speaker_again(table: dict[str, np.ndarray]) -> None:
    assert table["Mime"].mean(axis=0)[0] < 0.5 * table["informed"].mean(axis=0)[0]


def test_it_matters_whose_speaker_is_seen(table: dict[str, np.ndarray]) -> None:
    """Also by the demo's check: the paired 95 % interval of the difference is above 0."""
    gain = (table["informed"] - table["informed, other speakers"])[:, 0]
    assert gain.mean() - 1.96 * gain.std(ddof=1) / np.sqrt(len(gain)) > 0
    assert gain.mean() > 1.5
    distance = (table["informed, other speakers"] - table["informed"])[:, 1]
    assert distance.mean() > 0


def test_both_directions_can_be_learned(table: dict[str, np.ndarray]) -> None:
    listed, mirrored = np.split(table["informed"][:, 0], 2)
    for half in (listed, mirrored):
        assert half.mean() > 2


def test_the_truth_is_perfect_but_for_constant_attributes(table: dict[str, np.ndarray]) -> None:
    corr, dist = table["GT"].mean(axis=0)
    assert 7 < corr < 9.8
    assert dist < 1e-6


def main(pairs: int, frames: int, seeds: int) -> None:
    tables = [scores(pairs, frames, seed) for seed in range(seeds)]
    print(f"{pairs} pairs of {frames} frames, seeds 0-{seeds - 1}: mean (lowest-highest)")
    for name in tables[0]:
        values = np.array([table[name].mean(axis=0) for table in tables])
        cells = [
            f"{m:7.2f} ({low:.2f}-{high:.2f})"
            for m, low, high in zip(values.mean(0), values.min(0), values.max(0), strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:4] or ("32", "300", "8")))
