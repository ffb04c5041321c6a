"""Batches for training and whole clips for evaluation, from built shards.

Which items, in which order and cropped where is decided in `order`; here they are read.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from reactdist.data import order
from reactdist.data.shards import Item, Shards
from reactdist.errors import DataError, InputError

TRAIN_COLUMNS: tuple[str, ...] = (
    "speaker_video",
    "speaker_audio",
    "listener_emotion",
    "listener_coefficients",
)
"""What TransVAE trains on; any `speaker_` or `listener_` column of the shards can be asked for."""

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Damaged:
    """An item that could not be read while training."""

    item: int
    """Index into `shards.items(split)`."""
    error: DataError


def train_batches(
    shards: Shards,
    *,
    split: str = "train",
    batch_size: int,
    crop_frames: int,
    seed: int,
    consumed: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    columns: tuple[str, ...] = TRAIN_COLUMNS,
    prefetch: int = 2,
    on_damaged: Callable[[Damaged], None] | None = None,
    stand_ins: int | None = None,
) -> Iterator[Batch]:
    """This rank's part of every global batch, without end, b = batch_size / world:

    - `speaker_video` (b, T, 3, H, W) uint8; its memory is laid out (b, T, H, W, 3)
    - `speaker_audio` (b, T, 78), `listener_emotion` (b, T, 25),
      `listener_coefficients` (b, T, 58) float32
    - `item` (b,) int64, index into `shards.items(split)`

    `consumed`: items taken by all ranks so far (steps x batch_size); the stream goes on there.
    `workers`: loader processes of this rank, `prefetch` batches each; 0 loads in this process.
    With CUDA, batches arrive in pinned memory.
    `on_damaged`: told of every item that cannot be read and was replaced, in the batch that is
    handed over next, by the one that follows it in the epoch's order, cropped as in that epoch (if
    that is damaged too, by the one after it, and so on, `stand_ins` of them at most; None: all of
    the epoch). All other items stay where they were.

    Raises:
        InputError: the batch does not divide among the ranks, a crop longer than a clip,
            `consumed` not a multiple of the batch, no such column.
        DataError: a damaged shard, without `on_damaged`; none that may stand in can be read.
    """
    items = _checked_items(shards, split, crop_frames)
    mine = order.rank_slice(batch_size, rank, world)
    if consumed < 0 or consumed % batch_size:
        raise InputError(f"{consumed} consumed items are no whole batches of {batch_size}")
    unknown = [name for name in columns if name.split("_", 1)[0] not in ("speaker", "listener")]
    if unknown:
        raise InputError(f"no column {unknown[0]!r}", fix="write speaker_... or listener_...")
    loader = DataLoader(
        _Crops(shards, items, seed, crop_frames, columns, 0 if on_damaged is None else stand_ins),
        collate_fn=_collated,
        batch_sampler=_Stream(len(items), seed, batch_size, consumed, mine),
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        pin_memory=torch.cuda.is_available(),
        # Clients of object stores do not survive a fork; local files do, and it starts at once.
        multiprocessing_context=None if not workers else "fork" if shards.is_local else "spawn",
        worker_init_fn=None if shards.is_local else _end_at_once,
    )
    for batch, damaged in loader:
        for found in damaged:
            if on_damaged is None or batch is None:
                raise found.error
            on_damaged(found)
        yield {
            name: value.permute(0, 1, 4, 2, 3) if name.endswith("_video") else value
            for name, value in batch.items()
        }


def whole_items(
    shards: Shards,
    split: str,
    indices: Sequence[int] | None = None,
    *,
    frames: int | None = None,
    with_video: bool = True,
) -> Iterator[dict[str, Any]]:
    """Items one by one, always the same frames: the whole clip, or its first `frames`.

    `item` an `Item`; `speaker_video` (T, 3, H, W) uint8, `speaker_audio` (T, 78),
    `speaker_emotion`, `listener_emotion` (T, 25), `speaker_coefficients`,
    `listener_coefficients` (T, 58) float32, all numpy.

    Raises:
        InputError: no such item, or a clip shorter than `frames`.
        DataError: a damaged shard.
    """
    items = shards.items(split)
    spoken = ("video", "audio", "emotion", "coefficients")
    for number in range(len(items)) if indices is None else indices:
        if not 0 <= number < len(items):
            raise InputError(f"{split} has items 0 to {len(items) - 1}, not {number}")
        item = items[number]
        stop = item.num_frames if frames is None else frames
        if stop > item.num_frames:
            raise InputError(f"{item.speaker} has {item.num_frames} frames, not {stop}")
        speaker = shards.read(item.speaker, 0, stop, spoken if with_video else spoken[1:])
        listener = shards.read(item.listener, 0, stop, ("emotion", "coefficients"))
        yield {
            "item": item,
            **{f"speaker_{name}": value for name, value in speaker.items()},
            **{f"listener_{name}": value for name, value in listener.items()},
        }


class _Stream:
    """Batch sampler: this rank's (item, epoch) pairs of each global batch, for ever."""

    def __init__(
        self, num_items: int, seed: int, batch_size: int, consumed: int, mine: slice
    ) -> None:
        self._num_items, self._seed = num_items, seed
        self._batch_size, self._consumed, self._mine = batch_size, consumed, mine

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        start = self._consumed
        while True:
            stop = start + self._batch_size
            items, epochs = order.stream(self._num_items, self._seed, start, stop)
            yield list(zip(items[self._mine].tolist(), epochs[self._mine].tolist(), strict=True))
            start = stop


Sample = tuple[dict[str, Any] | None, list[Damaged]]
"""An item, or one in its stead, and what could not be read; None where nothing could."""


class _Crops(Dataset[Sample]):
    """One cropped item a lookup by (item, epoch). Damage is a value, since an error raised in a
    loader process would reach the user as a stack of processes."""

    def __init__(
        self,
        shards: Shards,
        items: tuple[Item, ...],
        seed: int,
        crop_frames: int,
        columns: tuple[str, ...],
        stand_ins: int | None,
    ) -> None:
        self._shards, self._items = shards, items
        self._seed, self._crop_frames = seed, crop_frames
        self._stand_ins = stand_ins
        self._wanted = {
            person: tuple(c.removeprefix(f"{person}_") for c in columns if c.startswith(person))
            for person in ("speaker", "listener")
        }

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        number, epoch = place
        try:
            return self._read(number, epoch), []
        except DataError as error:
            damaged = [Damaged(number, error)]
        others = order.epoch_order_from(len(self._items), self._seed, epoch, number)[1:]
        for other in others[: self._stand_ins].tolist():
            try:
                return self._read(other, epoch), damaged
            except DataError as error:
                damaged.append(Damaged(other, error))
        return None, damaged

    def _read(self, number: int, epoch: int) -> dict[str, Any]:
        item = self._items[number]
        start = order.crop_start(self._seed, epoch, number, item.num_frames, self._crop_frames)
        stop = start + self._crop_frames
        sample: dict[str, Any] = {"item": number}
        for person, wanted in self._wanted.items():
            if not wanted:
                continue
            key = item.speaker if person == "speaker" else item.listener
            for name, value in self._shards.read(key, start, stop, wanted).items():
                # Collating copies memory in its own order; decoders write (t, H, W, 3).
                array = value.transpose(0, 2, 3, 1) if name == "video" else value
                sample[f"{person}_{name}"] = torch.from_numpy(np.ascontiguousarray(array))
        return sample


def _collated(samples: list[Sample]) -> tuple[Batch | None, list[Damaged]]:
    """Module-level: loader processes may be spawned."""
    damaged = [found for _, ones in samples for found in ones]
    read = [sample for sample, _ in samples]
    return None if None in read else default_collate(read), damaged


def _end_at_once(_: int) -> None:
    """At its end, leave a loader process without taking its object store client apart: threads of
    the client that still run abort the process now and then, which looks like a lost worker."""
    atexit.register(os._exit, 0)


def _checked_items(shards: Shards, split: str, crop_frames: int) -> tuple[Item, ...]:
    items = shards.items(split)
    if not items:
        raise InputError(f"{split} has no items", fix="see `reactdist data info`")
    short = [item for item in items if item.num_frames < crop_frames]
    if short:
        raise DataError(
            f"{len(short)} items of {split} are shorter than a crop of {crop_frames} frames, "
            f"first {short[0].speaker} with {short[0].num_frames}",
            fix=f"build with --min-frames {crop_frames} or train on shorter crops",
        )
    return items
