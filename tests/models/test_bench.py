"""The benchmark runs with torch alone, and its extrapolation is a line."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from reactdist.models import TransVAEConfig
from reactdist.models.bench import Sizes, _line, large_steps, run

PROJECT = Path(__file__).parent.parent.parent / "pyproject.toml"
TINY = Sizes(
    image_size=40, feature_dim=16, crop_frames=16, clip_frames=80, repeats=1, late_window=8
)


def test_table_has_every_row_of_the_issue(capsys: pytest.CaptureFixture[str]) -> None:
    rows, stream = run(TINY, device="cpu")
    assert [row.required for row in rows] == [2.2, 2.2, 8, 15, 100]
    assert all(row.plain_s > 0 and row.ours_s > 0 for row in rows)
    assert stream.growth == stream.late_s / stream.early_s
    assert stream.rate == pytest.approx(16 / 25 / stream.late_s)
    printed = capsys.readouterr().out
    assert all(row.line() in printed for row in rows)
    assert stream.line() in printed
    assert "load" in printed
    assert "GPU figures: not measured" in printed


def test_large_steps_run_in_every_mode() -> None:
    cfg = TransVAEConfig(
        task="online", video_norm="frame", image_size=40, feature_dim=16, latent_dim=16
    )
    steps = large_steps(cfg, TINY, 2, 16, torch.device("cpu"))
    assert [step.name for step in steps] == [
        "online, 2 x 16 frames, float32",
        "online, 2 x 16 frames, checkpointed",
        "online, 2 x 16 frames, bf16",
        "online, 2 x 16 frames, bf16, checkpointed",
    ]
    assert all("steps/s" in step.line() for step in steps)


def test_windows_not_timed_lie_on_the_line() -> None:
    assert _line([1, 2, 4], [3.0, 5.0, 9.0], 10) == pytest.approx(21)


def test_models_need_none_of_the_heavy_libraries() -> None:
    """Models import where only torch and numpy are installed."""
    banned = ("ray", "mlflow", "deepspeed", "pydantic", "tslearn", "pandas", "yaml", "rich")
    code = (
        "import sys\n"
        f"for name in {banned!r}: sys.modules[name] = None\n"
        "import reactdist.models, reactdist.models.registry\n"
        "import reactdist.models.baselines, reactdist.models.stream_command\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_benchmark_runs_where_there_is_torch_and_nothing_else() -> None:
    """Measures, not only imports, with every other dependency of the project out of reach."""
    requirements = [
        re.split(r"[=\[ ]", line)[0]
        for line in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    ]
    modules = {"pillow": "PIL", "pyyaml": "yaml"}
    banned = {modules.get(name, name) for name in requirements} - {"torch"}
    assert {"ray", "mlflow", "deepspeed", "rich", "numpy"} <= banned
    code = (
        "import sys\n"
        f"for name in {sorted(banned)!r}: sys.modules[name] = None\n"
        "from reactdist.models.bench import Sizes, run\n"
        "run(Sizes(40, 16, 16, 48, 1, 8), threads=1, device='cpu')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("x |") == 10
    assert "faster than real time" in done.stdout
