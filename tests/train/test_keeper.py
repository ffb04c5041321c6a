"""What a run's own clean-up leaves."""

from __future__ import annotations

from pathlib import Path

import torch

from reactdist.checkpoints import find_checkpoints
from reactdist.checkpoints.keep import protect
from reactdist.config import parse
from reactdist.train.keeper import RunFolder
from reactdist.train.loop import Progress
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
