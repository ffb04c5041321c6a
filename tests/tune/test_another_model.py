"""A model other than TransVAE goes the whole way: searched by Ray Tune, its best run scored."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reactdist.evaluate.predictions import read_predictions
from reactdist.evaluate.study import read_study
from tests.tune.test_search import finish, start, write_study

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def test_a_gru_is_searched_and_its_best_predicts_and_is_scored(
    small_shards: str, tmp_path: Path, tracker: str
) -> None:
    config = write_study(
        tmp_path,
        small_shards,
        base_changes={
            "model": {"name": "gru", "image_size": 40, "feature_dim": 16},
            "epochs": 4,
            "validation": {"items": 2, "frames": 24, "every_epochs": 2, "num_samples": 2},
        },
        space={
            "model.smoothness": {"uniform": [0.5, 0.99]},
            "model.num_layers": {"choice": [1, 2]},
        },
        trials=2,
    )
    finish(start(config, tracker))
    study = read_study(tmp_path / "runs" / "search")
    assert [trial.error for trial in study.trials] == ["", ""]
    assert {trial.config["model.num_layers"] for trial in study.trials} <= {1, 2}
    assert study.best.objective == max(trial.objective for trial in study.trials)
    exported = Path(study.best.folder) / "best"
    evaluate = ["evaluate", str(exported), "--items", "2", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "reactdist.cli", *evaluate, "--tracking", tracker],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    stored = read_predictions(tmp_path / "out" / "predictions.parquet")
    coefficients = np.asarray(stored.coefficients)
    assert coefficients.shape[:2] == (2, 10)
    assert np.isfinite(coefficients).all()
    assert coefficients.std(axis=1).min() > 0  # ten different reactions at every frame
    scores = json.loads((tmp_path / "out" / "evaluation.json").read_text())["scores"]
    assert math.isfinite(scores["model"]["metrics"]["FRCorr"])
