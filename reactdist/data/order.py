"""Which item, cropped where, on which rank: pure functions of integers.

Letters: N items, B global batch, W ranks. The sample stream is the endless concatenation of epoch
permutations; global batch s takes positions [s*B, (s+1)*B), and position p belongs to epoch
p // N. So every item occurs once an epoch, nothing is dropped, a batch may straddle two epochs,
and the stream is the same whatever W is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reactdist.errors import InputError

Ints = npt.NDArray[np.int64]

# Keeps the draws of order and crop apart though they share seed and epoch.
_ORDER, _CROP = 1, 2


def epoch_order(num_items: int, seed: int, epoch: int) -> Ints:
    """(N,) permutation of the items of one epoch."""
    sequence = np.random.SeedSequence([_ORDER, seed, epoch, num_items])
    return np.random.Generator(np.random.PCG64(sequence)).permutation(num_items)


def epoch_order_from(num_items: int, seed: int, epoch: int, item: int) -> Ints:
    """(N,) the same permutation begun at `item`: what stands in for it comes next."""
    permutation = epoch_order(num_items, seed, epoch)
    return np.roll(permutation, -int(np.flatnonzero(permutation == item)[0]))


def stream(num_items: int, seed: int, start: int, stop: int) -> tuple[Ints, Ints]:
    """Items and their epochs at stream positions [start, stop): two (stop - start,) arrays."""
    epochs = np.arange(start, stop, dtype=np.int64) // num_items
    items = np.empty_like(epochs)
    for epoch in range(start // num_items, (stop - 1) // num_items + 1 if stop > start else 0):
        here = epochs == epoch
        positions = np.arange(start, stop)[here] - epoch * num_items
        items[here] = epoch_order(num_items, seed, epoch)[positions]
    return items, epochs


def crop_start(seed: int, epoch: int, item: int, num_frames: int, crop_frames: int) -> int:
    """First frame of the crop, uniform over 0 .. num_frames - crop_frames.

    Raises:
        InputError: the clip is shorter than the crop.
    """
    if crop_frames > num_frames:
        raise InputError(f"a crop of {crop_frames} frames does not fit a clip of {num_frames}")
    state = np.random.SeedSequence([_CROP, seed, epoch, item]).generate_state(1, np.uint64)
    return int(state[0] % np.uint64(num_frames - crop_frames + 1))


def rank_slice(batch_size: int, rank: int, world: int) -> slice:
    """The part of a global batch that `rank` of `world` loads; parts are equal and in rank order.

    Raises:
        InputError: the batch does not divide among the ranks; names the numbers that do.
    """
    if world < 1 or batch_size < 1 or batch_size % world:
        numbers = [str(n) for n in range(1, batch_size + 1) if batch_size % n == 0]
        raise InputError(
            f"a batch of {batch_size} does not divide among {world} workers",
            fix=f"workers that do: {', '.join(numbers)}",
        )
    if not 0 <= rank < world:
        raise InputError(f"rank {rank} is not one of {world} workers")
    each = batch_size // world
    return slice(rank * each, (rank + 1) * each)
