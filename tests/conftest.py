"""What tests of several packages share: a small generated release, built once a session."""

from __future__ import annotations

import os

# Before torch or numba is imported anywhere: tests compare numbers and share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def small_shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Shards of a generated release: 8 pairs of 80 frames, 40x40 pixels."""
    from reactdist.data.build import build
    from reactdist.data.synth.release import write_release

    root = tmp_path_factory.mktemp("small")
    write_release(root / "release", pairs=8, frames=80, seed=3, workers=2)
    build(root / "release", root / "shards", image_size=40, workers=2)
    return str(root / "shards")


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported online TransVAE with random weights, for `small_shards`."""
    import torch

    from reactdist.checkpoints.export import export_model
    from reactdist.models.registry import build_model

    torch.manual_seed(0)
    values = {
        "task": "online",
        "image_size": 40,
        "feature_dim": 16,
        "latent_dim": 8,
        "window_size": 8,
        "video_norm": "frame",
    }
    weights = build_model("transvae", values).state_dict()
    folder = tmp_path_factory.mktemp("model") / "exported"
    return export_model(folder, weights, {"name": "transvae", **values})


@pytest.fixture
def tracker(tmp_path: Path) -> str:
    """A fresh MLflow on SQLite."""
    from reactdist.tracking import prepare

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    prepare(uri)
    return uri


def small_run(shards: str, output: Path, **changes: Any) -> Mapping[str, Any]:
    """Values of a training run of seconds: 4-item batches, a tiny online TransVAE."""
    values: dict[str, Any] = {
        "name": "small",
        "experiment": "tests",
        "output": str(output),
        "epochs": 4,
        "batch_size": 4,
        "log_every_steps": 1,
        "data": {"shards": shards, "crop_frames": 16},
        "model": {
            "name": "transvae",
            "task": "online",
            "image_size": 40,
            "feature_dim": 16,
            "latent_dim": 8,
            "window_size": 8,
            "video_norm": "frame",
            "max_history_frames": 16,
        },
        "loss": {"kl_weight": 1e-3, "diversity_weight": 0.1},
        "optimizer": {"lr": 1e-3},
        "validation": {"items": 2, "frames": 24, "every_epochs": 2, "num_samples": 2},
    }
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            values[key] = {**values[key], **value}
        else:
            values[key] = value
    return values
