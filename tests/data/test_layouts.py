"""Every layout in use gives the same clips as the published one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rewrite
import soundfile

from reactdist.data.bench_features import frame_by_frame
from reactdist.data.check import check
from reactdist.data.clip import ClipSettings, encode_clip
from reactdist.data.codec import Jpeg
from reactdist.data.inspection import PairTask, inspect_pair
from reactdist.data.release import Release
from reactdist.errors import DataError, InputError
from reactdist.schema import FRAME_RATE_HZ

SETTINGS = ClipSettings(32, Jpeg(), (0.0,) * 58)
EXACT = [
    rewrite.video_as_pictures,
    rewrite.video_packed,
    rewrite.video_renamed,
    rewrite.without_split_folders,
    rewrite.emotion_by_person,
    rewrite.coefficients_flat,
    rewrite.audio_mono,
    rewrite.lists_without_index_column,
    rewrite.index_with_udiva,
]


def rows(root: Path, split: str = "val") -> dict[str, dict[str, object]]:
    """Encoded clips of a split, without what names the source files."""
    release = Release.open(root)
    found = {}
    for clip in release.clips(split):
        row = encode_clip(release.files(split, clip), SETTINGS)
        del row["source"]
        found[clip] = row
    return found


@pytest.mark.parametrize("layout", EXACT, ids=lambda layout: layout.__name__)
def test_every_layout_gives_the_same_clips(
    release: Path, copied: Path, layout: Callable[[Path], None]
) -> None:
    layout(copied)
    assert rows(copied) == rows(release)
    report = check(copied, splits=("val",))
    assert report.findings == ()


def test_files_a_frame_short_are_cut_to_the_shortest_and_noted(release: Path, copied: Path) -> None:
    rewrite.coefficients_one_frame_short(copied)
    whole, short = rows(release), rows(copied)
    for clip, row in short.items():
        assert row["num_frames"] == whole[clip]["num_frames"] - 1
        for name, width in (("audio", 78), ("emotion", 25), ("coefficients", 58)):
            assert row[name] == whole[clip][name][: -4 * width]
    report = check(copied)
    assert report.ok
    assert {f.severity for f in report.findings} == {"note"}


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_audio_of_any_rate_and_channels(
    release: Path, tmp_path: Path, rate: int, channels: int
) -> None:
    opened = Release.open(release)
    files = opened.files("val", opened.clips("val")[0])
    shape = (rate * 44 // FRAME_RATE_HZ, channels)
    samples = np.random.default_rng(rate).uniform(-0.5, 0.5, shape)
    wav = tmp_path / "1.wav"
    soundfile.write(wav, samples, rate)
    changed = replace(files, audio=wav)
    assert inspect_pair(PairTask("val", changed, files, decode=False)).findings == ()
    stored, _ = soundfile.read(wav, always_2d=True)
    expected = frame_by_frame(stored.mean(1).astype(np.float32), rate, 44)
    got = np.frombuffer(encode_clip(changed, SETTINGS)["audio"], np.float32).reshape(44, 78)
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_a_person_keeps_their_emotion_in_both_directions(release: Path, copied: Path) -> None:
    """A fork maps "whoever speaks" to P1, which gives mirrored items the wrong person's labels."""
    rewrite.emotion_by_person(copied)
    by_person, by_role = Release.open(copied), Release.open(release)
    seen = set()
    for split, pairs in by_person.pairs.items():
        for pair in [*pairs, *(pair.mirrored() for pair in pairs)]:
            for clip in (pair.speaker, pair.listener):
                role = clip.split("/")[-2]
                seen.add((clip.split("/")[0], role))
                found = by_person.files(split, clip).emotion
                assert found.parent.name == ("P1" if role in rewrite.FIRST_PERSONS else "P2")
                assert found.read_bytes() == by_role.files(split, clip).emotion.read_bytes()
    assert {site for site, _ in seen} == {"NoXI", "RECOLA"}


def test_lists_may_lie_elsewhere(release: Path, copied: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    for file in copied.glob("*.*"):
        file.rename(lists / file.name)
    with pytest.raises(InputError, match="--lists"):
        Release.open(copied)
    moved = Release.open(copied, lists=lists)
    assert moved.pairs == Release.open(release).pairs
    assert moved.matrix_path == lists / "Approprirate_facial_reaction.npy"


@pytest.mark.parametrize(
    "path", ["../x/s/r/1", "/etc/s/r/1", "a/../../b/1", "a//b/1", "a/./b/1", "a\\b/s/r/1", "a/b/1"]
)
def test_paths_that_leave_the_release_are_refused(copied: Path, path: str) -> None:
    (copied / "val.csv").write_text(
        f",speaker_path,listener_path\n0,{path},NoXI/s/Novice_video/1\n"
    )
    with pytest.raises(DataError, match=r"val\.csv line 2"):
        Release.open(copied)
