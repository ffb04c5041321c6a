"""Order, crop and rank slices: properties over many worlds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactdist.data.order import crop_start, epoch_order, rank_slice, stream
from reactdist.errors import InputError

sizes = st.integers(1, 60)
seeds = st.integers(0, 2**32 - 1)
epochs = st.integers(0, 1000)


@given(sizes, seeds, epochs)
def test_an_epoch_holds_every_item_once(num_items: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_order(num_items, seed, epoch)) == list(range(num_items))


@given(sizes, seeds, st.integers(0, 300), st.integers(0, 200))
def test_the_stream_is_the_epochs_end_to_end(n: int, seed: int, start: int, length: int) -> None:
    items, epochs_ = stream(n, seed, start, start + length)
    whole = np.concatenate([epoch_order(n, seed, e) for e in range((start + length) // n + 1)])
    np.testing.assert_array_equal(items, whole[start : start + length])
    np.testing.assert_array_equal(epochs_, np.arange(start, start + length) // n)


@given(sizes, seeds, st.integers(1, 24), st.integers(0, 20), st.data())
def test_global_batches_are_the_same_for_every_world(
    n: int, seed: int, batch: int, step: int, data: st.DataObject
) -> None:
    divisors = [world for world in range(1, batch + 1) if batch % world == 0]
    world = data.draw(st.sampled_from(divisors))
    items, _ = stream(n, seed, step * batch, (step + 1) * batch)
    parts = [items[rank_slice(batch, rank, world)] for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    np.testing.assert_array_equal(np.concatenate(parts), items)


@given(seeds, epochs, st.integers(0, 10**6), st.integers(1, 800), st.integers(0, 500))
def test_crops_fit(seed: int, epoch: int, item: int, crop: int, spare: int) -> None:
    start = crop_start(seed, epoch, item, crop + spare, crop)
    assert 0 <= start <= spare
    assert start == crop_start(seed, epoch, item, crop + spare, crop)


def test_crops_are_uniform_and_change_with_the_epoch() -> None:
    starts = [crop_start(0, epoch, item, 19, 10) for epoch in range(100) for item in range(20)]
    counts = np.bincount(starts, minlength=10)
    assert len(counts) == 10
    chi_square = ((counts - 200) ** 2 / 200).sum()
    assert chi_square < 27.9  # 9 degrees of freedom, p = 0.001


def test_orders_differ_between_epochs_and_seeds() -> None:
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_a_world_that_does_not_divide_is_refused_with_those_that_do() -> None:
    with pytest.raises(InputError, match="workers that do: 1, 2, 3, 4, 6, 12"):
        rank_slice(12, 0, 5)


def test_a_crop_longer_than_the_clip_is_refused() -> None:
    with pytest.raises(InputError, match="256 frames does not fit a clip of 255"):
        crop_start(0, 0, 0, 255, 256)
