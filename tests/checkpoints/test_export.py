"""An exported model is whole, and loads with torch alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reactdist.checkpoints import export_model, load_exported, verify
from reactdist.errors import DataError, InputError
from reactdist.models.registry import build_model, config_values, model_config

VALUES = {"task": "online", "image_size": 40, "feature_dim": 16, "latent_dim": 8, "window_size": 4}


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = build_model("transvae", VALUES)
    values = {"name": "transvae", **config_values(model_config("transvae", VALUES))}
    return export_model(tmp_path / "model", model.state_dict(), values, step=3, mean_face=[0.0])


def test_the_loaded_model_reacts_like_the_exported_one(exported: Path) -> None:
    torch.manual_seed(0)
    model = build_model("transvae", VALUES).eval()
    loaded = load_exported(exported)
    video = torch.randint(0, 255, (1, 9, 3, 40, 40), dtype=torch.uint8)
    audio = torch.randn(1, 9, 78)
    one, other = (
        m.sample(video, audio, 3, torch.Generator().manual_seed(5))  # type: ignore[operator]
        for m in (model, loaded)
    )
    assert torch.equal(one.emotion, other.emotion)
    assert one.coefficients.shape == (1, 3, 9, 58)
    verify(exported)


def test_it_loads_with_torch_alone(exported: Path) -> None:
    code = (
        "import sys\n"
        "blocked = ('ray', 'mlflow', 'deepspeed', 'pydantic', 'pandas')\n"
        "sys.modules.update(dict.fromkeys(blocked))\n"
        "from reactdist.checkpoints import load_exported\n"
        "print(type(load_exported(sys.argv[1])).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "TransVAE", done.stderr[-500:]


def test_damage_and_misfits_are_named(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_exported(tmp_path / "nowhere")
    config = exported / "config.yaml"
    config.write_text(config.read_text().replace("feature_dim: 16", "feature_dim: 32"))
    with pytest.raises(DataError, match="do not fit"):
        load_exported(exported)
    weights = exported / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(DataError, match=r"model\.safetensors"):
        load_exported(exported)
