"""Injected faults: every one is found, in the right file, and none in a clean release."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import dying
import numpy as np
import pytest
import rewrite
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactdist.data.check import check
from reactdist.data.clip import ClipSettings, encode_clip
from reactdist.data.codec import Jpeg
from reactdist.data.hashing import sha256_of
from reactdist.data.inspection import PairTask, inspect_pair
from reactdist.data.layouts.mp4 import Mp4Video
from reactdist.data.neighbours import load_matrix
from reactdist.data.release import ClipFiles, Release
from reactdist.errors import DataError, InputError
from reactdist.evaluate.clip_files import open_npy

SMALL = ClipSettings(32, Jpeg(), (0.0,) * 58)
MODALITIES = ("video", "audio", "emotion", "coefficients")


@pytest.fixture(scope="module")
def pair(release: Path) -> tuple[ClipFiles, ClipFiles]:
    opened = Release.open(release)
    first = opened.pairs["val"][0]
    return opened.files("val", first.speaker), opened.files("val", first.listener)


def faults_of(
    pair: tuple[ClipFiles, ClipFiles], modality: str, file: Path, decode: bool = False
) -> list[str]:
    """Kinds found in `file` put in the place of one of the speaker's files."""
    damaged = replace(pair[0], **{modality: file})
    result = inspect_pair(PairTask("val", damaged, pair[1], decode))
    found = [*result.findings, *result.uneven, *result.unterminated]
    assert all(finding.modality == modality for finding in found), found
    assert all(finding.file == str(file) or file.is_dir() for finding in found)
    return [finding.kind for finding in found]


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def changed(values: np.ndarray, place: tuple[int, ...], value: float) -> np.ndarray:
    values = values.copy()
    values[place] = value
    return values


def csv_rows(data: bytes, change: Callable[[list[list[str]]], None]) -> bytes:
    rows = [line.split(",") for line in data.decode().splitlines()]
    change(rows)
    return ("\n".join(",".join(row) for row in rows) + "\n").encode()


def set_cell(row: int, column: int, text: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        rows[row][column] = text

    return change


COEFFICIENTS = {
    "dropped rows": ("length", lambda a: npy(a[:-9])),
    "one row dropped": ("length", lambda a: npy(a[:-1])),
    "wrong width": ("wrong-shape", lambda a: npy(a[..., :57])),
    "wrong rank": ("wrong-shape", lambda a: npy(a[..., None])),
    "integers": ("wrong-shape", lambda a: npy(a.astype(int))),
    "NaN": ("non-finite", lambda a: npy(changed(a, (30, 0, 3), np.nan))),
    "infinite": ("non-finite", lambda a: npy(changed(a, (0, 0, 57), -np.inf))),
    "out of range": ("out-of-range", lambda a: npy(changed(a, (43, 0, 0), 1e6))),
}


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_faults_of_coefficients(
    pair: tuple[ClipFiles, ClipFiles], tmp_path: Path, name: str
) -> None:
    kind, damage = COEFFICIENTS[name]
    file = tmp_path / "1.npy"
    file.write_bytes(damage(np.load(pair[0].coefficients)))
    assert faults_of(pair, "coefficients", file) == [kind]


def test_pickled_arrays_are_never_loaded(pair: tuple[ClipFiles, ClipFiles], tmp_path: Path) -> None:
    file = tmp_path / "1.npy"
    np.save(file, np.array([Path("/")], dtype=object), allow_pickle=True)
    assert faults_of(pair, "coefficients", file) == ["damaged"]


EMOTION = {
    "dropped rows": ("length", lambda rows: rows.__delitem__(slice(20, 30))),
    "one row dropped": ("length", lambda rows: rows.__delitem__(20)),
    "wrong width": ("wrong-shape", lambda rows: [row.pop() for row in rows]),
    "one row wide": ("truncated", lambda rows: rows[7].append("0")),
    "columns exchanged": ("wrong-shape", lambda rows: rows[0].reverse()),
    "NaN": ("non-finite", set_cell(5, 15, "nan")),
    "empty cell": ("non-finite", set_cell(5, 20, "")),
    "text": ("damaged", set_cell(9, 3, "x")),
    "AU out of range": ("out-of-range", set_cell(9, 3, "2")),
    "valence out of range": ("out-of-range", set_cell(9, 15, "-1.5")),
    "probability out of range": ("out-of-range", set_cell(44, 24, "1.2")),
    "header only": ("empty", lambda rows: rows.__delitem__(slice(1, None))),
}


@pytest.mark.parametrize("name", EMOTION)
def test_faults_of_emotion(pair: tuple[ClipFiles, ClipFiles], tmp_path: Path, name: str) -> None:
    kind, change = EMOTION[name]
    file = tmp_path / "1.csv"
    file.write_bytes(csv_rows(pair[0].emotion.read_bytes(), change))
    assert faults_of(pair, "emotion", file) == [kind]


def test_faults_of_audio(pair: tuple[ClipFiles, ClipFiles], tmp_path: Path) -> None:
    samples, rate = soundfile.read(pair[0].audio, dtype="float32")
    file = tmp_path / "1.wav"
    soundfile.write(file, samples[: len(samples) // 3], rate)
    assert faults_of(pair, "audio", file) == ["length"]
    soundfile.write(file, changed(samples, (1000,), np.nan), rate, subtype="FLOAT")
    assert faults_of(pair, "audio", file) == ["non-finite"]
    soundfile.write(file, samples[:0], rate)
    assert faults_of(pair, "audio", file) == ["empty"]


def encode(path: Path, frames: list[np.ndarray], rate: int = 25) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def test_faults_of_mp4(pair: tuple[ClipFiles, ClipFiles], tmp_path: Path) -> None:
    frames = list(Mp4Video().frames(pair[0].video))
    file = tmp_path / "1.mp4"
    encode(file, frames)
    assert faults_of(pair, "video", file, decode=True) == []
    encode(file, frames[:-8])
    assert faults_of(pair, "video", file) == ["length"]
    encode(file, [frame[:128] for frame in frames])
    assert faults_of(pair, "video", file) == ["wrong-shape"]
    encode(file, frames, rate=30)
    assert faults_of(pair, "video", file) == ["wrong-shape"]


def test_undecodable_frames_are_found_by_decoding(
    pair: tuple[ClipFiles, ClipFiles], tmp_path: Path
) -> None:
    data = bytearray(pair[0].video.read_bytes())
    with av.open(str(pair[0].video)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    position, size = packets[30]
    middle = position + size // 2
    data[position + 5 : position + size] = bytes(size - 5)
    assert middle < len(data)
    file = tmp_path / "1.mp4"
    file.write_bytes(data)
    assert faults_of(pair, "video", file) == []
    assert faults_of(pair, "video", file, decode=True) == ["undecodable"]


def test_faults_of_pictures(copied: Path) -> None:
    rewrite.video_as_pictures(copied)
    opened = Release.open(copied)
    first = opened.pairs["val"][0]
    pair = opened.files("val", first.speaker), opened.files("val", first.listener)
    folder = pair[0].video
    middle, last = folder / "20.png", folder / "44.png"
    good = middle.read_bytes()
    assert faults_of(pair, "video", folder, decode=True) == []
    for kind, data in (("empty", b""), ("truncated", good[:-1]), ("damaged", b"\0" + good[1:])):
        middle.write_bytes(data)
        assert faults_of(pair, "video", folder) == [kind]
    middle.write_bytes(good[:200] + bytes(200) + good[400:])
    assert faults_of(pair, "video", folder, decode=True) == ["undecodable"]
    middle.unlink()
    assert faults_of(pair, "video", folder) == ["missing"]
    middle.write_bytes(good)
    last.unlink()
    assert faults_of(pair, "video", folder) == ["length"]


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(MODALITIES), st.floats(0, 1), st.booleans())
def test_files_cut_short_anywhere(
    pair: tuple[ClipFiles, ClipFiles],
    tmp_path: Path,
    modality: str,
    where: float,
    few_bytes: bool,
) -> None:
    source = pair[0].paths()[modality]
    data = source.read_bytes()
    kept = len(data) - 1 - int(where * (40 if few_bytes else len(data) - 1))
    file = tmp_path / f"1{source.suffix}"
    file.write_bytes(data[:kept])
    found = faults_of(pair, modality, file)
    assert found
    assert found[0] == "empty" if kept == 0 else found


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(MODALITIES), st.sampled_from([4, 8, 16, 32, 64, 128]), st.integers(0, 99))
def test_damaged_headers(
    pair: tuple[ClipFiles, ClipFiles], tmp_path: Path, modality: str, size: int, seed: int
) -> None:
    source = pair[0].paths()[modality]
    data = source.read_bytes()
    file = tmp_path / f"1{source.suffix}"
    file.write_bytes(random.Random(seed).randbytes(size) + data[size:])
    assert faults_of(pair, modality, file)


def test_an_opened_bracket_that_the_header_never_closes(
    pair: tuple[ClipFiles, ClipFiles], tmp_path: Path
) -> None:
    """numpy reads such a header with Python's tokenizer, which has an error type of its own."""
    data = pair[0].paths()["coefficients"].read_bytes()
    assert data.count(b"'shape': (") == 1
    file = tmp_path / "1.npy"
    file.write_bytes(data.replace(b"'shape': (", b"'shape': \xd8"))
    assert faults_of(pair, "coefficients", file)
    with pytest.raises(InputError, match="is not a plain npy array"):
        open_npy(file)
    with pytest.raises(InputError, match="cannot read the appropriateness matrix"):
        load_matrix(file)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(MODALITIES), st.floats(0, 1), st.integers(1, 64), st.integers(0, 99))
def test_damage_anywhere_crashes_neither_check_nor_build(
    pair: tuple[ClipFiles, ClipFiles],
    tmp_path: Path,
    modality: str,
    where: float,
    size: int,
    seed: int,
) -> None:
    source = pair[0].paths()[modality]
    data = source.read_bytes()
    place = int(where * (len(data) - size))
    file = tmp_path / f"1{source.suffix}"
    noise = random.Random(seed).randbytes(size)
    file.write_bytes(data[:place] + noise + data[place + size :])
    damaged = replace(pair[0], **{modality: file})
    result = inspect_pair(PairTask("val", damaged, pair[1], decode=True))
    refused = ""
    try:
        encode_clip(damaged, SMALL)
    except DataError as error:
        refused = error.line()
    if refused:  # then it names the file or the clip, and the check found it too
        assert str(file) in refused or damaged.key in refused
        assert [*result.findings, *result.uneven], refused


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.floats(0, 1), st.integers(0, 99))
def test_damage_inside_the_index_of_an_mp4_is_found_or_does_no_harm(
    pair: tuple[ClipFiles, ClipFiles], tmp_path: Path, where: float, seed: int
) -> None:
    data = pair[0].video.read_bytes()
    start = data.index(b"moov") + 4
    place = start + int(where * (len(data) - start - 8))
    file = tmp_path / "1.mp4"
    file.write_bytes(data[:place] + random.Random(seed).randbytes(8) + data[place + 8 :])
    if not faults_of(pair, "video", file):
        before, after = Mp4Video().frames(pair[0].video), Mp4Video().frames(file)
        for a, b in zip(before, after, strict=True):
            # The same picture; a damaged colour tag may tint it.
            assert np.abs(a.astype(int) - b).mean() < 10


def test_a_clean_release_has_no_findings(release: Path) -> None:
    report = check(release, decode=True)
    assert report.ok
    assert report.findings == ()
    assert report.num_files == 8 * sum(report.pairs.values())


def test_faults_are_named_by_clip(copied: Path) -> None:
    opened = Release.open(copied)
    clips = opened.clips("train")
    missing = opened.files("train", clips[0]).audio
    missing.unlink()
    short = opened.files("train", clips[3]).coefficients
    np.save(short, np.load(short)[:-1])
    unlisted = copied / "val/Audio_files/NoXI/999_x/Expert_video/1.wav"
    unlisted.parent.mkdir(parents=True)
    shutil.copy(opened.files("train", clips[1]).audio, unlisted)
    first, *rest = (copied / "test.csv").read_text().splitlines()
    (copied / "test.csv").write_text("\n".join([first, *rest, rest[0]]) + "\n")
    index = copied / "data_indices.csv"
    lines = index.read_text().splitlines()
    gone = lines.pop()
    index.write_text("\n".join(lines) + "\n")
    report = check(copied)
    found = {(f.kind, f.split, f.clip, f.modality) for f in report.problems}
    site, session, number = gone.split(",")
    assert {entry for entry in found if entry[0] == "not-in-index"}
    assert all(
        session in clip and clip.lower().startswith(site.lower()) and clip.endswith(f"/{number}")
        for kind, _, clip, _ in found
        if kind == "not-in-index"
    )
    assert {entry for entry in found if entry[0] != "not-in-index"} == {
        ("missing", "train", clips[0], "audio"),
        ("length", "train", clips[3], "coefficients"),
        ("unlisted", "val", "NoXI/999_x/Expert_video/1", "Audio_files"),
        ("listed-twice", "test", opened.pairs["test"][0].speaker, "list"),
        ("wrong-shape", "", "", "matrix"),
    }
    json.dumps(report.to_dict())


def test_a_pair_in_two_splits_is_found(copied: Path) -> None:
    """Whether or not each split has files of it."""
    stolen = Release.open(copied).pairs["train"][0]
    lines = (copied / "val.csv").read_text().splitlines()
    # In the other direction: it is the same recording.
    lines.append(f"{len(lines) - 1},{stolen.listener},{stolen.speaker}")
    (copied / "val.csv").write_text("\n".join(lines) + "\n")
    found = [f for f in check(copied, splits=("train", "val")).problems if f.modality == "list"]
    assert [(f.kind, f.split, f.clip) for f in found] == [("listed-twice", "val", stolen.listener)]


def test_a_decoder_that_dies_is_one_finding(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is real; only the function it runs is replaced by one that kills its process."""
    from reactdist.data import check as module

    monkeypatch.setattr(module, "inspect_pair", dying.inspect_or_die)
    report = check(release)
    assert {(f.kind, f.split) for f in report.problems} == {("undecodable", "val")}
    assert len(report.problems) == 2
    assert report.num_files == 8 * sum(report.pairs.values())


def test_flipped_bits_are_found_by_the_hashes_of_an_earlier_build(
    copied: Path, built: Path
) -> None:
    opened = Release.open(copied)
    first, second = opened.clips("train")[:2]
    flipped = set()
    for clip, modality in ((first, "audio"), (second, "coefficients")):
        file = opened.files("train", clip).paths()[modality]
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        flipped.add(("hash", clip, modality))
    assert check(copied).ok
    report = check(copied, hashes=built)
    assert {(f.kind, f.clip, f.modality) for f in report.problems} == flipped


def test_flipped_bits_are_found_by_the_hashes_of_the_release(copied: Path) -> None:
    files = sorted(file for file in copied.rglob("*") if file.is_file())
    lines = [f"{sha256_of(file)[0]}  {file.relative_to(copied)}" for file in files]
    (copied / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    assert check(copied, decode=True).ok
    opened = Release.open(copied)
    wav = opened.files("val", opened.clips("val")[0]).audio
    data = bytearray(wav.read_bytes())
    data[-3] ^= 1
    wav.write_bytes(data)
    report = check(copied, decode=True)
    assert [(f.kind, f.split, f.modality) for f in report.problems] == [("hash", "val", "audio")]
    (copied / "SHA256SUMS").write_text(f"{'0' * 64}  ../x\n")
    with pytest.raises(InputError, match="SHA256SUMS line 1"):
        check(copied, decode=True)
