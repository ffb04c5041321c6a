"""The published loss of TransVAE, by named term (react2024.md, section 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reactdist.errors import InputError
from reactdist.schema import NUM_ATTRIBUTES, NUM_COEFFICIENTS, POSE_SLICE, SHAPE_SLICE

POSE_WEIGHT = 10.0
DIVERSITY_WEIGHT = 10.0
DIVERSITY_SCALE = 100.0


def reconstruction_loss(
    coefficients: Tensor, emotion: Tensor, target_coefficients: Tensor, target_emotion: Tensor
) -> Tensor:
    """MSE(emotion) + MSE(expression coefficients) + 10 MSE(pose coefficients), 0-dim."""
    coefficients, target_coefficients = coefficients.float(), target_coefficients.float()
    shape = F.mse_loss(coefficients[..., SHAPE_SLICE], target_coefficients[..., SHAPE_SLICE])
    pose = F.mse_loss(coefficients[..., POSE_SLICE], target_coefficients[..., POSE_SLICE])
    return F.mse_loss(emotion.float(), target_emotion.float()) + shape + POSE_WEIGHT * pose


def kl_loss(mean: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std) || N(0, 1)), mean over elements, clips and windows, 0-dim."""
    variance = std.square()
    return 0.5 * (mean.square() + variance - 1.0 - variance.log()).mean()


def diversity_loss(first: Tensor, second: Tensor) -> Tensor:
    """Mean over clips of exp(-|first - second|^2 / 100), 0-dim; arrays (B, T, C).

    1 when two passes agree, towards 0 when they differ; the distance is summed over the clip.
    """
    distance = (first.float() - second.float()).square().flatten(1).sum(1)
    return torch.exp(-distance / DIVERSITY_SCALE).mean()


def vae_loss(
    coefficients: Tensor,
    emotion: Tensor,
    mean: Tensor,
    std: Tensor,
    target_coefficients: Tensor,
    target_emotion: Tensor,
    *,
    kl_weight: float,
    second_coefficients: Tensor | None = None,
    second_emotion: Tensor | None = None,
    diversity_weight: float = DIVERSITY_WEIGHT,
) -> dict[str, Tensor]:
    """Terms of the published loss: "total", "reconstruction", "kl", "diversity" (0-dim, float32).

    Args:
        coefficients, emotion: (B, T, 58) and (B, T, 25) of the pass that is trained.
        mean, std: posterior (windows, B, Z).
        target_coefficients, target_emotion: the listener's truth, model space.
        kl_weight: weight of the KL term in the total.
        second_coefficients, second_emotion: a second stochastic pass, taken without gradient;
            without one the diversity term is 0.
        diversity_weight: weight of the diversity term in the total, 10 as published.

    Raises:
        InputError: a tensor whose shape does not match the output's.
    """
    _same_shape("target_coefficients", target_coefficients, coefficients, NUM_COEFFICIENTS)
    _same_shape("target_emotion", target_emotion, emotion, NUM_ATTRIBUTES)
    reconstruction = reconstruction_loss(coefficients, emotion, target_coefficients, target_emotion)
    kl = kl_loss(mean.float(), std.float())
    if second_coefficients is None or second_emotion is None:
        diversity = torch.zeros_like(reconstruction)
    else:
        diversity = diversity_loss(coefficients, second_coefficients.detach()) + diversity_loss(
            emotion, second_emotion.detach()
        )
    total = reconstruction + kl_weight * kl + diversity_weight * diversity
    return {"total": total, "reconstruction": reconstruction, "kl": kl, "diversity": diversity}


def _same_shape(name: str, target: Tensor, output: Tensor, columns: int) -> None:
    if target.shape != output.shape or target.shape[-1] != columns:
        raise InputError(
            f"{name} has shape {tuple(target.shape)}, expected {tuple(output.shape)}",
            fix="cut targets to the frames the model saw",
        )
