"""Builds: what is bad is left out and said, lists and matrix follow, killed builds resume."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dying
import numpy as np
import pytest

from reactdist.data.build import build, make_plan
from reactdist.data.lists import read_index
from reactdist.data.neighbours import cut
from reactdist.data.release import Release
from reactdist.data.shard_task import ShardTask, read_record, run_task
from reactdist.data.shards import Shards
from reactdist.errors import DataError, InputError

SMALL = {"image_size": 32, "pairs_a_shard": 2}


def tree(folder: Path) -> dict[str, str]:
    """sha256 of every file below."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_bad_clips_are_left_out_and_everything_follows(copied: Path, tmp_path: Path) -> None:
    opened = Release.open(copied)
    pairs = opened.pairs["train"]
    bad = opened.files("train", pairs[1].listener)
    values = np.load(bad.coefficients)
    values[3, 0, 3] = np.nan
    np.save(bad.coefficients, values)
    opened.files("train", pairs[2].speaker).audio.unlink()
    shards = build(copied, tmp_path / "out", **SMALL)
    kept = [pairs[0], *pairs[3:]]
    items = shards.items("train")
    assert [i.speaker for i in items[: len(kept)]] == [f"train/{p.speaker}" for p in kept]
    assert [i.speaker for i in items[len(kept) :]] == [f"train/{p.listener}" for p in kept]
    matrix = np.load(copied / "Approprirate_facial_reaction.npy")
    expected = cut(matrix, read_index(copied / "data_indices.csv"), kept)
    np.testing.assert_array_equal(shards.neighbours("train"), expected)
    reasons = dict(shards.manifest.splits["train"].left_out)
    assert "not finite" in reasons[f"train/{pairs[1].listener}"]
    assert "other person" in reasons[f"train/{pairs[1].speaker}"]
    assert "missing" in reasons[f"train/{pairs[2].speaker}"]
    assert len(reasons) == 4
    # Where the release lay is no part of the set.
    assert str(copied) not in (tmp_path / "out/manifest.json").read_text()
    with pytest.raises(InputError, match="no clip"):
        shards.frames(f"train/{pairs[1].speaker}")


def test_strict_refuses_and_leaves_no_set(copied: Path, tmp_path: Path) -> None:
    opened = Release.open(copied)
    opened.files("val", opened.clips("val")[0]).emotion.unlink()
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"val/.*cannot be used.*emotion"):
        build(copied, out, strict=True, **SMALL)
    assert not (out / "manifest.json").exists()
    build(copied, out, **SMALL)
    with pytest.raises(DataError, match="cannot be used"):
        build(copied, out, strict=True, **SMALL)


def test_a_pair_listed_twice_or_unknown_to_the_index_is_left_out(
    copied: Path, tmp_path: Path
) -> None:
    header, first, *rest = (copied / "val.csv").read_text().splitlines()
    (copied / "val.csv").write_text("\n".join([header, first, *rest, first]))
    site, session, *_, number = Release.open(copied).pairs["test"][0].speaker.split("/")
    index = (copied / "data_indices.csv").read_text().splitlines()
    renamed = [
        f"{row}0" if row.lower() == f"{site},{session},{number}".lower() else row for row in index
    ]
    (copied / "data_indices.csv").write_text("\n".join(renamed))
    shards = build(copied, tmp_path / "out", **SMALL)
    assert len(shards.items("val")) == 2 * (1 + len(rest))
    assert ["listed twice" in why for _, why in shards.manifest.splits["val"].left_out] == [True]
    (why,) = [why for _, why in shards.manifest.splits["test"].left_out]
    assert "index" in why
    assert len(shards.neighbours("test")) == len(shards.items("test"))


def test_without_a_matrix_there_are_no_neighbours(copied: Path, tmp_path: Path) -> None:
    (copied / "Approprirate_facial_reaction.npy").unlink()
    shards = build(copied, tmp_path / "out", **SMALL)
    with pytest.raises(InputError, match="no appropriateness matrix"):
        shards.neighbours("val")


def test_a_finished_build_is_not_done_again(built: Path, release: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in built.rglob("*")}
    again = build(release, built, **SMALL)
    assert again.fingerprint == Shards.open(built).fingerprint
    assert {file: file.stat().st_mtime_ns for file in built.rglob("*")} == before


def test_another_build_in_the_same_folder_is_refused(built: Path, release: Path) -> None:
    with pytest.raises(InputError, match="other settings"):
        build(release, built, image_size=64, pairs_a_shard=2)


def test_processes_and_their_number_do_not_change_a_byte(
    built: Path, release: Path, tmp_path: Path
) -> None:
    build(release, tmp_path / "one", workers=1, **SMALL)
    assert tree(tmp_path / "one") == tree(built)


def test_files_that_are_no_release_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        build(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(InputError, match=r"train\.csv"):
        build(tmp_path, tmp_path / "out")


def test_short_clips_are_left_out_when_asked(release: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no pair that can be used.*at least 64"):
        build(release, tmp_path / "out", min_frames=64, **SMALL)


def test_a_build_goes_on_where_it_stopped(built: Path, release: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tasks = make_plan(
        release, out, image_size=32, codec="jpeg", lists=None,
        splits=("train", "val", "test"), min_frames=1, pairs_a_shard=2,
    ).tasks  # fmt: skip
    run_task(tasks[0])
    (out / "train/00001.parquet.writing").write_bytes(b"half a shard")
    done = (out / tasks[0].file).stat().st_mtime_ns
    build(release, out, **SMALL)
    assert (out / tasks[0].file).stat().st_mtime_ns == done
    assert tree(out) == tree(built)


def test_two_builders_of_one_shard_do_not_disturb_each_other(
    built: Path, release: Path, tmp_path: Path
) -> None:
    """A task may outlive its killed build and run beside the next one's."""
    task = make_plan(
        release, tmp_path / "out", image_size=32, codec="jpeg", lists=None,
        splits=("train",), min_frames=1, pairs_a_shard=2,
    ).tasks[0]  # fmt: skip
    together = threading.Barrier(2)

    def build_one(_: int) -> str:
        together.wait()
        shard = run_task(task).shard
        assert shard is not None
        return shard.sha256

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(build_one, range(2)))) == 1
    assert (tmp_path / "out" / task.file).read_bytes() == (built / task.file).read_bytes()
    assert not list(tmp_path.rglob("*.writing"))


def test_what_a_killed_build_left_in_a_finished_set_goes(
    built: Path, release: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(built, tmp_path / "out"))
    (out / "building").mkdir()
    (out / "building/train-00000.json").write_text("{}")
    (out / "train/00000.parquet.0badcafe.writing").write_bytes(b"half a shard")
    build(release, out, **SMALL)
    assert tree(out) == tree(built)


def test_a_clip_that_kills_its_decoder_is_left_out(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes are real; only what they try is replaced by something that kills them."""
    from reactdist.data import build as module

    tasks = make_plan(
        release, tmp_path / "out", image_size=32, codec="jpeg", lists=None,
        splits=("val",), min_frames=1, pairs_a_shard=2,
    ).tasks  # fmt: skip
    monkeypatch.setattr(module, "try_clip", dying.try_or_die)
    result = module.without_killers(tasks[0])
    (killer, why), (partner, _) = result.left_out
    assert killer.endswith("Expert_video/1")
    assert "ended the process" in why
    assert partner.endswith("Novice_video/1")
    assert result.shard is not None
    assert len(result.shard.clips) == 2


BUILD = """
import sys
from reactdist.data.build import build
if __name__ == "__main__":
    build(sys.argv[1], sys.argv[2], image_size=32, pairs_a_shard=1, workers=2)
"""


@pytest.mark.slow
def test_a_killed_build_resumes_to_the_same_bytes(release: Path, tmp_path: Path) -> None:
    """kill -9 of the whole process group after each further shard, until it gets through."""
    script = tmp_path / "run.py"
    script.write_text(BUILD)
    out, whole = tmp_path / "killed", tmp_path / "whole"
    kills = 0
    for wanted in (1, 3, 6):
        child = subprocess.Popen([sys.executable, script, release, out], start_new_session=True)
        while child.poll() is None and len(list(out.glob("building/*.json"))) < wanted:
            time.sleep(0.005)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            kills += 1
        child.wait()
        assert not (out / "manifest.json").exists() or child.returncode == 0
    assert kills >= 2
    subprocess.run([sys.executable, script, release, out], check=True)
    build(release, whole, image_size=32, pairs_a_shard=1)
    assert tree(out) == tree(whole)


def test_a_shard_is_built_again_when_its_files_changed(copied: Path, tmp_path: Path) -> None:
    """Records of an unfinished build hold only for the files they were made from."""

    def plan() -> list[ShardTask]:
        return list(
            make_plan(
                copied, tmp_path / "out", image_size=32, codec="jpeg", lists=None,
                splits=("val",), min_frames=1, pairs_a_shard=1,
            ).tasks
        )  # fmt: skip

    first, second = plan()
    for task in (first, second):
        run_task(task)
        assert read_record(task) is not None
    audio = first.groups[0].files[0].audio
    audio.write_bytes(audio.read_bytes()[:-200])
    assert [read_record(task) is not None for task in plan()] == [False, True]


def test_any_pyarrow_filesystem(built: Path, release: Path, tmp_path: Path) -> None:
    """A URI goes through pyarrow's filesystem layer, as s3:// does."""
    uri = (tmp_path / "remote").as_uri()
    shards = build(release, uri, **SMALL)
    assert shards.fingerprint == Shards.open(built).fingerprint
    assert Shards.open(uri, verify=True).items("val") == shards.items("val")
    with pytest.raises(InputError, match="gopher"):
        build(release, "gopher://x/y", **SMALL)
