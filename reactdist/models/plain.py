"""The published arithmetic of TransVAE written plainly: what ours is tested and timed against.

3-D convolutions, the whole prefix encoded again for every window, every row of every layer
computed, a full pass for every sample. Parameter names are the published ones, so that published
weights load as they are (react2024.md, section 4). Nothing but tests and `bench.py` uses it.

Letters: B clips, T frames, w window, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reactdist.models.attention import sinusoid
from reactdist.models.losses import vae_loss
from reactdist.models.transvae import TransVAEOutput
from reactdist.models.transvae_config import TransVAEConfig
from reactdist.schema import AUDIO_FEATURES, NUM_ATTRIBUTES, NUM_COEFFICIENTS


class _Convolutions(nn.Module):
    """(B, 3, T, S, S) to (B, D, T, s, s); each normalised over the clip, then ReLU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = _conv(3, dim // 4, 7, 2)
        self.conv2 = _conv(dim // 4, dim, 7, 2)
        self.conv3 = _conv(dim, dim, 3, 2)
        self.conv4 = _conv(dim, dim, 3, 1)
        self.conv5 = _conv(dim, dim, 3, 2)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2))
        self.norm1 = nn.InstanceNorm3d(dim // 4)
        self.norm = nn.InstanceNorm3d(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.norm1(self.conv1(x))))
        x = torch.relu(self.norm(self.conv2(x)))
        x = torch.relu(self.norm(self.conv3(x)))
        x = torch.relu(self.norm(self.conv4(x))) + x
        return torch.relu(self.norm(self.conv5(x)))


class _VideoEncoder(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.Conv3D = _Convolutions(dim)
        self.fc = nn.Linear(dim, dim)

    def forward(self, video: Tensor) -> Tensor:
        return self.fc(self.Conv3D(video.transpose(1, 2)).mean((3, 4)).transpose(1, 2))


class _SpeakerEncoder(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.video_encoder = _VideoEncoder(dim)
        self.audio_feature_map = nn.Linear(AUDIO_FEATURES, dim)
        self.fusion_layer = nn.Linear(2 * dim, dim)

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        both = [self.video_encoder(video), self.audio_feature_map(audio)]
        return self.fusion_layer(torch.cat(both, -1))


class _Posterior(nn.Module):
    def __init__(self, cfg: TransVAEConfig) -> None:
        super().__init__()
        dim = cfg.feature_dim
        self.mu_token = nn.Parameter(torch.randn(dim))
        self.logvar_token = nn.Parameter(torch.randn(dim))
        self.linear = nn.Linear(dim, dim)
        layer = nn.TransformerEncoderLayer(dim, cfg.num_heads, 2 * dim, cfg.dropout)
        self.seqTransEncoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        tokens = torch.stack([self.mu_token, self.logvar_token])[:, None]
        x = self.linear(features).transpose(0, 1)  # (T, B, D)
        out = self.seqTransEncoder(torch.cat([tokens.expand(-1, x.shape[1], -1), x]))
        return out[0], out[1].exp().sqrt()


class _Reactions(nn.Module):
    """Posterior, decoder, heads and, online, the block over past reactions."""

    def __init__(self, cfg: TransVAEConfig) -> None:
        super().__init__()
        dim = cfg.feature_dim
        self.dim = dim
        self.vae_model = _Posterior(cfg)
        self.dropout = nn.Dropout(cfg.dropout)
        if cfg.task == "online":
            self.lstm = nn.LSTM(dim, dim, batch_first=True)
            self.linear_3d = nn.Linear(NUM_COEFFICIENTS, dim)
            self.linear_reaction = nn.Linear(dim, dim)
            self.listener_reaction_decoder_3d = _decoder(cfg)
        self.listener_reaction_decoder_1 = _decoder(cfg)
        self.listener_reaction_decoder_2 = _decoder(cfg)
        self.listener_reaction_3dmm_map_layer = nn.Linear(dim, NUM_COEFFICIENTS)
        self.listener_reaction_emotion_map_layer = nn.Sequential(
            nn.Linear(dim + NUM_COEFFICIENTS, dim), nn.Linear(dim, NUM_ATTRIBUTES)
        )

    def forward(
        self, features: Tensor, frames: int, past: Tensor | None, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Coefficients, emotion (B, w, .), mean and std (B, D) of one window."""
        mean, std = self.vae_model(features)
        memory = (mean + std * noise)[None]
        queries = sinusoid(frames, self.dim, features.device)[:, None]
        queries = self.dropout(queries.expand(-1, features.shape[0], -1))
        causal = _causal(frames, features)
        x = self.listener_reaction_decoder_1(queries, memory, tgt_mask=causal)
        reaction = self.listener_reaction_decoder_2(x, x, tgt_mask=causal).transpose(0, 1)
        shaped = reaction if past is None else self._shaped(reaction, past)
        coefficients = self.listener_reaction_3dmm_map_layer(shaped)
        both = torch.cat([coefficients, reaction], -1)
        return coefficients, self.listener_reaction_emotion_map_layer(both), mean, std

    def _shaped(self, reaction: Tensor, past: Tensor) -> Tensor:
        frames = reaction.shape[1]
        before = self.linear_3d(past)
        x = torch.cat([before, self.linear_reaction(reaction)], 1).transpose(0, 1)
        x = self.listener_reaction_decoder_3d(x, x, tgt_mask=_causal(len(x), x))
        last = before[:, -1][None].contiguous()
        return self.lstm(x.transpose(0, 1)[:, -frames:], (last, last))[0]


class PlainTransVAE(nn.Module):
    """The published model; `latent_dim` equals `feature_dim`, `video_norm` is "clip"."""

    def __init__(self, cfg: TransVAEConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.speaker_behaviour_encoder = _SpeakerEncoder(cfg.feature_dim)
        self.reaction_decoder = _Reactions(cfg)
        size = cfg.feature_dim + NUM_COEFFICIENTS + NUM_ATTRIBUTES
        self.fusion = nn.Linear(size, cfg.feature_dim)

    def forward(
        self, video: Tensor, audio: Tensor, noise: Tensor, last_windows: int | None = None
    ) -> TransVAEOutput:
        """One pass over video (B, T, 3, S, S) float with noise (windows, B, D).

        With `last_windows` only so many windows at the end are computed, after a past of zeros: to
        time them without waiting for all.
        """
        if self.cfg.task == "offline":
            features = self.speaker_behaviour_encoder(video, audio)
            out = self.reaction_decoder(features, video.shape[1], None, noise[0])
            return TransVAEOutput(out[0], out[1], out[2][None], out[3][None])
        size, count = self.cfg.window_size, noise.shape[0]
        first = 0 if last_windows is None else count - last_windows
        reactions = video.new_zeros(len(video), first * size, NUM_COEFFICIENTS + NUM_ATTRIBUTES)
        means, stds = [], []
        for index in range(first, count):
            start, stop = index * size, min((index + 1) * size, video.shape[1])
            features = self.speaker_behaviour_encoder(video[:, :stop], audio[:, :stop])
            known = nn.functional.pad(reactions, (0, 0, 0, stop - start))
            fused = self.fusion(torch.cat([features, known], -1))
            past = reactions[..., :NUM_COEFFICIENTS] if start else None
            *window, mean, std = self.reaction_decoder(fused, stop - start, past, noise[index])
            reactions = torch.cat([reactions, torch.cat(window, -1)], 1)
            means.append(mean)
            stds.append(std)
        coefficients, emotion = reactions.split([NUM_COEFFICIENTS, NUM_ATTRIBUTES], -1)
        return TransVAEOutput(coefficients, emotion, torch.stack(means), torch.stack(stds))

    def training_losses(
        self, batch: dict[str, Tensor], noises: tuple[Tensor, Tensor], kl_weight: float
    ) -> dict[str, Tensor]:
        """Loss terms of a batch: two full passes, the second without gradient."""
        video, audio = batch["speaker_video"], batch["speaker_audio"]
        first = self(video, audio, noises[0])
        with torch.no_grad():
            second = self(video, audio, noises[1])
        return vae_loss(
            first.coefficients,
            first.emotion,
            first.mean,
            first.std,
            batch["listener_coefficients"],
            batch["listener_emotion"],
            kl_weight=kl_weight,
            second_coefficients=second.coefficients,
            second_emotion=second.emotion,
        )


def _conv(channels_in: int, channels_out: int, kernel: int, stride: int) -> nn.Conv3d:
    return nn.Conv3d(
        channels_in,
        channels_out,
        (1, kernel, kernel),
        (1, stride, stride),
        (0, kernel // 2, kernel // 2),
        bias=False,
    )


def _decoder(cfg: TransVAEConfig) -> nn.TransformerDecoder:
    dim = cfg.feature_dim
    layer = nn.TransformerDecoderLayer(dim, cfg.num_heads, 2 * dim, cfg.dropout)
    return nn.TransformerDecoder(layer, 1)


def _causal(frames: int, like: Tensor) -> Tensor:
    return nn.Transformer.generate_square_subsequent_mask(frames, device=like.device)
