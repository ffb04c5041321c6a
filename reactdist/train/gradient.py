"""The gradient of a step where every worker holds the whole model (ZeRO stage 0).

DeepSpeed's own way at that stage copies the gradient together and apart again, in memory that it
takes anew every step and with a single worker too, waits while it is reduced, and clips it
parameter by parameter. Here the memory is kept, the workers' gradients meet (`meeting.py`) while
the next batch is read, and are clipped in one pass; a single worker meets nobody.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from reactdist.train.meeting import Meeting, meeting_place


class MeanGradient:
    """Mean over the workers of the default process group, left in every parameter's `grad`.

    The gradient of a parameter that the loss does not reach is 0, as under ZeRO: AdamW then holds
    moments of every parameter, whatever the first steps reach.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], clip_norm: float, world: int) -> None:
        """`clip_norm`: largest norm of the mean; 0 does not clip."""
        self._parameters = [p for p in parameters if p.requires_grad]
        self._clip_norm = clip_norm
        self._world = world
        self._sizes = [p.numel() for p in self._parameters]
        self._meeting: Meeting | None = None
        if world > 1:
            self._meeting = meeting_place(sum(self._sizes), self._parameters[0].device)

    def start(self) -> None:
        """After the last backward pass of a step: let the workers' gradients meet."""
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self._meeting is not None:
            found = [p.grad for p in self._parameters if p.grad is not None]
            torch._foreach_copy_(self._parts(self._meeting.own), found)
            self._meeting.start()

    def finish(self, loss_scale: float = 1.0) -> None:
        """Before the update: wait for the mean, refuse it or clip it.

        `loss_scale`: what the loss was multiplied with.

        Raises:
            FloatingPointError: it is not finite; all workers hold the same one, so all raise.
        """
        gradients, scale = self._gradients()
        scale /= loss_scale
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
        if self._meeting is None:
            return [p.grad for p in self._parameters if p.grad is not None], 1.0
        flat = self._meeting.finish()
        for parameter, part in zip(self._parameters, self._parts(flat), strict=True):
            parameter.grad = part
        return [flat], 1 / self._world

    def _parts(self, flat: Tensor) -> list[Tensor]:
        """A flat gradient as the parameters' own shapes, in the same memory."""
        parts = flat.split(self._sizes)
        return [part.view_as(p) for part, p in zip(parts, self._parameters, strict=True)]
