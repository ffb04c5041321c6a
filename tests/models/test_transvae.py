"""What TransVAE promises beyond the published numbers: bounded history, streams, free sizes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from reactdist.errors import InputError
from reactdist.models import TransVAE, TransVAEConfig
from reactdist.models.losses import vae_loss

SMALL = TransVAEConfig(
    task="online", feature_dim=16, latent_dim=8, window_size=4, image_size=40,
    video_norm="frame", num_heads=2, max_history_frames=12,
)  # fmt: skip


def speaker(frames: int, clips: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    video = torch.randint(0, 256, (clips, frames, 3, 40, 40), generator=generator)
    return video.to(torch.uint8), torch.randn(clips, frames, 78, generator=generator)


def model(cfg: TransVAEConfig = SMALL, **changes: object) -> TransVAE:
    torch.manual_seed(0)
    return TransVAE(dataclasses.replace(cfg, **changes))  # type: ignore[arg-type]


def batch(frames: int, clips: int = 2) -> dict[str, Tensor]:
    video, audio = speaker(frames, clips)
    generator = torch.Generator().manual_seed(1)
    return {
        "speaker_video": video,
        "speaker_audio": audio,
        "listener_emotion": torch.rand(clips, frames, 25, generator=generator),
        "listener_coefficients": torch.randn(clips, frames, 58, generator=generator),
    }


@pytest.mark.parametrize("history", [4, 6, 12, 751])
@pytest.mark.parametrize("frames", [20, 22])
def test_stream_gives_the_batch_numbers(history: int, frames: int) -> None:
    """Same noise, windows one by one or all at once, history bounded or not, last window short."""
    net = model(max_history_frames=history).eval()
    video, audio = speaker(frames)
    noise = torch.randn(net.cfg.num_windows(frames), 2, 3, 8)
    whole = net.sample(video, audio, num_samples=3, noise=noise)
    session = net.stream(num_samples=3)
    parts = [
        session.step(*window, noise=noise[index])
        for index, window in enumerate(zip(video.split(4, 1), audio.split(4, 1), strict=True))
    ]
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(
        torch.cat([part.coefficients for part in parts], 2), whole.coefficients, **close
    )
    torch.testing.assert_close(
        torch.cat([part.emotion for part in parts], 2), whole.emotion, **close
    )
    with torch.no_grad():
        single = net(video, audio, noise=noise[:, :, 1])
    torch.testing.assert_close(single.coefficients, whole.coefficients[:, 1], **close)


def test_stream_keeps_a_bounded_past() -> None:
    """After the history is full, what a session holds stops growing."""
    net = model(max_history_frames=12)
    session = net.stream(num_samples=2)
    video, audio = speaker(4)
    held = []
    for _ in range(40):
        session.step(video, audio)
        past = session._state.past
        assert past is not None
        assert session._state.seen is not None
        memories = (session._state.seen, past.self_memory, past.cross_memory)
        assert all(memory.length <= 8 for memory in memories)
        held.append(sum(m.buffer.numel() for m in memories if m.buffer is not None))
    assert max(held[20:]) <= max(held[:20])


def test_stream_costs_the_same_for_ever() -> None:
    """Arithmetic of window 90 within 1.3 of window 5's, equal once the history is full."""
    net = model(image_size=64, feature_dim=32, latent_dim=32, max_history_frames=64)
    session = net.stream(num_samples=10)
    video = torch.zeros(1, 4, 3, 64, 64, dtype=torch.uint8)
    audio = torch.zeros(1, 4, 78)
    operations = []
    for _ in range(90):
        # The fused attention is not counted, the one written out is.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            session.step(video, audio)
        operations.append(counter.get_total_flops())
    assert operations[4] < operations[89] < 1.3 * operations[4]
    assert len(set(operations[16:])) == 1


def test_stream_and_sample_draw_the_same_from_one_seed() -> None:
    net = model()
    video, audio = speaker(10)
    whole = net.sample(video, audio, 2, torch.Generator().manual_seed(5))
    session = net.stream(2, torch.Generator().manual_seed(5))
    steps = zip(video.split(4, 1), audio.split(4, 1), strict=True)
    parts = [session.step(*window).emotion for window in steps]
    torch.testing.assert_close(torch.cat(parts, 2), whole.emotion, rtol=0, atol=1e-5)
    assert net.training


@pytest.mark.parametrize("norm", ["clip", "frame"])
def test_history_bound_is_what_a_window_sees(norm: str) -> None:
    """Frames older than the bound do not matter, frames inside do; a bound of T is none."""
    video, audio = speaker(16)
    other = audio.clone()
    other[:, 4:8] *= -3
    noise = torch.randn(4, 2, 8)

    def last_mean(net: TransVAE, sound: Tensor) -> Tensor:
        with torch.no_grad():
            return net(video, sound, noise=noise).mean[-1]

    short, enough, unbounded = (
        model(max_history_frames=n, video_norm=norm).eval() for n in (8, 16, 751)
    )
    torch.testing.assert_close(last_mean(enough, audio), last_mean(unbounded, audio))
    assert (last_mean(enough, audio) - last_mean(enough, other)).abs().max() > 1e-3
    assert (last_mean(short, audio) - last_mean(enough, audio)).abs().max() > 1e-4
    # Out of the bound, frames 4..8 act only through the reactions they caused; hold those still.
    for layer in (short.decoder.coefficient_head, short.decoder.emotion_head):
        torch.nn.init.zeros_(layer.weight)
    torch.testing.assert_close(last_mean(short, audio), last_mean(short, other))


def test_nothing_later_than_a_window_changes_it() -> None:
    video, audio = speaker(16)
    noise = torch.randn(4, 2, 8)
    for norm in ("clip", "frame"):
        net = model(video_norm=norm).eval()
        with torch.no_grad():
            whole = net(video, audio, noise=noise)
            part = net(video[:, :8], audio[:, :8], noise=noise[:2])
        torch.testing.assert_close(whole.emotion[:, :8], part.emotion, rtol=0, atol=1e-5)


def test_frame_norm_is_clip_norm_of_one_frame() -> None:
    video, audio = speaker(3)
    clip, frame = model(video_norm="clip", task="offline"), model(task="offline")
    alone = [clip.speaker(video[:, t : t + 1], audio[:, t : t + 1]) for t in range(3)]
    torch.testing.assert_close(
        frame.speaker(video, audio), torch.cat(alone, 1), atol=1e-5, rtol=1e-4
    )


def test_offline_posterior_sees_time_only_with_positions() -> None:
    video, audio = speaker(12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    for positions in (False, True):
        net = model(task="offline", posterior_positions=positions).eval()
        with torch.no_grad():
            mean = net(video, audio).mean
            shuffled = net(video[:, order], audio[:, order]).mean
        assert bool((mean - shuffled).abs().max() < 1e-5) is not positions


@pytest.mark.parametrize("task", ["offline", "online"])
@pytest.mark.parametrize("norm", ["clip", "frame"])
@pytest.mark.parametrize("latent", [8, 16])
def test_every_parameter_learns(task: str, norm: str, latent: int) -> None:
    net = model(task=task, video_norm=norm, latent_dim=latent)
    terms = net.training_losses(batch(10), kl_weight=1e-3, generator=torch.Generator())
    assert set(terms) == {"total", "reconstruction", "kl", "diversity"}
    assert all(term.shape == () for term in terms.values())
    terms["total"].backward()
    without = [name for name, p in net.named_parameters() if p.grad is None]
    assert without == []
    assert any(name.startswith("posterior.to_mean") for name in net.state_dict()) == (latent == 8)


def test_second_pass_gets_no_gradient() -> None:
    """The diversity term's gradient is that of a pass against constants."""
    net = model(dropout=0.0)
    inputs = batch(8)
    terms = net.training_losses(
        inputs, kl_weight=0.1, diversity_weight=10, generator=torch.Generator().manual_seed(2)
    )
    terms["total"].backward()
    got = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    generator = torch.Generator().manual_seed(2)
    noise = torch.stack([torch.randn(4, 8, generator=generator) for _ in range(2)])
    video, audio = inputs["speaker_video"], inputs["speaker_audio"]
    first = net(video, audio, noise=noise[:, 0::2])
    with torch.no_grad():
        second = net(video, audio, noise=noise[:, 1::2])
    vae_loss(
        first.coefficients, first.emotion, first.mean, first.std,
        inputs["listener_coefficients"], inputs["listener_emotion"], kl_weight=0.1,
        second_coefficients=second.coefficients, second_emotion=second.emotion,
    )["total"].backward()  # fmt: skip
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, got[name], rtol=1e-4, atol=1e-5, msg=name)


def test_no_second_pass_where_its_weight_is_zero() -> None:
    """One pass of latents is drawn, and the total is that of `vae_loss` without a second pass."""
    net, inputs = model(dropout=0.0), batch(8)
    generator = torch.Generator().manual_seed(2)
    terms = net.training_losses(inputs, kl_weight=0.1, diversity_weight=0.0, generator=generator)
    generator.manual_seed(2)
    noise = torch.stack([torch.randn(2, 8, generator=generator) for _ in range(2)])
    out = net(inputs["speaker_video"], inputs["speaker_audio"], noise=noise)
    expected = vae_loss(
        out.coefficients, out.emotion, out.mean, out.std,
        inputs["listener_coefficients"], inputs["listener_emotion"], kl_weight=0.1,
    )  # fmt: skip
    assert terms["diversity"] == expected["diversity"] == 0
    torch.testing.assert_close(terms["total"], expected["total"])


def test_same_seed_same_bits() -> None:
    runs = []
    for _ in range(2):
        net = model()
        torch.manual_seed(1)
        net.training_losses(batch(8), kl_weight=1e-3, generator=torch.Generator().manual_seed(4))[
            "total"
        ].backward()
        runs.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_every_window_and_row_drops_its_own_values() -> None:
    net = model(dropout=0.5)
    seen: list[Tensor] = []
    hook = net.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    net.training_losses(batch(12), kl_weight=1e-3)
    hook.remove()
    rows = torch.cat(seen)  # 3 windows of 2 clips x 2 passes
    assert rows.shape[0] == 12
    assert len({tuple(row.flatten().tolist()) for row in rows}) == 12


def test_bf16_and_float32_losses_agree_over_50_steps() -> None:
    totals = []
    for enabled in (False, True):
        net = model(dropout=0.1)
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
        totals.append([])
        for step in range(50):
            torch.manual_seed(step)
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                terms = net.training_losses(
                    batch(8), kl_weight=1e-3, generator=torch.Generator().manual_seed(step)
                )
            optimizer.zero_grad()
            terms["total"].backward()
            optimizer.step()
            totals[-1].append(terms["total"].item())
    assert totals[0][-1] < 0.9 * totals[0][0]
    assert totals[1] == pytest.approx(totals[0], rel=0.02)


@pytest.mark.parametrize("norm", ["clip", "frame"])
def test_recomputing_pictures_keeps_less_and_changes_nothing(norm: str) -> None:
    kept, gradients = [], []
    for recompute in (False, True):
        net = model(video_norm=norm, checkpoint_video=recompute)
        sizes: list[int] = []

        def count(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel() * tensor.element_size())
            return tensor

        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            terms = net.training_losses(
                batch(8), kl_weight=1e-3, generator=torch.Generator().manual_seed(4)
            )
        terms["total"].backward()
        kept.append(sum(sizes))
        gradients.append([p.grad for p in net.parameters()])
    assert kept[1] < 0.7 * kept[0]
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"num_heads": 3}, "num_heads"),
        ({"feature_dim": 18, "num_heads": 2}, "feature_dim"),
        ({"task": "live"}, "task"),
        ({"video_norm": "batch"}, "video_norm"),
        ({"window_size": 0}, "window_size"),
        ({"latent_dim": 2.5}, "latent_dim"),
        ({"image_size": 32}, "image_size"),
        ({"dropout": 1.0}, "dropout"),
        ({"max_history_frames": 3}, "max_history_frames"),
        ({"posterior_positions": True}, "posterior_positions"),
    ],
)
def test_impossible_settings_name_the_field(change: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=f"^{named} "):
        dataclasses.replace(SMALL, **change)  # type: ignore[arg-type]


def test_pictures_and_sound_of_any_type_mean_the_same() -> None:
    net = model().eval()
    video, audio = speaker(8)
    noise = torch.zeros(2, 2, 8)
    scaled = video.double() / 127.5 - 1
    with torch.no_grad():
        bytes_, doubles = net(video, audio, noise), net(scaled, audio.double(), noise)
    torch.testing.assert_close(bytes_.emotion, doubles.emotion, rtol=0, atol=1e-5)


def test_bad_tensors_are_named_with_the_expected_shape() -> None:
    net = model()
    video, audio = speaker(8)
    with pytest.raises(InputError, match=r"^video has shape .* expected \(B, T, 3, 40, 40\)"):
        net(video[..., :32], audio)
    with pytest.raises(InputError, match=r"^audio has shape \(2, 7, 78\), expected \(2, 8, 78\)"):
        net(video, audio[:, :7])
    with pytest.raises(InputError, match=r"^noise has shape .* expected \(2, 2, 8\)"):
        net(video, audio, noise=torch.zeros(1, 2, 8))
    broken = video.float() / 127.5 - 1
    broken[1, 3, 0, 2, 5] = torch.nan
    with pytest.raises(InputError, match=r"^video is not finite at index \(1, 3, 0, 2, 5\)"):
        net(broken, audio)
    with pytest.raises(InputError, match=r"^audio is not finite"):
        net(video, torch.full_like(audio, torch.inf))
    with pytest.raises(InputError, match="window_size 4 is larger than the clip of 3 frames"):
        net(video[:, :3], audio[:, :3])
    with pytest.raises(InputError, match="cannot stream"):
        model(video_norm="clip").stream()
    session = net.stream()
    with pytest.raises(InputError, match="8 frames, a window is 4"):
        session.step(video, audio)
    session.step(video[:, :2], audio[:, :2])
    with pytest.raises(InputError, match="ended"):
        session.step(video[:, :2], audio[:, :2])
