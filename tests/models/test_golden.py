"""Our TransVAE against numbers computed by running the published one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from golden import KINDS, Golden

from reactdist.errors import InputError
from reactdist.models import TransVAEConfig, load_published, read_published
from reactdist.models.losses import vae_loss


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_and_losses_are_the_published_ones(kind: str) -> None:
    golden = Golden(kind)
    model = golden.model()
    with torch.no_grad():
        first = model(golden["video"], golden["audio"], noise=golden["eps_first"])
        second = model(golden["video"], golden["audio"], noise=golden["eps_second"])
    close = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(first.coefficients, golden["out_3dmm"], **close)
    torch.testing.assert_close(first.emotion, golden["out_emotion"], **close)
    torch.testing.assert_close(second.coefficients, golden["second_out_3dmm"], **close)
    torch.testing.assert_close(second.emotion, golden["second_out_emotion"], **close)
    torch.testing.assert_close(first.mean, golden["posterior_mean"], rtol=0, atol=1e-5)
    torch.testing.assert_close(first.std, golden["posterior_std"], rtol=0, atol=1e-5)
    terms = vae_loss(
        first.coefficients, first.emotion, first.mean, first.std,
        golden["target_3dmm"], golden["target_emotion"], kl_weight=2e-4,
        second_coefficients=second.coefficients, second_emotion=second.emotion,
    )  # fmt: skip
    for name in ("reconstruction", "kl", "diversity"):
        assert terms[name].item() == pytest.approx(golden[f"loss_{name}"].item(), rel=1e-5)
    expected = golden["loss_total_kl_weight_0p0002"].item() + 10 * golden["loss_diversity"].item()
    assert terms["total"].item() == pytest.approx(expected, rel=1e-5)


def test_sampling_and_streaming_reuse_work_without_changing_numbers() -> None:
    golden = Golden("online_w8")
    model = golden.model()
    noise = torch.stack([golden["eps_first"], golden["eps_second"]], 2)  # (windows, B, K, Z)
    reaction = model.sample(golden["video"], golden["audio"], num_samples=2, noise=noise)
    close = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(reaction.coefficients[:, 0], golden["out_3dmm"], **close)
    torch.testing.assert_close(reaction.emotion[:, 1], golden["second_out_emotion"], **close)


def test_online_last_window_may_be_short() -> None:
    """T not a multiple of the window: the whole windows are the published ones, no zeros after."""
    golden = Golden("online_w8")
    with torch.no_grad():
        out = golden.model()(
            golden["video"][:, :29], golden["audio"][:, :29], noise=golden["eps_first"]
        )
    torch.testing.assert_close(
        out.coefficients[:, :24], golden["out_3dmm"][:, :24], rtol=0, atol=1e-4
    )
    assert out.coefficients.shape == (2, 29, 58)
    assert out.emotion.shape == (2, 29, 25)
    assert (out.coefficients[:, 24:].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_ignored_names_are_the_two_published_ones(kind: str) -> None:
    golden = Golden(kind)
    extra = {"reaction_decoder.PE.pe": torch.zeros(1, 4, 32)}
    expected = load_published(golden.weights, golden.cfg).state_dict()
    variants = [{**golden.weights, **extra}]
    if kind == "offline":
        variants.append({k: v for k, v in golden.weights.items() if not k.startswith("fusion.")})
    for weights in variants:
        loaded = load_published(weights, golden.cfg).state_dict()
        assert loaded.keys() == expected.keys()
        assert all(torch.equal(loaded[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_an_original_file_says_what_it_is(kind: str, tmp_path: Path) -> None:
    golden = Golden(kind)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))])
    document = {"epoch": 3, "state_dict": golden.weights, "optimizer": optimizer.state_dict()}
    torch.save(document, tmp_path / "released.pth")
    settings = {"image_size": 64} | ({"window_size": 8} if kind == "online_w8" else {})
    model = read_published(tmp_path / "released.pth", **settings)
    assert model.cfg == golden.cfg
    with torch.no_grad():
        out = model(golden["video"], golden["audio"], noise=golden["eps_first"])
    torch.testing.assert_close(out.emotion, golden["out_emotion"], rtol=0, atol=1e-4)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "released.pth"
    with pytest.raises(InputError, match="cannot be read"):
        read_published(path)
    path.write_text("hello")
    with pytest.raises(InputError, match="is no file of weights"):
        read_published(path)
    torch.save({"code": os.system}, path)  # unpickling it would be running it
    with pytest.raises(InputError, match="is no file of weights"):
        read_published(path)
    torch.save({"epoch": 1}, path)
    with pytest.raises(InputError, match="holds no state_dict"):
        read_published(path)


def test_weights_of_another_architecture_are_refused_by_name() -> None:
    online, offline = Golden("online_w8"), Golden("offline")
    with pytest.raises(InputError, match=r"unexpected weight\(s\), first reaction_decoder\.l"):
        load_published(online.weights, offline.cfg)
    with pytest.raises(InputError, match=r"missing, first reaction_decoder\.li"):
        load_published(offline.weights, online.cfg)
    wide = TransVAEConfig(feature_dim=64, latent_dim=64, image_size=64)
    with pytest.raises(InputError, match=r"conv1\.weight has shape .*expected \(16, 3, 1, 7, 7\)"):
        load_published(offline.weights, wide)
    renamed = dict(offline.weights)
    name = "reaction_decoder.vae_model.mu_token"
    renamed[name + "s"] = renamed.pop(name)
    with pytest.raises(InputError, match=r"did you mean reaction_decoder\.vae_model\.mu_token"):
        load_published(renamed, offline.cfg)
