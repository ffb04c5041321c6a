"""The benchmark runs with torch and rich alone, and its extrapolation is a line."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from reactdist.models import TransVAEConfig
from reactdist.models.bench import Sizes, _line, large_steps, run

TINY = Sizes(image_size=40, feature_dim=16, crop_frames=16, clip_frames=80, repeats=1)


def test_table_has_every_row_of_the_issue(capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(TINY, device="cpu")
    assert [row.required for row in rows] == [2.2, 2.2, 8, 15, 100]
    assert all(row.plain_s > 0 and row.ours_s > 0 for row in rows)
    printed = capsys.readouterr().out
    assert "load" in printed
    assert "GPU figures: not measured" in printed


def test_large_steps_run_in_every_mode() -> None:
    cfg = TransVAEConfig(
        task="online", video_norm="frame", image_size=40, feature_dim=16, latent_dim=16
    )
    steps = large_steps(cfg, TINY, 2, 16, torch.device("cpu"))
    assert [step.name for step in steps] == [
        "online, 2 x 16 frames, float32",
        "online, 2 x 16 frames, float32, checkpointed",
        "online, 2 x 16 frames, bf16",
        "online, 2 x 16 frames, bf16, checkpointed",
    ]
    assert all("steps/s" in step.line() for step in steps)


def test_windows_not_timed_lie_on_the_line() -> None:
    assert _line([1, 2, 4], [3.0, 5.0, 9.0], 10) == pytest.approx(21)


def test_models_need_none_of_the_heavy_libraries() -> None:
    """Models and benchmark import where only torch, numpy and rich are installed."""
    banned = ("ray", "mlflow", "deepspeed", "pydantic", "tslearn", "pandas", "yaml")
    code = (
        "import sys\n"
        f"for name in {banned!r}: sys.modules[name] = None\n"
        "import reactdist.models, reactdist.models.bench, reactdist.models.registry\n"
        "import reactdist.models.baselines, reactdist.models.stream_command\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
