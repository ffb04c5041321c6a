"""What is written out for speed against the plain operators, values and gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from reactdist.models import frame_norm, stem
from reactdist.models.frame_norm import normalise_frames
from reactdist.models.stem import StemConvolution, as_pixels


@pytest.mark.parametrize("chunk", [1, 2 << 20])
def test_stem_is_convolution_statistics_and_pooling(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stem, "CHUNK_BYTES", chunk)
    torch.manual_seed(0)
    layer = StemConvolution(4)
    video = torch.randint(0, 256, (2, 3, 3, 40, 40), dtype=torch.uint8)
    got = layer(video)
    y = F.conv2d(as_pixels(video).flatten(0, 1), layer.weight, stride=2, padding=3)
    variance, mean = torch.var_mean(y, (2, 3), correction=0)
    want = [F.max_pool2d(y, 3, 2), mean, variance]
    want = [part.unflatten(0, (2, 3)) for part in want]
    for ours, plain in zip(got, want, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)
    pulls = [torch.randn_like(part) for part in want]
    ours, plain = (
        torch.autograd.grad(
            sum((a * b).sum() for a, b in zip(parts, pulls, strict=True)), layer.weight
        )
        for parts in (got, want)
    )
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("chunk", [1, 2 << 20])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_frame_norm_is_instance_norm_and_relu(
    chunk: int, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_norm, "CHUNK_BYTES", chunk)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 4, 6, 7, generator=generator).contiguous(memory_format=layout)
    x = (3 * x + 20).requires_grad_()
    ours, plain = normalise_frames(x), F.instance_norm(x).relu()
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    pull = torch.randn(plain.shape, generator=generator)
    got, want = (torch.autograd.grad(out, x, pull)[0] for out in (ours, plain))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
