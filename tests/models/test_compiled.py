"""`compile_parts` changes no numbers, whether there is a compiler or not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reactdist.models import TransVAE, TransVAEConfig

SIZES = {"feature_dim": 16, "latent_dim": 8, "image_size": 40, "num_heads": 2}


def losses_and_gradients(net: TransVAE) -> tuple[Tensor, list[Tensor | None]]:
    generator = torch.Generator().manual_seed(1)
    video = torch.randint(0, 256, (2, 8, 3, 40, 40), generator=generator).to(torch.uint8)
    batch = {
        "speaker_video": video,
        "speaker_audio": torch.randn(2, 8, 78, generator=generator),
        "listener_emotion": torch.rand(2, 8, 25, generator=generator),
        "listener_coefficients": torch.randn(2, 8, 58, generator=generator),
    }
    torch.manual_seed(2)
    total = net.training_losses(batch, kl_weight=1e-3, generator=generator)["total"]
    total.backward()
    return total.detach(), [p.grad for p in net.parameters()]


def pair(**settings: object) -> list[TransVAE]:
    """The same weights twice: as they are, and compiled."""
    nets = []
    for compiles in (False, True):
        torch.manual_seed(0)
        net = TransVAE(TransVAEConfig(**SIZES, **settings))  # type: ignore[arg-type]
        if compiles:
            net.compile_parts()
        nets.append(net)
    return nets


@pytest.mark.slow
def test_compiled_step_is_the_eager_one() -> None:
    """Losses and gradients with dropout on, as a seeded training step has them."""
    eager, fast = pair(task="offline", video_norm="frame")
    (wanted, gradients), (got, others) = map(losses_and_gradients, (eager, fast))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    for ours, plain in zip(others, gradients, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


def test_without_a_compiler_it_says_so_and_runs_as_it_is(tmp_path: Path) -> None:
    code = (
        "import logging, sys, torch\n"
        "logging.basicConfig(format='%(message)s', level=logging.WARNING, stream=sys.stdout)\n"
        "from tests.models.test_compiled import pair, losses_and_gradients\n"
        "eager, fast = pair(task='online', window_size=4, video_norm='frame')\n"
        "(wanted, a), (got, b) = map(losses_and_gradients, (eager, fast))\n"
        "assert torch.equal(wanted, got)\n"
        "assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))\n"
    )
    environment = {
        **os.environ,
        "CXX": str(tmp_path / "no-compiler"),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = [line for line in done.stdout.splitlines() if "torch.compile" in line]
    assert len(said) == 2, done.stdout  # the picture features and the decoder
    assert all("going on without it" in line for line in said)
