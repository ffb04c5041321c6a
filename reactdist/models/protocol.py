"""What the trainer, the predictor and the scorer know about a model.

A trainable model is an `nn.Module` with `training_losses` and `sample`; nothing else of it is
used, but `compile_parts()` where it has that and a run asks for it. `registry.py` says which
models there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

BATCH_KEYS: tuple[str, ...] = (
    "speaker_video",  # (B, T, 3, H, W) uint8, or float in [-1, 1]
    "speaker_audio",  # (B, T, 78) float32
    "listener_emotion",  # (B, T, 25) float32
    "listener_coefficients",  # (B, T, 58) float32, model space: value - mean_face
)
"""What a training batch holds."""


Generators = torch.Generator | Sequence[torch.Generator] | None
"""Where noise comes from: one source for all clips, one for each, or torch's default."""


@dataclass(frozen=True)
class Reaction:
    """Facial reactions of a listener.

    `coefficients` (..., T, 58) are in model space (value - mean_face), `emotion` (..., T, 25).
    Of `sample` and `stream` the leading shape is (B, K): clip, sample.
    """

    coefficients: Tensor
    emotion: Tensor


class ReactionModel(Protocol):
    """A model that learns reactions and generates several for one speaker."""

    def training_losses(
        self,
        batch: Mapping[str, Tensor],
        *,
        kl_weight: float,
        diversity_weight: float = 10.0,
        generator: Generators = None,
    ) -> dict[str, Tensor]:
        """Named 0-dim loss terms of a batch (keys: `BATCH_KEYS`); "total" is what is minimised.

        Terms are means over clips. With a generator a clip, a clip's noise does not depend on the
        others of its batch, so that a batch divided over workers draws what it would draw whole.
        """
        ...

    def sample(
        self,
        video: Tensor,
        audio: Tensor,
        num_samples: int = 10,
        generator: torch.Generator | None = None,
    ) -> Reaction:
        """`num_samples` reactions to each speaker: (B, K, T, 58) and (B, K, T, 25), no gradient."""
        ...
