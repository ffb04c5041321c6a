"""What a run's own clean-up leaves."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from reactdist.checkpoints import find_checkpoints
from reactdist.checkpoints.export import load_config
from reactdist.checkpoints.keep import protect
from reactdist.config import parse
from reactdist.train.keeper import RunFolder
from reactdist.train.loop import Evaluation, Progress
from reactdist.train.settings import TrainSettings
from tests.conftest import small_run


def test_a_promoted_checkpoint_outlives_better_and_later_ones(tmp_path: Path) -> None:
    settings = parse(TrainSettings, dict(small_run("shards", tmp_path)))
    folder = RunFolder(settings, rank=0, facts={}, evidence=lambda where: None)
    weights = {"w": torch.ones(2)}
    progress = Progress()
    for step, score in ((1, 0.1), (2, 0.5), (3, 0.2), (4, 0.3)):
        progress.step = step
        progress.scores[step] = score
        folder.save(progress, weights, weights, {})
        if step == 1:
            protect(find_checkpoints(folder.checkpoints)[0].path, "promoted")
    assert [c.step for c in find_checkpoints(folder.checkpoints)] == [1, 2, 4]


def test_a_best_model_that_could_not_be_written_is_exported_by_the_next_attempt(
    tmp_path: Path,
) -> None:
    settings = parse(TrainSettings, dict(small_run("shards", tmp_path)))

    def folder() -> RunFolder:
        return RunFolder(settings, rank=0, facts={}, evidence=lambda: write)

    def write(where: Path) -> None:
        where.mkdir(exist_ok=True)

    first, progress = folder(), Progress()
    first.root.mkdir(parents=True)
    (first.root / "best").touch()  # in the way
    for step, score in ((2, 0.5), (4, 0.1)):
        progress.step, progress.scores[step] = step, score
        first.evaluated({"w": torch.full((2,), step)}, Evaluation(step, 1, {}, step == 2))
        first.save(progress, {"w": torch.full((2,), step)}, {}, {})
        assert (first.root / "best").is_file()
    (first.root / "best").unlink()  # and the attempt ends
    again = folder()
    checkpoint = again.resume()
    assert checkpoint is not None
    assert checkpoint.step == 4
    assert load_config(again.root / "best")["step"] == 2
    weights = load_file(again.root / "best" / "model.safetensors")
    assert weights["w"].tolist() == [2, 2]
    assert not (again.root / "best-predictions").exists()  # which attempt's, nobody knows
