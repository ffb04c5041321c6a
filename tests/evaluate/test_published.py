"""`reactdist evaluate released.pth --published`: the published numbers from a published file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reactdist.data.clips import whole_items
from reactdist.data.shards import Shards
from reactdist.errors import InputError
from reactdist.evaluate.command import import_published
from reactdist.evaluate.predict import item_seed
from reactdist.evaluate.predictions import read_predictions
from reactdist.models.plain import PlainTransVAE
from tests.models.golden import Golden

FRAMES = 20  # two windows of eight and a short one


def evaluate(file: Path, shards: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["evaluate", str(file), "--published", "--shards", shards, "--window-size", "8"]
    sizes = ["--items", "1", "--samples", "2", "--frames", str(FRAMES)]
    tracking = ["--tracking", f"sqlite:///{file.parent}/mlflow.db"]
    return subprocess.run(
        [sys.executable, "-m", "reactdist.cli", *command, *sizes, *tracking, *more],
        capture_output=True, text=True, cwd=file.parent, timeout=300, check=False,
    )  # fmt: skip


def released(folder: Path, weights: dict[str, Any]) -> Path:
    """An original file: weights with the buffer nothing reads, epoch and optimizer."""
    path = folder / "released.pth"
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))])
    state = {**weights, "reaction_decoder.PE.pe": torch.zeros(1, 4, 32)}
    torch.save({"epoch": 3, "state_dict": state, "optimizer": optimizer.state_dict()}, path)
    return path


def test_an_original_file_gives_the_published_predictions(
    tmp_path: Path, small_shards: str
) -> None:
    golden = Golden("online_w8")
    done = evaluate(released(tmp_path, golden.weights), small_shards, "--out", str(tmp_path / "e"))
    assert done.returncode == 0, done.stderr
    stored = read_predictions(tmp_path / "e" / "predictions.parquet")
    item = int(stored.items[0])
    [clip] = whole_items(Shards.open(small_shards), "val", [item], frames=FRAMES)
    generator = torch.Generator().manual_seed(item_seed(0, item))
    noise = torch.stack([torch.randn(2, 32, generator=generator) for _ in range(3)])
    plain = PlainTransVAE(golden.cfg).eval()
    plain.load_state_dict(golden.weights)
    video = torch.from_numpy(clip["speaker_video"])[None].float() / 127.5 - 1
    audio = torch.from_numpy(clip["speaker_audio"])[None]
    for sample in range(2):
        with torch.no_grad():
            wanted = plain(video, audio, noise[:, sample, None])
        np.testing.assert_allclose(
            stored.emotion[0][sample], wanted.emotion[0].numpy(), rtol=0, atol=1e-4
        )
        np.testing.assert_allclose(
            stored.coefficients[0][sample], wanted.coefficients[0].numpy(), rtol=1e-5, atol=1e-4
        )


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("reaction_decoder.lstm.weight_ih_l0", lambda w: w[:, :5], "expected (128, 32)"),
        ("reaction_decoder.linear_3d.bias", lambda w: None, "missing, first"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    tmp_path: Path, small_shards: str, name: str, change: Any, said: str
) -> None:
    weights: dict[str, Any] = dict(Golden("online_w8").weights)
    weights[name] = change(weights[name])
    if weights[name] is None:
        del weights[name]
    with pytest.raises(InputError) as raised:
        import_published(released(tmp_path, weights), small_shards, window_size=8)
    assert name in raised.value.line()
    assert said in raised.value.line()
    assert not (tmp_path / "released.exported").exists()
