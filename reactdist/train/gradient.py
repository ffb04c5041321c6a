"""The gradient of a step where every worker holds the whole model (ZeRO stage 0).

DeepSpeed's own way at that stage copies the gradient together and apart again, in memory that it
takes anew every step and with a single worker too, waits while it is reduced, and clips it
parameter by parameter. Here one buffer is kept, the workers' gradients meet in it while the next
batch is read, and it is clipped in one pass; a single worker has none and needs none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class MeanGradient:
    """Mean over the workers of the default process group, left in every parameter's `grad`.

    The gradient of a parameter that the loss does not reach is 0, as under ZeRO: AdamW then holds
    moments of every parameter, whatever the first steps reach.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], clip_norm: float | None, world: int
    ) -> None:
        """`clip_norm`: largest norm, 0 does not clip; None does not look at the values either."""
        self._parameters = [p for p in parameters if p.requires_grad]
        self._clip_norm = clip_norm
        self._world = world
        self._work: Any = None
        if world > 1:
            sizes = [p.numel() for p in self._parameters]
            self._flat = torch.zeros(sum(sizes), device=self._parameters[0].device)
            self._parts = [
                part.view_as(p)
                for part, p in zip(self._flat.split(sizes), self._parameters, strict=True)
            ]

    def start(self) -> None:
        """After the last backward pass of a step: let the workers' gradients meet."""
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self._world > 1:
            found = [p.grad for p in self._parameters if p.grad is not None]
            torch._foreach_copy_(self._parts, found)
            self._work = torch.distributed.all_reduce(self._flat, async_op=True)

    def finish(self) -> None:
        """Before the update: wait for the mean, refuse it or clip it.

        Raises:
            FloatingPointError: it is not finite; all workers hold the same one, so all raise.
        """
        gradients, scale = self._gradients()
        if self._clip_norm is not None:
            norm = float(nn.utils.get_total_norm(gradients)) * scale
            if not math.isfinite(norm):
                raise FloatingPointError("gradient not finite")
            if self._clip_norm:
                scale *= min(1.0, self._clip_norm / (norm + 1e-6))  # as torch.nn.utils does
        if scale != 1.0:
            for gradient in gradients:
                gradient.mul_(scale)

    def _gradients(self) -> tuple[list[Tensor], float]:
        """What is in the parameters' `grad` now, and the factor that makes it the mean."""
        if self._world == 1:
            return [p.grad for p in self._parameters if p.grad is not None], 1.0
        self._work.wait()
        for parameter, part in zip(self._parameters, self._parts, strict=True):
            parameter.grad = part
        return [self._flat], 1 / self._world
