"""Attention and post-norm transformer layers whose keys and values can be kept between windows.

Letters: R rows (clips x samples), Q queries, L keys, D features, H heads, d = D / H.
The arithmetic is that of `nn.TransformerEncoderLayer` and `nn.TransformerDecoderLayer` with their
defaults (ReLU, norm after the residual). Projections are modules of their own, so that their
weights are only read inside their own forward (ZeRO-3 gathers them there).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class KeysValues:
    """Projected memory (2, R, H, L, d): keys, values.

    Without gradient it grows in place, in a buffer with room for more, so that appending a window
    costs the window and not the past. Of two memories appended to the same one, only the later
    may be used.
    """

    both: Tensor
    buffer: Tensor | None = None  # (2, R, H, room, d), `both` is its frames from `start` on
    start: int = 0

    @property
    def length(self) -> int:
        """L."""
        return self.both.shape[3]

    def append(self, other: KeysValues) -> KeysValues:
        """The memory of both, `other` later."""
        if torch.is_grad_enabled():
            return KeysValues(torch.cat([self.both, other.both], 3))
        buffer, start = self.buffer, self.start
        middle, stop = start + self.length, start + self.length + other.length
        if buffer is None or stop > buffer.shape[3]:
            start, middle, stop = 0, self.length, self.length + other.length
            buffer = self.both.new_empty(*self.both.shape[:3], 2 * stop, self.both.shape[4])
            buffer[..., :middle, :] = self.both
        buffer[..., middle:stop, :] = other.both
        return KeysValues(buffer[..., start:stop, :], buffer, start)

    def latest(self, frames: int) -> KeysValues:
        """The last `frames` of the memory, or all if it holds fewer."""
        skip = max(0, self.length - frames)
        return KeysValues(self.both[..., skip:, :], self.buffer, self.start + skip)

    def repeat(self, times: int) -> KeysValues:
        """Every row `times` times, neighbours first."""
        return KeysValues(self.both.repeat_interleave(times, 1))


def attend(queries: Tensor, memory: KeysValues, causal: bool, dropout: float) -> Tensor:
    """Softmax attention of queries (R, H, Q, d), the last of a sequence if `causal`: same shape."""
    num_queries, num_keys = queries.shape[2], memory.length
    keys, values = memory.both.unbind()
    # The fused kernels for CPUs have no dropout, and what stands in for them takes twice as many
    # operators as what is written out below.
    fused = dropout == 0 or queries.device.type != "cpu"
    mask = None
    if causal and not (fused and num_queries == num_keys):
        mask = queries.new_ones(num_queries, num_keys, dtype=torch.bool)
        mask = mask.tril(num_keys - num_queries)
    if not fused:
        scores = queries / math.sqrt(queries.shape[-1]) @ keys.transpose(2, 3)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return F.dropout(scores.softmax(-1), dropout) @ values
    return F.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=mask,
        is_causal=causal and mask is None,
        dropout_p=dropout,
    )


class Attention(nn.Module):
    """Multi-head attention of queries over a projected memory."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        # nn.MultiheadAttention draws its stacked (3D, D) projection from this range.
        bound = math.sqrt(6.0 / (4 * dim))
        for linear in (self.query, self.key_value):
            nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.out.bias)

    def project(self, memory: Tensor) -> KeysValues:
        """Keys and values of memory (R, L, D)."""
        both = self.key_value(memory).unflatten(-1, (2, self.num_heads, -1))  # (R, L, 2, H, d)
        return KeysValues(both.permute(2, 0, 3, 1, 4))

    def forward(self, queries: Tensor, memory: KeysValues, causal: bool = False) -> Tensor:
        """Attend from queries (R, Q, D) over `memory`; with `causal` the last query sees all keys,
        the one before it all but the last, and so on. Returns (R, Q, D).
        """
        mixed = attend(
            self._heads(self.query(queries)),  # (R, H, Q, d)
            memory,
            causal,
            self.dropout if self.training else 0.0,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def single(self, memory: Tensor) -> Tensor:
        """What every query gets from a memory of one token (R, 1, D), dropout off: (R, 1, D)."""
        return self.out(self.key_value(memory).chunk(2, -1)[1])

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (R, H, L, d)


class FeedForward(nn.Module):
    """Linear, ReLU, dropout, Linear; hidden size 2D as published."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, 2 * dim)
        self.linear2 = nn.Linear(2 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(R, Q, D) -> (R, Q, D)."""
        return self.linear2(self.dropout(torch.relu(self.linear1(x))))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with residual and norm."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(dim, num_heads, dropout)
        self.feed_forward = FeedForward(dim, dropout)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, memory: KeysValues) -> Tensor:
        """Output rows of `queries` (R, Q, D) only, over the projected memory of the sequence."""
        x = self.norm1(queries + self.dropout(self.self_attention(queries, memory)))
        return self.norm2(x + self.dropout(self.feed_forward(x)))


class DecoderLayer(nn.Module):
    """Causal self-attention, attention over a memory, feed-forward."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(dim, num_heads, dropout)
        self.cross_attention = Attention(dim, num_heads, dropout)
        self.feed_forward = FeedForward(dim, dropout)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def self_block(self, queries: Tensor, memory: KeysValues | None = None) -> Tensor:
        """First third of the layer for `queries`, the last frames of `memory` (default: alone)."""
        if memory is None:
            memory = self.self_attention.project(queries)
        attended = self.self_attention(queries, memory, causal=True)
        return self.norm1(queries + self.dropout(attended))

    def cross_block(self, x: Tensor, memory: KeysValues) -> Tensor:
        """The rest of the layer: x (R, Q, D) of `self_block` over the whole memory."""
        return self._after_cross(x, self.dropout(self.cross_attention(x, memory)))

    def cross_block_single(self, x: Tensor, memory: Tensor) -> Tensor:
        """`cross_block` for a memory of one token (R, 1, D); x may have one row for all.

        Softmax over one key is 1, so without dropout queries and keys need not be computed. With
        dropout they are (the token's weight drops a query at a time), and with gradient too: the
        published graph gives their weights a gradient of zero, not none, so weight decay acts.
        """
        if self.training or torch.is_grad_enabled():
            x = x.expand(memory.shape[0], -1, -1)
            return self.cross_block(x, self.cross_attention.project(memory))
        return self._after_cross(x, self.cross_attention.single(memory))

    def _after_cross(self, x: Tensor, attended: Tensor) -> Tensor:
        x = self.norm2(x + attended)
        return self.norm3(x + self.dropout(self.feed_forward(x)))


def sinusoid(num_frames: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Sinusoidal positions (T, D): sin in even columns, cos in odd, wavelength to 10000 * 2 pi."""
    position = torch.arange(num_frames, dtype=torch.float32, device=device)[:, None]
    rate = torch.exp(
        torch.arange(0, dim, 2, dtype=torch.float32, device=device) * (-math.log(10000.0) / dim)
    )
    return torch.stack([torch.sin(position * rate), torch.cos(position * rate)], -1).flatten(1)
