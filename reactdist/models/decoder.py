"""From a latent to a reaction: what offline and online generation share, and the online past.

Letters: R rows (clips x samples), w frames of a window (offline: the clip), D features, Z latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reactdist.models.attention import DecoderLayer, EncoderLayer, KeysValues, sinusoid
from reactdist.models.compiled import compiled
from reactdist.schema import NUM_ATTRIBUTES, NUM_COEFFICIENTS


class Posterior(nn.Module):
    """What the encoded frames say about the latent: its mean and log-variance.

    One encoder layer over the frames and two learned tokens of which only the tokens' outputs are
    used: only they are queries, and the frames' keys and values can be kept.
    """

    def __init__(self, dim: int, latent_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.mean_token = nn.Parameter(torch.randn(dim))
        self.logvar_token = nn.Parameter(torch.randn(dim))
        self.linear = nn.Linear(dim, dim)
        self.layer = EncoderLayer(dim, num_heads, dropout)
        same = latent_dim == dim
        self.to_mean = nn.Identity() if same else nn.Linear(dim, latent_dim)
        self.to_logvar = nn.Identity() if same else nn.Linear(dim, latent_dim)

    def project(self, features: Tensor, positions: bool = False) -> KeysValues:
        """Keys and values of encoded frames (R, L, D)."""
        x = self.linear(features)
        if positions:
            x = x + sinusoid(x.shape[1], x.shape[2], x.device).to(x.dtype)
        return self.layer.self_attention.project(x)

    def forward(self, frames: KeysValues) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (R, Z) given the projected frames."""
        rows = frames.both.shape[1]
        tokens = torch.stack([self.mean_token, self.logvar_token]).expand(rows, -1, -1)
        own = self.layer.self_attention.project(tokens[:1])
        memory = frames.append(KeysValues(own.both.expand(-1, rows, -1, -1, -1)))
        out = self.layer(tokens, memory)
        mean, logvar = self.to_mean(out[:, 0]).float(), self.to_logvar(out[:, 1]).float()
        return mean, torch.exp(0.5 * logvar)


class ReactionDecoder(nn.Module):
    """Latent to reaction features, and the heads that read a reaction."""

    def __init__(self, dim: int, latent_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.compiles = False
        self.from_latent = nn.Identity() if latent_dim == dim else nn.Linear(latent_dim, dim)
        self.layer1 = DecoderLayer(dim, num_heads, dropout)
        self.layer2 = DecoderLayer(dim, num_heads, dropout)
        self.coefficient_head = nn.Linear(dim, NUM_COEFFICIENTS)
        self.emotion_hidden = nn.Linear(dim + NUM_COEFFICIENTS, dim)
        self.emotion_head = nn.Linear(dim, NUM_ATTRIBUTES)
        self.dropout = nn.Dropout(dropout)
        self.dim = dim

    def queries(self, rows: int, frames: int, like: Tensor) -> Tensor:
        """Positions after the first layer's self-attention (rows, w, D).

        They depend on no input: without dropout one row serves all, (1, w, D).
        """
        positions = sinusoid(frames, self.dim, like.device)[None]
        if self.training and self.dropout.p > 0:
            positions = positions.expand(rows, -1, -1)
        return self.layer1.self_block(self.dropout(positions))

    def forward(self, latent: Tensor, queries: Tensor) -> Tensor:
        """Reaction features (R, w, D) of latent (R, Z)."""
        if self.compiles:
            reaction: Tensor = compiled(ReactionDecoder._reaction)(self, latent, queries)
            return reaction
        return self._reaction(latent, queries)

    def _reaction(self, latent: Tensor, queries: Tensor) -> Tensor:
        memory = self.from_latent(latent)[:, None]
        x = self.layer1.cross_block_single(queries, memory)
        x = x.expand(latent.shape[0], -1, -1)
        return self.layer2.cross_block(
            self.layer2.self_block(x), self.layer2.cross_attention.project(x)
        )

    def emotion(self, coefficients: Tensor, reaction: Tensor) -> Tensor:
        """(R, w, 25) from coefficients (R, w, 58) and reaction features."""
        return self.emotion_head(self.emotion_hidden(torch.cat([coefficients, reaction], -1)))


@dataclass
class PastMemory:
    """What the past block keeps of the reactions so far."""

    self_memory: KeysValues
    cross_memory: KeysValues
    last: Tensor  # (R, D), feature of the last past frame

    def latest(self, frames: int) -> PastMemory:
        """The last `frames` of it, or all if it holds fewer."""
        return PastMemory(
            self.self_memory.latest(frames), self.cross_memory.latest(frames), self.last
        )


class PastBlock(nn.Module):
    """Shapes a window's reaction by the reactions before it (online, from the second window on).

    A decoder layer over [past features, this window's features] of which only this window's rows
    are wanted; the past's keys and values never change once generated, so they are kept.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.from_coefficients = nn.Linear(NUM_COEFFICIENTS, dim)
        self.from_reaction = nn.Linear(dim, dim)
        self.layer = DecoderLayer(dim, num_heads, dropout)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)

    def remember(self, coefficients: Tensor, past: PastMemory | None) -> PastMemory:
        """`past` with the frames of coefficients (R, w, 58) added."""
        features = self.from_coefficients(coefficients)
        own = self._project(features)
        if past is not None:
            own = (past.self_memory.append(own[0]), past.cross_memory.append(own[1]))
        return PastMemory(*own, features[:, -1])

    def forward(self, reaction: Tensor, past: PastMemory) -> Tensor:
        """Features (R, w, D) of the window whose reaction features are `reaction`."""
        features = self.from_reaction(reaction)
        own_self, own_cross = self._project(features)
        x = self.layer.self_block(features, past.self_memory.append(own_self))
        x = self.layer.cross_block(x, past.cross_memory.append(own_cross))
        start = past.last[None].contiguous()  # (1, R, D)
        return self.lstm(x, (start, start))[0]

    def _project(self, features: Tensor) -> tuple[KeysValues, KeysValues]:
        layer = self.layer
        return layer.self_attention.project(features), layer.cross_attention.project(features)
