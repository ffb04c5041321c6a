"""First convolution of every frame, its statistics and its pooling, as one step.

At full resolution everything but the convolution is bound by memory: so it runs over a few frames
at a time, which stay in the cache, and its gradient is written out instead of left to autograd
(about twice as fast, forward and backward, at 64x64 on a CPU core as the plain operators).

Letters: N frames, C channels, S image side, h = w = S / 2, s = pooled side.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK_BYTES = 2 << 20
"""Size of the convolution's result that is worked on at a time on a CPU."""
_STRIDE, _PADDING, _POOL = [2, 2], [3, 3], ([3, 3], [2, 2], [0, 0], [1, 1], False)


class Stem(NamedTuple):
    """First convolution of every frame, before normalisation.

    Normalising scales a channel by a positive number, so pooling may come first: then what this
    layer costs does not depend on which frames are normalised together.
    """

    pooled: Tensor  # (B, T, C, s, s)
    mean: Tensor  # (B, T, C), of the unpooled convolution
    variance: Tensor  # (B, T, C), biased

    def frames(self, frames: slice) -> Stem:
        """Some frames of every clip."""
        return Stem(*(part[:, frames] for part in self))


class StemConvolution(nn.Module):
    """Bias-free 7 x 7 convolution of stride 2, 3 -> C channels; 3 x 3 max-pool of stride 2.

    No gradient flows to the pixels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.Conv2d(3, channels, 7, bias=False).weight.detach().clone())

    def forward(self, video: Tensor) -> Stem:
        """Of video (B, T, 3, S, S), uint8 or float in [-1, 1]."""
        parts = _StemFunction.apply(video.flatten(0, 1), self.weight, torch.is_grad_enabled())
        return Stem(*(part.unflatten(0, video.shape[:2]) for part in parts))


class _StemFunction(torch.autograd.Function):
    """(N, 3, S, S) and weight to pooled (N, C, s, s), mean (N, C) and variance (N, C)."""

    @staticmethod
    def forward(
        ctx: Any, video: Tensor, weight: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        pooled, means, variances, kept = [], [], [], []
        for frames in video.split(_chunk_frames(video, weight)):
            y = F.conv2d(_pixels(frames), weight, stride=_STRIDE, padding=_PADDING)  # (n, C, h, w)
            mean = y.mean((2, 3), keepdim=True, dtype=torch.float32)
            variances.append((y - mean).square_().mean((2, 3)))
            means.append(mean.flatten(1))
            small, indices = F.max_pool2d(y, 3, 2, return_indices=True)
            pooled.append(small)
            if keep:
                kept += [y, indices]
        ctx.save_for_backward(video, weight, *means, *kept)
        return torch.cat(pooled), torch.cat(means), torch.cat(variances)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        video, weight, *saved = ctx.saved_tensors
        count = len(saved) // 3
        means, ys, indices = saved[:count], saved[count::2], saved[count + 1 :: 2]
        total = torch.zeros_like(weight)
        sizes = [len(mean) for mean in means]
        parts = zip(
            video.split(sizes), means, ys, indices, *(g.split(sizes) for g in grads), strict=True
        )
        for frames, mean, y, index, d_pooled, d_mean, d_variance in parts:
            # d variance / d y = 2 (y - mean) / positions; the mean's own share of it sums to 0.
            positions = y.shape[2] * y.shape[3]
            slope = (2 / positions) * d_variance
            offset = d_mean / positions - slope * mean
            d_y = torch.ops.aten.max_pool2d_with_indices_backward(
                d_pooled.to(y.dtype).contiguous(memory_format=_layout(y)), y, *_POOL, index
            )
            d_y.addcmul_(y, slope[..., None, None].to(y.dtype))
            d_y.add_(offset[..., None, None].to(y.dtype))
            total += torch.ops.aten.convolution_backward(
                d_y, _pixels(frames).to(y.dtype), weight.to(y.dtype), None,
                _STRIDE, _PADDING, [1, 1], False, [0, 0], 1, [False, True, False],
            )[1]  # fmt: skip
        return None, total, None


def as_pixels(video: Tensor) -> Tensor:
    """float32 in [-1, 1]; uint8 is scaled, floats keep their values."""
    if video.dtype == torch.uint8:
        return video.to(torch.float32).mul_(1 / 127.5).sub_(1)
    return video.float()


def _pixels(frames: Tensor) -> Tensor:
    # Max-pooling with indices is vectorised for channels-last only: 6x on a CPU.
    return as_pixels(frames).contiguous(memory_format=torch.channels_last)


def _layout(y: Tensor) -> torch.memory_format:
    channels_last = y.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def _chunk_frames(video: Tensor, weight: Tensor) -> int:
    """Frames worked on at a time; on an accelerator all of them."""
    if video.device.type != "cpu":
        return len(video)
    return max(1, CHUNK_BYTES // (len(weight) * video.shape[-1] ** 2))
