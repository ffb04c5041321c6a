"""Instance norm of every frame and ReLU, for channels-last pictures on a CPU.

torch's own kernels for this want channels first, where convolutions are slower; written out, a few
frames at a time stay in the cache.

Letters: N frames, C channels, h, w positions.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5
CHUNK_BYTES = 2 << 20
"""Size of what is worked on at a time."""


def normalise_frames(x: Tensor) -> Tensor:
    """ReLU of x (N, C, h, w) with each channel of each frame at mean 0 and variance 1."""
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.compiler.is_compiling():
        return F.group_norm(x, x.shape[1], eps=EPSILON).relu_()
    return _FrameNorm.apply(x)


class _FrameNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        normal, out = torch.empty_like(x), torch.empty_like(x)
        size = max(1, CHUNK_BYTES // (4 * x[0].numel()))
        scales = []
        for part, centred, positive in _chunks(size, x, normal, out):
            torch.sub(part, part.mean((2, 3), keepdim=True), out=centred)
            scale = torch.rsqrt(centred.square().mean((2, 3), keepdim=True) + EPSILON)
            torch.clamp_min(centred.mul_(scale), 0, out=positive)
            scales.append(scale)
        ctx.save_for_backward(normal, *scales)
        ctx.size = size
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        # With n the normalised x: d x = scale (g - mean g - n mean(g n)), g = d out where n > 0.
        normal, *scales = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(grad)
        for (g, n, result), scale in zip(_chunks(ctx.size, grad, normal, out), scales, strict=True):
            g = torch.ops.aten.threshold_backward(g, n, 0)
            along = (g * n).mean((2, 3), keepdim=True)
            torch.sub(g, g.mean((2, 3), keepdim=True), out=result)
            result.addcmul_(n, along, value=-1).mul_(scale)
        return out


def _chunks(size: int, *tensors: Tensor) -> Any:
    """The tensors a few frames at a time, together."""
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)
