"""Gradients and steps against the published arithmetic written plainly."""

from __future__ import annotations

import pytest
import torch
from golden import KINDS, Golden
from torch import Tensor

from reactdist.models import TransVAE
from reactdist.models.plain import PlainTransVAE
from reactdist.models.published import load_published


def plain_model(golden: Golden) -> PlainTransVAE:
    model = PlainTransVAE(golden.cfg)
    model.load_state_dict(golden.weights)
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_plain_model_is_the_published_one(kind: str) -> None:
    golden = Golden(kind)
    with torch.no_grad():
        out = plain_model(golden)(golden["video"], golden["audio"], golden["eps_first"])
    torch.testing.assert_close(out.coefficients, golden["out_3dmm"], rtol=0, atol=1e-4)
    torch.testing.assert_close(out.std, golden["posterior_std"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_adamw_step_is_the_plain_one(kind: str) -> None:
    """Weights after a step from the golden weights, and the gradients that led there.

    Adam divides by the gradient's own size, so where that is rounding noise its direction is too;
    SGD-like agreement of gradients is asked everywhere, equal weights where the gradient is real.
    """
    golden = Golden(kind)
    ours, plain = golden.model(), plain_model(golden)
    batch = {
        "speaker_video": golden["video"],
        "speaker_audio": golden["audio"],
        "listener_coefficients": golden["target_3dmm"],
        "listener_emotion": golden["target_emotion"],
    }
    noises = (golden["eps_first"], golden["eps_second"])
    settings = {"lr": 1e-3, "weight_decay": 5e-4}
    for model in (ours, plain):
        optimizer = torch.optim.AdamW(model.parameters(), **settings)
        if isinstance(model, PlainTransVAE):
            terms = model.training_losses(batch, noises, 2e-4)
        else:
            terms = ours_with_noise(model, batch, noises)
        terms["total"].backward()
        optimizer.step()
    gradients = load_published(
        {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in plain.named_parameters()},
        golden.cfg,
    )
    stepped = load_published(plain.state_dict(), golden.cfg)
    wanted, steps = dict(gradients.named_parameters()), dict(stepped.named_parameters())
    for name, parameter in ours.named_parameters():
        size = wanted[name].abs().max()
        assert parameter.grad is not None
        torch.testing.assert_close(
            parameter.grad,
            wanted[name].detach(),
            rtol=1e-3,
            atol=1e-5 + 1e-4 * size.item(),
            msg=name,
        )
        real = wanted[name].abs() > 1e-3 * size + 1e-6
        torch.testing.assert_close(parameter[real], steps[name][real], rtol=0, atol=2e-6, msg=name)


def ours_with_noise(
    model: TransVAE, batch: dict[str, Tensor], noises: tuple[Tensor, Tensor]
) -> dict[str, Tensor]:
    """`training_losses` with given noise in place of drawn."""
    rows = torch.stack(noises, 2).flatten(1, 2)  # (windows, R, Z), neighbours are the two passes
    drawn = iter(rows)
    model.draw = lambda *_: next(drawn)  # type: ignore[method-assign]
    return model.training_losses(batch, kl_weight=2e-4)
