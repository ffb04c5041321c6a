"""FRDist on an accelerator: every DTW of many items at once, diagonal by diagonal, in torch.

The same definition as `frdist.py`, without pruning (a lane that stops early saves a GPU nothing),
in float32: within 1e-4 of the CPU's. Runs on any torch device; the tests run it on the CPU.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reactdist.metrics.frdist import GROUPS
from reactdist.metrics.inputs import Inputs, Item

PAIRS_AT_ONCE = 8192
"""Pairs of a step; with 750 frames about 2.5 GB of device memory."""


def frdist_on_device(
    inputs: Inputs, device: str, *, pairs_at_once: int = PAIRS_AT_ONCE
) -> np.ndarray:
    """(B,) FRDist of every item of `inputs`; items are read as they are needed."""
    distances: list[float] = []
    waiting: list[Item] = []
    pairs = 0
    for row in range(len(inputs)):
        waiting.append(inputs.item(row))
        pairs += len(waiting[-1].predictions) * len(waiting[-1].listeners)
        if pairs >= pairs_at_once or row == len(inputs) - 1:
            distances += _distances(waiting, device, pairs_at_once)
            waiting, pairs = [], 0
    return np.array(distances)


def _distances(items: list[Item], device: str, pairs_at_once: int) -> list[float]:
    """FRDist of each item: its pairs are rows of one batch."""
    predictions = _stack([clip for item in items for clip in item.predictions], device)
    listeners = _stack([clip for item in items for clip in item.listeners], device)
    mine, theirs = _pair_indices(items)
    totals = [
        _totals(predictions[a], listeners[b])
        for a, b in zip(mine.split(pairs_at_once), theirs.split(pairs_at_once), strict=True)
    ]
    total = torch.cat(totals).double().cpu().numpy()
    distances, start = [], 0
    for item in items:
        shape = (len(item.predictions), len(item.listeners))
        stop = start + shape[0] * shape[1]
        distances.append(float(total[start:stop].reshape(shape).min(axis=1).sum()))
        start = stop
    return distances


def _stack(clips: list[np.ndarray], device: str) -> Tensor:
    return torch.from_numpy(np.stack(clips).astype(np.float32, copy=False)).to(device)


def _pair_indices(items: list[Item]) -> tuple[Tensor, Tensor]:
    """Rows of all (prediction, listener) pairs, item after item, listeners fastest."""
    mine, theirs = [], []
    samples = candidates = 0
    for item in items:
        rows = torch.arange(samples, samples + len(item.predictions))
        columns = torch.arange(candidates, candidates + len(item.listeners))
        mine.append(rows.repeat_interleave(len(columns)))
        theirs.append(columns.repeat(len(rows)))
        samples, candidates = samples + len(rows), candidates + len(columns)
    return torch.cat(mine), torch.cat(theirs)


def _totals(predictions: Tensor, listeners: Tensor) -> Tensor:
    """(P,) the distance of each pair of clips (P,S,25), (P,T,25)."""
    total = torch.zeros(len(predictions), device=predictions.device)
    for group in GROUPS:
        part = squared_dtw(
            predictions[..., group.attributes], listeners[..., group.attributes]
        ).sqrt()
        total += part / group.divisor
    return total


def squared_dtw(one: Tensor, other: Tensor) -> Tensor:
    """(P,) DTW squared of P pairs of clips (P, S, D) and (P, T, D) on their device."""
    rows = one.transpose(1, 2).contiguous()  # (P, D, S)
    columns = other.flip(1).transpose(1, 2).contiguous()  # (P, D, T), last frame first
    pairs, _, num_rows = rows.shape
    num_columns = columns.shape[2]
    # Slot r + 1 of a diagonal is row r; slot 0 stands above the table.
    older, old, now = (rows.new_full((pairs, num_rows + 1), torch.inf) for _ in range(3))
    older[:, 0] = 0  # the corner every path starts from
    for g in range(num_rows + num_columns - 1):
        first, stop = max(0, g - num_columns + 1), min(num_rows, g + 1)
        shift = num_columns - 1 - g  # row r is at column g - r
        step = rows[:, :, first:stop] - columns[:, :, shift + first : shift + stop]
        cost = step.square_().sum(dim=1)
        best = torch.minimum(old[:, first:stop], old[:, first + 1 : stop + 1])
        best = torch.minimum(best, older[:, first:stop])
        torch.add(cost, best, out=now[:, first + 1 : stop + 1])
        older[:, 0] = torch.inf
        older, old, now = old, now, older
    return old[:, num_rows]
