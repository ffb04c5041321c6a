"""Batches: the same for any number of ranks and loader processes, resumable, whole and right."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reactdist.data.clips import Damaged, train_batches, whole_items
from reactdist.data.order import crop_start, epoch_order, stream
from reactdist.data.shards import Shards
from reactdist.errors import DataError, InputError
from tests.data.damage import damage_audio

BATCH, CROP, SEED = 4, 40, 11


def batches(shards: Shards, count: int, **changes: Any) -> list[dict[str, torch.Tensor]]:
    settings = {"batch_size": BATCH, "crop_frames": CROP, "seed": SEED, **changes}
    return list(islice(train_batches(shards, **settings), count))


def assert_same(a: list[dict[str, torch.Tensor]], b: list[dict[str, torch.Tensor]]) -> None:
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        assert left.keys() == right.keys()
        for name in left:
            torch.testing.assert_close(left[name], right[name], rtol=0, atol=0)


def test_batches_hold_what_the_shards_hold(shards: Shards) -> None:
    items = shards.items("train")
    step = 3
    batch = batches(shards, step + 1)[step]
    order, epochs = stream(len(items), SEED, step * BATCH, (step + 1) * BATCH)
    assert batch["item"].tolist() == order.tolist()
    for row, (number, epoch) in enumerate(zip(order.tolist(), epochs.tolist(), strict=True)):
        item = items[number]
        start = crop_start(SEED, epoch, number, item.num_frames, CROP)
        speaker = shards.read(item.speaker, start, start + CROP)
        listener = shards.read(item.listener, start, start + CROP)
        expected = {
            "speaker_video": speaker["video"],
            "speaker_audio": speaker["audio"],
            "listener_emotion": listener["emotion"],
            "listener_coefficients": listener["coefficients"],
        }
        for name, value in expected.items():
            np.testing.assert_array_equal(batch[name][row].numpy(), value)


def test_shapes_and_types(shards: Shards) -> None:
    (batch,) = batches(shards, 1)
    shown = {name: (tuple(value.shape), value.dtype) for name, value in batch.items()}
    assert shown == {
        "item": ((4,), torch.int64),
        "speaker_video": ((4, CROP, 3, 32, 32), torch.uint8),
        "speaker_audio": ((4, CROP, 78), torch.float32),
        "listener_emotion": ((4, CROP, 25), torch.float32),
        "listener_coefficients": ((4, CROP, 58), torch.float32),
    }


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_together_load_the_global_batches(shards: Shards, world: int) -> None:
    whole = batches(shards, 5)
    parts = [batches(shards, 5, rank=rank, world=world) for rank in range(world)]
    joined = [
        {name: torch.cat([part[name] for part in step]) for name in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)


@pytest.mark.parametrize("workers", [1, 3])
def test_loader_processes_do_not_change_the_batches(shards: Shards, workers: int) -> None:
    assert_same(batches(shards, 6, workers=workers), batches(shards, 6))


def test_resuming_gives_the_batches_that_were_left(shards: Shards) -> None:
    # 8 items, batches of 4: resume at step 3, in the middle of the second epoch.
    assert_same(batches(shards, 4, consumed=3 * BATCH, workers=1), batches(shards, 7)[3:])


def test_both_directions_come_once_an_epoch(shards: Shards) -> None:
    items = shards.items("train")
    pairs = len(items) // 2
    seen = torch.cat([batch["item"] for batch in batches(shards, len(items) // BATCH)])
    assert sorted(seen.tolist()) == list(range(len(items)))
    for number in range(pairs):
        there, back = items[number], items[number + pairs]
        assert (there.speaker, there.listener) == (back.listener, back.speaker)


@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 2), (2, 1)])
def test_a_damaged_item_is_replaced_by_the_next_of_its_epoch(
    built: Path, shards: Shards, tmp_path: Path, world: int, workers: int
) -> None:
    broken = Path(shutil.copytree(built, tmp_path / "set"))
    victim, count = 3, 2 * len(shards.items("train")) // BATCH
    key = damage_audio(broken, "train", victim)
    expected = batches(shards, count)
    epochs = [epoch_order(len(shards.items("train")), SEED, epoch).tolist() for epoch in (0, 1)]
    met: list[Damaged] = []
    for rank in range(world):
        got = batches(
            Shards.open(broken),
            count,
            rank=rank,
            world=world,
            workers=workers,
            on_damaged=met.append,
        )
        for step, (batch, whole) in enumerate(zip(got, expected, strict=True)):
            each = BATCH // world
            share = {name: value[rank * each :][:each] for name, value in whole.items()}
            for row, number in enumerate(share["item"].tolist()):
                if number != victim:
                    assert all(torch.equal(batch[name][row], share[name][row]) for name in share)
                    continue
                order = epochs[(step * BATCH + rank * each + row) // len(epochs[0])]
                stand_in = order[(order.index(victim) + 1) % len(order)]
                assert batch["item"][row] == stand_in
                (true,) = [
                    (b, r)
                    for s, b in enumerate(expected)
                    for r, n in enumerate(b["item"].tolist())
                    if n == stand_in and (s * BATCH + r) // len(order) == epochs.index(order)
                ]
                assert all(torch.equal(batch[name][row], true[0][name][true[1]]) for name in share)
    assert [found.item for found in met] == [victim, victim]  # once an epoch
    assert key in met[0].error.line()


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_is_one_line_wherever_it_is_met(built: Path, tmp_path: Path, workers: int) -> None:
    broken = Path(shutil.copytree(built, tmp_path / "set"))
    key = damage_audio(broken, "train", 3)
    with pytest.raises(DataError, match=rf"train/\d+\.parquet: row group \d \({key}\)") as caught:
        batches(Shards.open(broken), 3, workers=workers)
    assert "Traceback" not in caught.value.line()


def test_a_split_that_cannot_be_read_at_all_is_an_error(built: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(built, tmp_path / "set"))
    stream_of = train_batches(
        Shards.open(broken), batch_size=2, crop_frames=CROP, seed=0, on_damaged=[].append
    )
    for file in broken.glob("train/*.parquet"):
        file.unlink()
    with pytest.raises(DataError, match=r"train/\d+\.parquet"):
        next(stream_of)


def test_a_batch_that_does_not_divide_is_refused(shards: Shards) -> None:
    with pytest.raises(InputError, match="workers that do: 1, 2, 4"):
        batches(shards, 1, world=3)


def test_a_crop_longer_than_a_clip_is_refused_by_name(shards: Shards) -> None:
    with pytest.raises(DataError, match=r"shorter than a crop of 80 frames.*--min-frames 80"):
        batches(shards, 1, crop_frames=80)


def test_whole_items_are_fixed_and_whole(shards: Shards) -> None:
    items = shards.items("val")
    first, again = list(whole_items(shards, "val")), list(whole_items(shards, "val"))
    assert [entry["item"] for entry in first] == list(items)
    for entry, other in zip(first, again, strict=True):
        assert len(entry["speaker_video"]) == entry["item"].num_frames
        for name in entry.keys() - {"item"}:
            np.testing.assert_array_equal(entry[name], other[name])


def test_the_first_frames_of_chosen_items(shards: Shards) -> None:
    (whole,) = whole_items(shards, "val", [1])
    (part,) = whole_items(shards, "val", [1], frames=33, with_video=False)
    assert "speaker_video" not in part
    for name in part.keys() - {"item"}:
        np.testing.assert_array_equal(part[name], whole[name][:33])
    with pytest.raises(InputError, match="not 9"):
        next(whole_items(shards, "val", [9]))


@pytest.mark.slow
def test_memory_of_a_loader_process_stays_flat(shards: Shards) -> None:
    """Resident memory after 100 batches and after 1,000 more."""
    stream_of = train_batches(shards, batch_size=2, crop_frames=CROP, seed=0, workers=1)
    for _ in islice(stream_of, 100):
        pass
    (child,) = [p for p in multiprocessing.active_children() if p.name != "SyncManager"]
    before = resident_mb(child.pid)
    for _ in islice(stream_of, 1000):
        pass
    after = resident_mb(child.pid)
    print(f"loader process: {before:.1f} MB after 100 batches, {after:.1f} MB after 1,100")
    assert after < before + 5


def resident_mb(pid: int | None) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
