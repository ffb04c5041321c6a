"""TransVAE, offline and online (react2024.md, section 4), written to be run.

Same numbers as the published graph for the same weights and noise; less work: pictures are encoded
once for all passes, samples and (video_norm "frame") windows; only rows that are used are
computed; keys and values of past windows are kept.

Letters: B clips, K samples, R = B * K rows, T frames, w window, D features, Z latent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from reactdist.models import checks
from reactdist.models.decoder import PastBlock, Posterior, ReactionDecoder
from reactdist.models.losses import DIVERSITY_WEIGHT, vae_loss
from reactdist.models.online import REACTION_SIZE, Stream, Window, generate
from reactdist.models.protocol import Generators, Reaction
from reactdist.models.stem import Stem
from reactdist.models.transvae_config import TransVAEConfig
from reactdist.models.video_encoder import VideoEncoder
from reactdist.schema import AUDIO_FEATURES


@dataclass(frozen=True)
class TransVAEOutput:
    """One stochastic pass; windows is 1 offline."""

    coefficients: Tensor  # (B, T, 58), model space
    emotion: Tensor  # (B, T, 25)
    mean: Tensor  # (windows, B, Z)
    std: Tensor  # (windows, B, Z)


class SpeakerEncoder(nn.Module):
    """Video and audio of the speaker to one feature a frame."""

    def __init__(self, cfg: TransVAEConfig) -> None:
        super().__init__()
        dim = cfg.feature_dim
        self.recompute = cfg.checkpoint_video
        self.video = VideoEncoder(dim, cfg.video_norm)
        self.audio = nn.Linear(AUDIO_FEATURES, dim)
        self.fusion = nn.Linear(2 * dim, dim)

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        """(B, T, 3, S, S) and (B, T, 78) to (B, T, D)."""
        return self.fuse(self.stem(video), audio)

    def stem(self, video: Tensor) -> Stem:
        """What the pictures give before it matters which are normalised together."""
        return self._run(self.video.stem, video)

    def fuse(self, stem: Stem, audio: Tensor) -> Tensor:
        """The same from the first convolution of the pictures."""
        pictures = self._run(self.video.features, stem)
        return self.fusion(torch.cat([pictures, self.audio(audio.float())], -1))

    def _run(self, part: Callable[[Any], Any], given: Any) -> Any:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(part, given, use_reentrant=False)
        return part(given)


class TransVAE(nn.Module):
    """Reactions of a listener to a speaker, drawn from a conditional latent."""

    def __init__(self, cfg: TransVAEConfig) -> None:
        super().__init__()
        sizes = (cfg.feature_dim, cfg.latent_dim, cfg.num_heads, cfg.dropout)
        self.cfg = cfg
        self.speaker = SpeakerEncoder(cfg)
        self.posterior = Posterior(*sizes)
        self.decoder = ReactionDecoder(*sizes)
        if cfg.task == "online":
            self.reaction_fusion = nn.Linear(cfg.feature_dim + REACTION_SIZE, cfg.feature_dim)
            self.past = PastBlock(cfg.feature_dim, cfg.num_heads, cfg.dropout)

    def forward(
        self,
        video: Tensor,
        audio: Tensor,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> TransVAEOutput:
        """One pass over whole clips.

        Args:
            video: (B, T, 3, S, S) uint8 or float in [-1, 1].
            audio: (B, T, 78) float.
            noise: standard normal (windows, B, Z) to draw the latents with; drawn when not given.
            generator: source of the noise; None is torch's default. Dropout (training mode only)
                always uses torch's default generator.

        Raises:
            InputError: a tensor of the wrong shape or with values that are not finite, or a clip
                shorter than a window.
        """
        self._check(video, audio)
        if noise is not None:
            windows = self.cfg.num_windows(video.shape[1])
            checks.check_shape("noise", noise, (windows, video.shape[0], self.cfg.latent_dim))
        out = self._react(video, audio, 1, noise, generator)
        return TransVAEOutput(out.coefficients, out.emotion, out.mean, out.std)

    @torch.no_grad()
    def sample(
        self,
        video: Tensor,
        audio: Tensor,
        num_samples: int = 10,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> Reaction:
        """`num_samples` reactions to each speaker, dropout off: (B, K, T, 58), (B, K, T, 25).

        Args as for `forward`; noise is (windows, B, K, Z). The speaker is encoded once.
        """
        self._check(video, audio)
        checks.check_count("num_samples", num_samples)
        clips, frames = video.shape[:2]
        if noise is not None:
            shape = (self.cfg.num_windows(frames), clips, num_samples, self.cfg.latent_dim)
            checks.check_shape("noise", noise, shape)
            noise = noise.flatten(1, 2)
        with self.evaluating():
            out = self._react(video, audio, num_samples, noise, generator)
        return Reaction(
            out.coefficients.unflatten(0, (clips, num_samples)),
            out.emotion.unflatten(0, (clips, num_samples)),
        )

    def stream(self, num_samples: int = 1, generator: torch.Generator | None = None) -> Stream:
        """A session that reacts window by window; online with video_norm "frame" only."""
        return Stream(self, num_samples, generator)

    def training_losses(
        self,
        batch: Mapping[str, Tensor],
        *,
        kl_weight: float,
        diversity_weight: float = DIVERSITY_WEIGHT,
        generator: Generators = None,
    ) -> dict[str, Tensor]:
        """Loss terms of a batch (keys: `protocol.BATCH_KEYS`), as `vae_loss` names them.

        The second pass of the diversity term shares the speaker's encoding and has no gradient;
        with a weight of 0 it is left out, and the term is 0.
        """
        video, audio = batch["speaker_video"], batch["speaker_audio"]
        self._check(video, audio)
        passes = 2 if diversity_weight else 1
        out = self._react(video, audio, passes, None, generator)
        first = slice(0, None, passes)
        second = slice(1, None, 2) if diversity_weight else None
        return vae_loss(
            out.coefficients[first],
            out.emotion[first],
            out.mean[:, first],
            out.std[:, first],
            batch["listener_coefficients"],
            batch["listener_emotion"],
            kl_weight=kl_weight,
            second_coefficients=None if second is None else out.coefficients[second],
            second_emotion=None if second is None else out.emotion[second],
            diversity_weight=diversity_weight,
        )

    def compile_parts(self) -> None:
        """From now on run picture features and decoder through torch.compile, where it works.

        A choice of where the model runs, not of the model: nothing of it is exported.
        """
        self.speaker.video.compiles = self.decoder.compiles = True

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Dropout off inside, whatever the mode outside."""
        training = self.training
        if training:
            self.eval()
        try:
            yield
        finally:
            if training:
                self.train()

    def draw(self, rows: int, device: torch.device, generator: Generators) -> Tensor:
        """Standard normal noise of one window (R, Z); the only source of randomness but dropout."""
        if isinstance(generator, Sequence):
            each = rows // len(generator)
            return torch.cat([self.draw(each, device, own) for own in generator])
        where = device if generator is None else generator.device
        shape = (rows, self.cfg.latent_dim)
        return torch.randn(shape, generator=generator, device=where).to(device)

    def _check(self, video: Tensor, audio: Tensor) -> None:
        checks.check_speaker(video, audio, self.cfg.image_size)
        if self.cfg.task == "online":
            checks.check_window(video.shape[1], self.cfg.window_size)

    def _react(
        self,
        video: Tensor,
        audio: Tensor,
        num_samples: int,
        noise: Tensor | None,
        generator: Generators,
    ) -> Window:
        """`num_samples` passes as rows, neighbours first; noise (windows, R, Z)."""
        clips, frames = video.shape[:2]
        windows = self.cfg.num_windows(frames)
        rows = clips * num_samples
        noises = (
            self.draw(rows, video.device, generator) if noise is None else noise[index]
            for index in range(windows)
        )
        if self.cfg.task == "offline":
            return self._react_offline(self.speaker(video, audio), num_samples, next(noises))
        speakers = (
            features.repeat_interleave(num_samples, 0)
            for features in self._speaker_windows(video, audio)
        )
        return generate(self, speakers, frames, noises)

    def _react_offline(self, speaker: Tensor, num_samples: int, noise: Tensor) -> Window:
        seen = self.posterior.project(speaker, self.cfg.posterior_positions)
        mean, std = self.posterior(seen.repeat(num_samples))
        queries = self.decoder.queries(len(noise), speaker.shape[1], speaker)
        reaction = self.decoder(mean + std * noise, queries)
        coefficients = self.decoder.coefficient_head(reaction)
        emotion = self.decoder.emotion(coefficients, reaction)
        return Window(coefficients, emotion, mean[None], std[None])

    def _speaker_windows(self, video: Tensor, audio: Tensor) -> Iterator[Tensor]:
        """Of each window what `next_window` wants to know of the speaker (B, frames, D)."""
        starts = range(0, video.shape[1], self.cfg.window_size)
        if self.cfg.video_norm == "frame":
            yield from self.speaker(video, audio).split(self.cfg.window_size, 1)
            return
        stem = self.speaker.stem(video)
        for start in starts:
            seen = slice(max(0, start - self.cfg.past_frames), start + self.cfg.window_size)
            yield self.speaker.fuse(stem.frames(seen), audio[:, seen])
