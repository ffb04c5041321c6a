"""An evaluation by blocks: the numbers of one piece, in any order, and after any interruption."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reactdist.checkpoints.export import load_exported
from reactdist.data.shards import Shards
from reactdist.errors import InputError
from reactdist.evaluate.blocks import Block, Predicting, Runner, Scoring, Work, run_here
from reactdist.evaluate.predict import Predictions, predict, predict_baseline
from reactdist.evaluate.run import MODEL, SWAPPED, Evaluated, evaluate_model, unfinished
from reactdist.evaluate.truth import Truth

DRAW = {"frames": 60, "num_samples": 2, "seed": 4}
NAIVE = ("Random", "MeanSeq")


@pytest.fixture(scope="module")
def shards(small_shards: str) -> Shards:
    return Shards.open(small_shards)


class Watched:
    """Runs here and remembers what it ran; may be interrupted after some blocks, or shuffle."""

    def __init__(self, *, stop_after: int | None = None, shuffle: bool = False) -> None:
        self.done: list[tuple[str, Block]] = []
        self.stop_after, self.shuffle = stop_after, shuffle

    def __call__(self, work: Work, blocks: Sequence[Block]) -> Iterator[tuple[Block, Any]]:
        order = random.Random(1).sample(blocks, len(blocks)) if self.shuffle else blocks
        for block, result in run_here(work, order):
            if len(self.done) == self.stop_after:
                raise KeyboardInterrupt
            self.done.append((type(work).__name__, block))
            yield block, result

    def scored(self) -> set[tuple[str, int]]:
        return {(block.source, block.number) for what, block in self.done if what == "Scoring"}


def evaluate(
    small_model: Path, shards: Shards, out: Path, runner: Runner = run_here, **changes: Any
) -> Evaluated:
    arguments = {"control": True, "baselines": NAIVE, "block_items": 3, **DRAW, **changes}
    return evaluate_model(small_model, shards, "train", out, runner=runner, **arguments)


def same(one: Evaluated, other: Evaluated) -> None:
    assert one.scores.keys() == other.scores.keys()
    for name, scores in one.scores.items():
        pd.testing.assert_frame_equal(scores.table, other.scores[name].table, rtol=0, atol=0)
        assert repr(scores.metrics) == repr(other.scores[name].metrics)


@pytest.fixture(scope="module")
def whole(
    small_model: Path, shards: Shards, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Evaluated, Path]:
    """An evaluation nobody disturbed, and its folder."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return evaluate(small_model, shards, out), out


def test_blocks_give_the_numbers_of_one_piece(whole, small_model, shards) -> None:
    evaluated, _ = whole
    truth = Truth.read(shards, "train", DRAW["frames"])
    pieces = {
        MODEL: Predictions.stack(predict(load_exported(small_model), shards, "train", **DRAW)),
        **{name: predict_baseline(name, shards, "train", **DRAW) for name in NAIVE},
    }
    assert np.array_equal(np.asarray(evaluated.predictions.emotion), pieces[MODEL].emotion)
    for name, piece in pieces.items():
        expected = truth.score_items(piece)
        pd.testing.assert_frame_equal(evaluated.scores[name].table, expected, rtol=1e-9, atol=0)


def test_other_blocks_give_the_same_within_rounding(whole, small_model, shards, tmp_path) -> None:
    other = evaluate(small_model, shards, tmp_path / "out", block_items=5)
    for name, scores in whole[0].scores.items():
        pd.testing.assert_frame_equal(other.scores[name].table, scores.table, rtol=1e-9, atol=0)


def test_the_order_of_the_blocks_changes_no_bit(whole, small_model, shards, tmp_path) -> None:
    same(evaluate(small_model, shards, tmp_path / "out", Watched(shuffle=True)), whole[0])


@pytest.mark.parametrize("stop_after", [2, 19])
def test_an_interrupted_evaluation_goes_on_with_what_is_missing(
    stop_after, whole, small_model, shards, tmp_path
) -> None:
    out = tmp_path / "out"
    first, second = Watched(stop_after=stop_after), Watched()
    with pytest.raises(KeyboardInterrupt):
        evaluate(small_model, shards, out, first)
    parts = {file.name: file.stat().st_ino for file in (out / "predictions.parquet").iterdir()}
    same(evaluate(small_model, shards, out, second), whole[0])
    after = {file.name: file.stat().st_ino for file in (out / "predictions.parquet").iterdir()}
    assert parts.items() <= after.items()  # what was predicted was not predicted again
    every = {(block.source, block.number) for what, block in second.done if what == "Predicting"}
    assert len(parts) >= 2
    assert second.scored() == (every | first.scored()) - first.scored()
    third = Watched()
    same(evaluate(small_model, shards, out, third), whole[0])
    assert third.done == []


def test_other_settings_and_damaged_blocks_are_done_again(small_model, shards, tmp_path) -> None:
    out = tmp_path / "out"
    few = {"control": False, "baselines": ()}
    evaluate(small_model, shards, out, **few)
    file = out / "predictions.parquet" / "00001.parquet"
    intact = file.read_bytes()
    file.write_bytes(intact[: len(intact) // 2])
    (unfinished(out) / "model" / "items" / "00001.parquet").write_bytes(b"")
    again = Watched()
    evaluate(small_model, shards, out, again, **few)
    assert again.scored() == {("model", 1)}
    assert file.read_bytes() == intact
    file.unlink()
    evaluate(small_model, shards, out, **few)
    assert file.read_bytes() == intact
    fresh = Watched()
    changed = evaluate(small_model, shards, out, fresh, **few, seed=5)
    blocks = sorted(number for _, number in fresh.scored())
    assert len(blocks) == len(list(file.parent.iterdir())) > 2
    larger = evaluate(small_model, shards, out, **few, seed=5, block_items=5)
    assert len(list(file.parent.iterdir())) < len(blocks)
    pd.testing.assert_frame_equal(
        larger.scores["model"].table, changed.scores["model"].table, rtol=1e-9, atol=0
    )


def test_an_item_that_cannot_be_scored_is_named(small_model, shards, tmp_path) -> None:
    def broken(work: Work, blocks: Sequence[Block]) -> Iterator[tuple[Block, Any]]:
        if isinstance(work, Scoring):
            work.listeners[4, 3, 2] = np.nan
        assert isinstance(work, Predicting | Scoring)
        return run_here(work, blocks)

    with pytest.raises(InputError, match=r"listeners\[4\]: holds NaN"):
        evaluate(small_model, shards, tmp_path / "out", broken, control=False, baselines=())


def test_the_control_is_kept_until_the_end_only(whole) -> None:
    evaluated, out = whole
    assert SWAPPED in evaluated.scores
    kept = sorted(file.parent.name for file in unfinished(out).rglob("predictions.parquet"))
    assert kept == ["model-other-speakers"]
    assert list(out.iterdir()) == [out / "predictions.parquet"]
