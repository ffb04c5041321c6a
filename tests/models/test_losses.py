"""Loss terms against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from reactdist.errors import InputError
from reactdist.models.losses import vae_loss


def test_terms_have_their_closed_forms() -> None:
    """Every difference is 1: 1 + 1 + 10; KL of N(1, 2) is (4 + 1 - 1 - ln 4) / 2."""
    coefficients, emotion = torch.ones(2, 3, 58), torch.ones(2, 3, 25)
    terms = vae_loss(
        coefficients, emotion, torch.ones(4, 2, 8), torch.full((4, 2, 8), 2.0),
        torch.zeros_like(coefficients), torch.zeros_like(emotion), kl_weight=0.5,
        second_coefficients=coefficients, second_emotion=emotion + 2, diversity_weight=3.0,
    )  # fmt: skip
    kl = 0.5 * (4 - math.log(4))
    diversity = 1 + math.exp(-(3 * 25 * 4) / 100)
    assert terms["reconstruction"].item() == pytest.approx(12)
    assert terms["kl"].item() == pytest.approx(kl)
    assert terms["diversity"].item() == pytest.approx(diversity)
    assert terms["total"].item() == pytest.approx(12 + 0.5 * kl + 3 * diversity)


def test_targets_must_fit() -> None:
    coefficients, emotion = torch.ones(2, 3, 58), torch.ones(2, 3, 25)
    posterior = torch.ones(1, 2, 8)
    with pytest.raises(InputError, match=r"target_emotion has shape \(2, 4, 25\), expected"):
        vae_loss(
            coefficients, emotion, posterior, posterior,
            coefficients, torch.ones(2, 4, 25), kl_weight=0.5,
        )  # fmt: skip
