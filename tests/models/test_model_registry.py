"""Every registered model obeys the protocol the trainer, predictor and scorer rely on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from reactdist.errors import InputError
from reactdist.models.registry import MODELS, build_model, config_values, model_config

SMALL: dict[str, dict[str, Any]] = {
    "transvae": {
        "task": "online", "feature_dim": 16, "latent_dim": 8, "window_size": 4,
        "num_heads": 2, "video_norm": "frame",
    },
    "gru": {"feature_dim": 16, "thumbnail_size": 8},
}  # fmt: skip


def batch(frames: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    video = torch.randint(0, 256, (2, frames, 3, 40, 40), generator=generator)
    return {
        "speaker_video": video.to(torch.uint8),
        "speaker_audio": torch.randn(2, frames, 78, generator=generator),
        "listener_emotion": torch.rand(2, frames, 25, generator=generator),
        "listener_coefficients": torch.randn(2, frames, 58, generator=generator),
    }


@pytest.mark.parametrize("name", MODELS)
def test_a_model_learns_a_batch_and_samples(name: str) -> None:
    torch.manual_seed(0)
    model: Any = build_model(name, {"image_size": 40, **SMALL[name]})
    inputs = batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    totals = []
    for step in range(30):
        generator = torch.Generator().manual_seed(step)
        terms = model.training_losses(
            inputs, kl_weight=1e-4, diversity_weight=0.0, generator=generator
        )
        assert all(term.shape == () for term in terms.values())
        optimizer.zero_grad()
        terms["total"].backward()
        optimizer.step()
        totals.append(terms["reconstruction"].item())
    assert totals[-1] < 0.8 * totals[0]
    video, audio = inputs["speaker_video"], inputs["speaker_audio"]
    first, again = (
        model.sample(video, audio, 3, torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert first.coefficients.shape == (2, 3, 8, 58)
    assert first.emotion.shape == (2, 3, 8, 25)
    assert torch.equal(first.emotion, again.emotion)
    assert not torch.equal(first.emotion[:, 0], first.emotion[:, 1])
    assert not first.emotion.requires_grad


@pytest.mark.parametrize("name", MODELS)
def test_settings_survive_as_plain_values(name: str) -> None:
    config = model_config(name, SMALL[name])
    assert model_config(name, config_values(config)) == config


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown model 'transvea' - did you mean 'transvae'"):
        model_config("transvea", {})
    with pytest.raises(InputError, match=r"unknown key 'feature_dims' .* 'feature_dim'\?"):
        build_model("gru", {"feature_dims": 3})


def test_gru_is_causal_and_its_noise_is_smooth() -> None:
    model: Any = build_model("gru", {"image_size": 40, **SMALL["gru"]})
    inputs = batch(200)
    video, audio = inputs["speaker_video"], inputs["speaker_audio"]
    with torch.no_grad():
        mean, std = model(video, audio)
        part, _ = model(video[:, :5], audio[:, :5])
    torch.testing.assert_close(mean[:, :5], part, rtol=0, atol=1e-5)
    sampled = model.sample(video, audio, 8, torch.Generator().manual_seed(0))
    values = torch.cat([sampled.coefficients, sampled.emotion], -1)
    noise = (values - mean[:, None]) / std[:, None]
    assert noise.var().item() == pytest.approx(1, abs=0.1)
    assert (noise[:, :, 1:] * noise[:, :, :-1]).mean().item() == pytest.approx(0.9, abs=0.1)
