"""Shards: what was built is what is read, and damage is named."""

from __future__ import annotations

import io
import json
import pickle
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from reactdist.data.audio import mfcc_features, read_wav
from reactdist.data.clip import resized
from reactdist.data.codec import SEGMENT_FRAMES, codec_named
from reactdist.data.coefficients import read_coefficients
from reactdist.data.emotion import read_emotion
from reactdist.data.layouts.base import centre_crop
from reactdist.data.release import Release
from reactdist.data.shards import Shards
from reactdist.errors import DataError, InputError
from tests.data.damage import flip_byte


@pytest.fixture
def set_copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "set"))


def test_what_is_read_is_what_the_release_holds(release: Path, shards: Shards) -> None:
    opened = Release.open(release)
    clip = opened.clips("val")[1]
    files = opened.files("val", clip)
    got = shards.read(f"val/{clip}")
    frames = len(got["emotion"])
    np.testing.assert_array_equal(got["emotion"], read_emotion(files.emotion))
    expected = read_coefficients(files.coefficients) - np.load(release / "mean_face.npy")
    np.testing.assert_array_equal(got["coefficients"], expected)
    np.testing.assert_array_equal(got["audio"], mfcc_features(*read_wav(files.audio), frames))
    pixels = [resized(centre_crop(f), 32) for f in files.video_layout.frames(files.video)]
    difference = got["video"].transpose(0, 2, 3, 1).astype(float) - np.stack(pixels)
    assert 20 * np.log10(255 / np.sqrt((difference**2).mean())) > 30  # tiny pictures, 4:2:0
    np.testing.assert_array_equal(shards.first_frame(f"val/{clip}"), pixels[0])


def test_shrinking_averages_areas() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    blocks = frame.reshape(32, 7, 32, 7, 3).astype(float).mean((1, 3))
    assert np.abs(resized(frame, 32) - blocks).max() <= 1  # rounds after each of two passes


@pytest.mark.parametrize(("start", "stop"), [(0, 44), (0, 1), (31, 33), (32, 44), (43, 44)])
def test_any_range_is_a_slice_of_the_whole(shards: Shards, start: int, stop: int) -> None:
    key = shards.items("train")[2].speaker
    whole, part = shards.read(key), shards.read(key, start, stop)
    for name, value in whole.items():
        np.testing.assert_array_equal(part[name], value[start:stop])


def test_only_needed_columns_and_segments_are_fetched(
    shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[list[str]] = []
    original = Shards._cells

    def watched(
        shards: Shards, file: str, row: int, key: str, names: list[str]
    ) -> dict[str, memoryview]:
        fetched.append(names)
        return original(shards, file, row, key, names)

    monkeypatch.setattr(Shards, "_cells", watched)
    key = shards.items("train")[0].speaker
    shards.read(key, SEGMENT_FRAMES, 40, columns=("video", "emotion"))
    assert fetched == [["emotion", "video_001"]]


def test_one_clip_a_row_group_and_nothing_twice(built: Path, shards: Shards) -> None:
    keys = []
    for file in sorted(built.glob("*/*.parquet")):
        metadata = pq.ParquetFile(file)
        assert all(
            metadata.metadata.row_group(n).num_rows == 1 for n in range(metadata.num_row_groups)
        )
        keys += metadata.read(columns=["key"]).column("key").to_pylist()
    named = [i for split in shards.splits for item in shards.items(split) for i in (item.speaker,)]
    assert sorted(keys) == sorted(named)
    assert len(set(keys)) == len(keys)


def test_items_are_pairs_then_mirrored_pairs(release: Path, shards: Shards) -> None:
    pairs = Release.open(release).pairs["train"]
    items = shards.items("train")
    assert [(i.speaker, i.listener) for i in items] == [
        *((f"train/{p.speaker}", f"train/{p.listener}") for p in pairs),
        *((f"train/{p.listener}", f"train/{p.speaker}") for p in pairs),
    ]
    assert [item.index for item in items] == list(range(2 * len(pairs)))


def test_a_pickled_set_reads_the_same(shards: Shards) -> None:
    key = shards.items("val")[0].speaker
    again = pickle.loads(pickle.dumps(shards))
    np.testing.assert_array_equal(again.read(key)["video"], shards.read(key)["video"])


@pytest.mark.parametrize("codec", ["jpeg", "h264", "jpeg:80", "h264:20"])
@pytest.mark.parametrize("size", [32, 224])
def test_codecs_decode_any_part_of_a_segment(codec: str, size: int) -> None:
    y, x = np.mgrid[:size, :size] / size
    t = np.arange(SEGMENT_FRAMES)[:, None, None]
    channels = (128 + 90 * np.sin(4 * x + t / 9), 128 + 90 * np.cos(3 * y - t / 7), 255 * x + 0 * t)
    frames = np.stack(channels, -1).astype(np.uint8)
    chosen = codec_named(codec)
    data = chosen.encode(frames)
    whole = np.empty_like(frames)
    chosen.decode(data, 0, whole)
    assert np.abs(whole.astype(int) - frames).mean() < (5 if size == 32 else 3)
    for start, stop in ((0, 1), (5, 20), (31, 32)):
        part = np.empty_like(frames[start:stop])
        chosen.decode(data, start, part)
        np.testing.assert_array_equal(part, whole[start:stop])


@pytest.mark.parametrize("codec", ["png", "jpeg:0", "jpeg:x", "h264:52"])
def test_unknown_codecs_are_refused(codec: str) -> None:
    with pytest.raises(InputError):
        codec_named(codec)


def test_an_unfinished_set_cannot_be_opened(set_copy: Path) -> None:
    (set_copy / "manifest.json").unlink()
    with pytest.raises(InputError, match=r"no manifest\.json.*data build"):
        Shards.open(set_copy)


def test_an_edited_manifest_is_refused(set_copy: Path) -> None:
    file = set_copy / "manifest.json"
    values = json.loads(file.read_text())
    values["image_size"] = 64
    file.write_text(json.dumps(values))
    with pytest.raises(InputError, match="fingerprint"):
        Shards.open(set_copy)
    file.write_text("{")
    with pytest.raises(InputError, match="damaged"):
        Shards.open(set_copy)


def test_a_missing_or_short_shard_is_named_on_opening(set_copy: Path) -> None:
    file = set_copy / "train/00001.parquet"
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    with pytest.raises(DataError, match=r"train/00001\.parquet: has"):
        Shards.open(set_copy)
    file.unlink()
    with pytest.raises(DataError, match=r"train/00001\.parquet: is missing"):
        Shards.open(set_copy)


@pytest.mark.parametrize("column", ["video_001", "audio", "coefficients"])
def test_a_flipped_byte_is_named_with_file_row_group_and_clip(set_copy: Path, column: str) -> None:
    file = set_copy / "train/00001.parquet"
    flip_byte(file, 2, column)
    shards = Shards.open(set_copy)
    key = shards.manifest.splits["train"].shards[1].clips[2][0]
    expected = rf"train/00001\.parquet: row group 2 \({key}\) is damaged"
    with pytest.raises(DataError, match=expected):
        Shards.open(set_copy, verify=True)
    with pytest.raises(DataError, match=expected):
        shards.read(key)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.floats(0, 1), st.integers(1, 32), st.integers(0, 99))
def test_damage_anywhere_in_a_shard_is_one_named_error_or_none(
    built: Path, set_copy: Path, where: float, size: int, seed: int
) -> None:
    """Any clip reads as it was, or the error names the file and the clip."""
    name = "val/00000.parquet"
    good = (built / name).read_bytes()
    place = int(where * (len(good) - size))
    noise = random.Random(seed).randbytes(size)
    (set_copy / name).write_bytes(good[:place] + noise + good[place + size :])
    damaged, whole = Shards.open(set_copy), Shards.open(built)
    for key, _ in whole.manifest.splits["val"].shards[0].clips:
        refused, got = "", {}
        try:
            got = damaged.read(key)
        except DataError as error:
            refused = error.line()
        if refused:
            assert name in refused
            assert key in refused
        for column, value in got.items():
            np.testing.assert_array_equal(value, whole.read(key)[column])


def test_changed_neighbours_are_refused(set_copy: Path) -> None:
    file = set_copy / "val/neighbours.npy"
    matrix = np.load(file)
    buffer = io.BytesIO()
    np.save(buffer, ~matrix)
    file.write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match=r"neighbours\.npy: does not match its hash"):
        Shards.open(set_copy).neighbours("val")


def test_unknown_splits_clips_frames_and_columns_are_refused(shards: Shards) -> None:
    key = shards.items("val")[0].speaker
    with pytest.raises(InputError, match="there are train, val, test"):
        shards.items("dev")
    with pytest.raises(InputError, match="no clip"):
        shards.read("val/x")
    with pytest.raises(InputError, match="not 0 to 45"):
        shards.read(key, 0, 45)
    with pytest.raises(InputError, match="no column 'text'"):
        shards.read(key, columns=("text",))


def test_the_first_frame_is_a_lossless_picture(built: Path) -> None:
    table = pq.read_table(built / "val/00000.parquet", columns=["first_frame"])
    data = table.column("first_frame")[0].as_py()
    assert Image.open(io.BytesIO(data)).format == "PNG"
