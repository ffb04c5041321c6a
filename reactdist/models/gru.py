"""A causal GRU regressor with a Gaussian head: a small, honest model to compare against.

A frame's reaction depends on the speaker up to that frame and on nothing else. Samples differ by
noise that is smooth in time (first-order autoregressive), scaled a channel at a time, since real
reactions do not jump between frames.

Letters: B clips, K samples, T frames, S image side, P thumbnail side, D features, C = 58 + 25.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reactdist.models import checks
from reactdist.models.losses import DIVERSITY_WEIGHT, kl_loss, reconstruction_loss
from reactdist.models.protocol import Generators, Reaction
from reactdist.models.stem import as_pixels
from reactdist.schema import AUDIO_FEATURES, CROP_PIXELS, NUM_ATTRIBUTES, NUM_COEFFICIENTS

CHANNELS = NUM_COEFFICIENTS + NUM_ATTRIBUTES
LEAST_LOG_SCALE, MOST_LOG_SCALE = -4.0, 1.0


@dataclass(frozen=True)
class GRUConfig:
    """What a CausalGRU is built from.

    Raises:
        InputError: an impossible value; names the field.
    """

    feature_dim: int = 64
    """Hidden size of the GRU and of every feature."""
    image_size: int = CROP_PIXELS
    """Side of the speaker's pictures, pixels."""
    thumbnail_size: int = 16
    """Side the pictures are averaged down to before the GRU sees them, pixels."""
    num_layers: int = 1
    """Stacked GRU layers."""
    smoothness: float = 0.9
    """Correlation of a sample's noise from one frame to the next."""

    def __post_init__(self) -> None:
        for name in ("feature_dim", "image_size", "thumbnail_size", "num_layers"):
            checks.check_whole(name, getattr(self, name), 1)
        if self.thumbnail_size > self.image_size:
            problem = f"must be at most image_size {self.image_size}"
            raise checks.field_error("thumbnail_size", self.thumbnail_size, problem)
        checks.check_share("smoothness", self.smoothness)


class CausalGRU(nn.Module):
    """Speaker video and audio to a Gaussian over the listener's reaction, frame by frame."""

    def __init__(self, cfg: GRUConfig) -> None:
        super().__init__()
        self.cfg = cfg
        dim = cfg.feature_dim
        self.picture = nn.Linear(3 * cfg.thumbnail_size**2, dim)
        self.audio = nn.Linear(AUDIO_FEATURES, dim)
        self.norm = nn.LayerNorm(2 * dim)
        self.gru = nn.GRU(2 * dim, dim, cfg.num_layers, batch_first=True)
        self.mean_head = nn.Linear(dim, CHANNELS)
        self.scale_head = nn.Linear(dim, CHANNELS)

    def forward(self, video: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (B, T, 58 + 25) of the reaction.

        Args:
            video: (B, T, 3, S, S) uint8 or float in [-1, 1].
            audio: (B, T, 78) float.

        Raises:
            InputError: a tensor of the wrong shape or with values that are not finite.
        """
        checks.check_speaker(video, audio, self.cfg.image_size)
        clips = video.shape[0]
        small = F.adaptive_avg_pool2d(as_pixels(video).flatten(0, 1), self.cfg.thumbnail_size)
        picture = self.picture(small.flatten(1)).unflatten(0, (clips, -1))
        x = self.norm(torch.cat([picture, self.audio(audio.float())], -1))
        hidden = self.gru(x)[0]
        log_scale = self.scale_head(hidden).float().clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE)
        return self.mean_head(hidden).float(), torch.exp(log_scale)

    def training_losses(
        self,
        batch: Mapping[str, Tensor],
        *,
        kl_weight: float,
        diversity_weight: float = DIVERSITY_WEIGHT,
        generator: Generators = None,
    ) -> dict[str, Tensor]:
        """ "total" = "reconstruction" of the mean + "likelihood" of the Gaussian + weighted "kl".

        The likelihood (negative log, mean over elements) fits the spread, which is what makes
        samples differ, so there is no diversity term and `diversity_weight` is not used; the kl
        term keeps the standard deviation near 1. Nothing random: `generator` is not used.
        """
        mean, std = self(batch["speaker_video"], batch["speaker_audio"])
        coefficients, emotion = batch["listener_coefficients"], batch["listener_emotion"]
        checks.check_shape("listener_coefficients", coefficients, (*mean.shape[:2], 58))
        checks.check_shape("listener_emotion", emotion, (*mean.shape[:2], 25))
        reconstruction = reconstruction_loss(*_parts(mean), coefficients, emotion)
        target = torch.cat([coefficients, emotion], -1)
        # The mean is the reconstruction's business; here it is held so that only spread is fitted.
        error = (target - mean.detach()) / std
        likelihood = (0.5 * error.square() + std.log()).mean()
        kl = kl_loss(torch.zeros_like(std), std)
        total = reconstruction + likelihood + kl_weight * kl
        return {
            "total": total,
            "reconstruction": reconstruction,
            "likelihood": likelihood,
            "kl": kl,
        }

    @torch.no_grad()
    def sample(
        self,
        video: Tensor,
        audio: Tensor,
        num_samples: int = 10,
        generator: torch.Generator | None = None,
    ) -> Reaction:
        """`num_samples` reactions to each speaker: (B, K, T, 58) and (B, K, T, 25)."""
        checks.check_count("num_samples", num_samples)
        mean, std = self(video, audio)
        where = mean.device if generator is None else generator.device
        shape = (mean.shape[0], num_samples, *mean.shape[1:])
        noise = torch.randn(shape, generator=generator, device=where).to(mean.device)
        smooth = self.cfg.smoothness
        innovation = (1 - smooth**2) ** 0.5  # keeps the variance 1 at every frame
        for frame in range(1, shape[2]):
            noise[:, :, frame] = smooth * noise[:, :, frame - 1] + innovation * noise[:, :, frame]
        return Reaction(*_parts(mean[:, None] + std[:, None] * noise))


def _parts(reaction: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients (..., 58) and emotion (..., 25)."""
    return reaction[..., :NUM_COEFFICIENTS], reaction[..., NUM_COEFFICIENTS:]
