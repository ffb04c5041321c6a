"""How much faster than the published arithmetic: the table of `reactdist bench model`.

Both sides run eager on the same threads, one after the other in every repeat, so that a busy
machine slows both; figures are medians. Needs torch and nothing else, so that the folder can be
carried to any machine: `python -m reactdist.models.bench --threads 2`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from reactdist.models.plain import PlainTransVAE
from reactdist.models.transvae import TransVAE
from reactdist.models.transvae_config import TransVAEConfig
from reactdist.schema import AUDIO_FEATURES, FRAME_RATE_HZ, NUM_ATTRIBUTES, NUM_COEFFICIENTS

KL_WEIGHT = 1e-5
SAMPLES = 10
FUSED = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
"""Kernels that torch may pick from, as by default."""
TIMED_WINDOWS = 3
"""Windows of a plain online pass that are timed; the others are read off the line through them."""


@dataclass(frozen=True)
class Sizes:
    """What is timed; the defaults are the figures the project quotes."""

    image_size: int = 224
    feature_dim: int = 128
    crop_frames: int = 64
    """Frames of a training step, batch 1."""
    clip_frames: int = 750
    """Frames of the clip that is sampled ten times."""
    repeats: int = 5
    late_window: int = 90
    """Window of a stream whose cost is compared with that of window 5."""


@dataclass(frozen=True)
class Row:
    """One line of the table, seconds."""

    name: str
    required: float
    plain_s: float
    ours_s: float
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times faster than plain."""
        return self.plain_s / self.ours_s

    def line(self) -> str:
        """A row of the printed table."""
        figures = f"{self.plain_s:.2f} | {self.ours_s:.3f} | {self.ratio:.1f}x"
        return f"| {self.name} | {figures} | {self.required:g}x | {self.note} |"


def training_row(
    name: str, cfg: TransVAEConfig, required: float, sizes: Sizes, device: torch.device
) -> Row:
    """A training step (losses with the diversity pass, backward, AdamW) of one crop."""
    plain = PlainTransVAE(dataclasses.replace(cfg, video_norm="clip")).to(device)
    ours = TransVAE(cfg).to(device)
    batch = _batch(sizes, device)
    windows = cfg.num_windows(sizes.crop_frames)

    def plain_losses() -> Tensor:
        noises = torch.randn(2, windows, 1, cfg.latent_dim, device=device)
        return plain.training_losses(batch, (noises[0], noises[1]), KL_WEIGHT)["total"]

    def our_losses() -> Tensor:
        return ours.training_losses(batch, kl_weight=KL_WEIGHT)["total"]

    timed = _interleaved(
        (_step(plain, plain_losses), _step(ours, our_losses)), sizes.repeats, device
    )
    return Row(name, required, plain_s=timed[0], ours_s=timed[1])


def offline_samples_row(cfg: TransVAEConfig, sizes: Sizes, device: torch.device) -> Row:
    """Ten samples of a clip, offline, against ten plain passes (one is timed)."""
    plain, ours = PlainTransVAE(cfg).to(device).eval(), TransVAE(cfg).to(device)
    video, audio = _speaker(sizes.clip_frames, sizes, device)
    noise = torch.randn(1, 1, cfg.latent_dim, device=device)
    with torch.no_grad():
        plain_s, ours_s = _interleaved(
            (lambda: plain(video, audio, noise), lambda: ours.sample(video, audio, SAMPLES)),
            sizes.repeats,
            device,
        )
    note = f"plain: one pass of {plain_s:.1f} s, times {SAMPLES}"
    return Row("ten samples of a clip, offline", 15, SAMPLES * plain_s, ours_s, note)


def online_samples_row(cfg: TransVAEConfig, sizes: Sizes, device: torch.device) -> Row:
    """Ten samples of a clip, online, against ten plain passes, read off a few windows of one."""
    plain = PlainTransVAE(dataclasses.replace(cfg, video_norm="clip")).to(device).eval()
    ours = TransVAE(cfg).to(device)
    video, audio = _speaker(sizes.clip_frames, sizes, device)
    count = cfg.num_windows(sizes.clip_frames)
    indices = [max(1, round(count * share / (TIMED_WINDOWS + 1))) for share in range(1, 4)]

    def plain_window(index: int) -> Callable[[], object]:
        stop = index * cfg.window_size
        noise = torch.randn(index, 1, cfg.latent_dim, device=device)
        return lambda: plain(video[:, :stop], audio[:, :stop], noise, last_windows=1)

    with torch.no_grad():
        *windows_s, ours_s = _interleaved(
            (*map(plain_window, indices), lambda: ours.sample(video, audio, SAMPLES)),
            sizes.repeats,
            device,
        )
    pass_s = sum(_line(indices, windows_s, index) for index in range(1, count + 1))
    shown = ", ".join(map(str, indices))
    note = f"plain: windows {shown} of {count} timed, the rest on their line; times {SAMPLES}"
    return Row("ten samples of a clip, online w16 frame", 100, SAMPLES * pass_s, ours_s, note)


@dataclass(frozen=True)
class StreamCost:
    """What a window of a stream with ten samples costs, seconds; required: growth 1.3, rate 1."""

    early_s: float
    """Windows around the fifth."""
    late_s: float
    late_window: int
    window_s: float
    """The time a window lasts."""

    @property
    def growth(self) -> float:
        """How much a late window costs in terms of an early one."""
        return self.late_s / self.early_s

    @property
    def rate(self) -> float:
        """How many times faster than real time the late windows are."""
        return self.window_s / self.late_s

    def line(self) -> str:
        """One line to print."""
        return (
            f"stream, {SAMPLES} samples: window 5 takes {1e3 * self.early_s:.0f} ms, window "
            f"{self.late_window} {1e3 * self.late_s:.0f} ms, {self.growth:.2f} times as long "
            f"(required: at most 1.3); {self.rate:.1f} times faster than real time (required: 1)"
        )


@torch.no_grad()
def stream_cost(cfg: TransVAEConfig, sizes: Sizes, device: torch.device) -> StreamCost:
    """Windows of a stream from pictures to ten reactions, early and with all the past there is.

    Two sessions take turns, so that a busy machine slows both: one at its windows 5, 6, ...,
    the other at its windows 90, 91, ... (medians of `repeats`).
    """
    model = TransVAE(cfg).to(device).eval()
    video, audio = _speaker(cfg.window_size, sizes, device)
    early, late = model.stream(SAMPLES), model.stream(SAMPLES)
    for session, window in ((early, 5), (late, sizes.late_window)):
        for _ in range(window - 2):  # one more is the round that is not counted
            session.step(video, audio)
    early_s, late_s = _interleaved(
        (lambda: early.step(video, audio), lambda: late.step(video, audio)), sizes.repeats, device
    )
    return StreamCost(early_s, late_s, sizes.late_window, cfg.window_size / FRAME_RATE_HZ)


@dataclass(frozen=True)
class LargeStep:
    """A training step at the size of real training, ours only."""

    name: str
    step_s: float
    peak_bytes: int | None
    """Device memory at its highest; None where there is no such count (CPU)."""

    def line(self) -> str:
        """One line to print."""
        peak = "" if self.peak_bytes is None else f", peak memory {self.peak_bytes / 2**30:.2f} GiB"
        return f"{self.name}: {1 / self.step_s:.2f} steps/s{peak}"


def large_steps(
    cfg: TransVAEConfig, sizes: Sizes, clips: int, frames: int, device: torch.device
) -> list[LargeStep]:
    """Steps of `clips` x `frames` in float32 and bf16, activations kept and computed again; on a
    GPU compiled too (a CPU would compile for minutes and gain nothing)."""
    wide = dataclasses.replace(sizes, crop_frames=frames)
    batch = {
        key: value.expand(clips, *value.shape[1:]) for key, value in _batch(wide, device).items()
    }
    results = []
    cases: list[tuple[str, ...]] = [(), ("checkpointed",), ("bf16",), ("bf16", "checkpointed")]
    if device.type == "cuda":
        cases += [("compiled",), ("bf16", "compiled"), ("bf16", "attention unfused")]
    for case in cases:
        own = dataclasses.replace(cfg, checkpoint_video="checkpointed" in case)
        model = TransVAE(own).to(device)
        if "compiled" in case:
            model.compile_parts()

        unfused = "attention unfused" in case
        kernels = [SDPBackend.MATH] if unfused else FUSED

        def losses(
            model: TransVAE = model,
            bf16: bool = "bf16" in case,
            kernels: list[SDPBackend] = kernels,
        ) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16), sdpa_kernel(kernels):
                return model.training_losses(batch, kl_weight=KL_WEIGHT)["total"]

        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        (step_s,) = _interleaved((_step(model, losses),), sizes.repeats, device)
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        name = ", ".join((f"{cfg.task}, {clips} x {frames} frames", *(case or ("float32",))))
        results.append(LargeStep(name, step_s, peak))
    return results


def measure(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """Every row of the table."""
    cfg = TransVAEConfig(
        feature_dim=sizes.feature_dim,
        latent_dim=sizes.feature_dim,
        image_size=sizes.image_size,
        window_size=8,
    )
    online = dataclasses.replace(cfg, task="online")
    frame = dataclasses.replace(online, video_norm="frame")
    yield training_row("training step, offline", cfg, 2.2, sizes, device)
    yield training_row("training step, online w8 clip", online, 2.2, sizes, device)
    yield training_row("training step, online w8 frame", frame, 8, sizes, device)
    yield offline_samples_row(cfg, sizes, device)
    yield online_samples_row(dataclasses.replace(frame, window_size=16), sizes, device)


def run(
    sizes: Sizes | None = None, threads: int | None = None, device: str | None = None
) -> tuple[list[Row], StreamCost]:
    """Measure and print the table with the machine it ran on; returns what it printed.

    Args:
        sizes: what to time; the quoted sizes by default.
        threads: CPU threads; torch's own choice by default.
        device: "cpu" or "cuda"; CUDA where there is one by default.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    sizes = sizes or Sizes()
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    print(f"TransVAE against the published arithmetic\n{machine(where)}\n")
    print("| what | plain s | ours s | faster | required | note |\n|---|---|---|---|---|---|")
    rows = []
    for row in measure(sizes, where):
        print(row.line(), flush=True)
        rows.append(row)
    cfg = TransVAEConfig(task="online", video_norm="frame", image_size=sizes.image_size)
    stream = stream_cost(
        dataclasses.replace(cfg, feature_dim=sizes.feature_dim, latent_dim=sizes.feature_dim),
        sizes,
        where,
    )
    print(f"\n{stream.line()}", flush=True)
    if where.type == "cuda":
        for task in (cfg, dataclasses.replace(cfg, task="offline", video_norm="clip")):
            for step in large_steps(task, sizes, 4, 256, where):
                print(step.line(), flush=True)
    else:
        print("GPU figures: not measured")
    return rows, stream


def machine(device: torch.device) -> str:
    """One line about what the figures were taken on, its load included."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{_processor()}, {torch.get_num_threads()} threads of {os.cpu_count()}"
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{name}, load {load}, torch {torch.__version__}, {platform.system()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def _step(model: torch.nn.Module, losses: Callable[[], Tensor]) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        losses().backward()
        optimizer.step()

    return step


def _interleaved(
    calls: tuple[Callable[[], object], ...], repeats: int, device: torch.device
) -> list[float]:
    """Median seconds of each call; every repeat runs each once. One round before is not counted."""
    times: list[list[float]] = [[] for _ in calls]
    for repeat in range(repeats + 1):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat:
                taken.append(time.perf_counter() - start)
    return [median(taken) for taken in times]


def _line(xs: list[int], ys: list[float], x: float) -> float:
    """Least-squares line through (xs, ys), at x."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((value - mean_x) ** 2 for value in xs)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(xs, ys, strict=True)) / spread
    return mean_y + slope * (x - mean_x)


def _speaker(frames: int, sizes: Sizes, device: torch.device) -> tuple[Tensor, Tensor]:
    shape = (1, frames, 3, sizes.image_size, sizes.image_size)
    return torch.rand(shape, device=device) * 2 - 1, torch.randn(
        1, frames, AUDIO_FEATURES, device=device
    )


def _batch(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    video, audio = _speaker(sizes.crop_frames, sizes, device)
    return {
        "speaker_video": video,
        "speaker_audio": audio,
        "listener_emotion": torch.rand(1, sizes.crop_frames, NUM_ATTRIBUTES, device=device),
        "listener_coefficients": torch.randn(1, sizes.crop_frames, NUM_COEFFICIENTS, device=device),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="TransVAE against the published arithmetic.")
    parser.add_argument("--threads", type=int, help="CPU threads; default torch's")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default CUDA where present")
    run(**vars(parser.parse_args()))
