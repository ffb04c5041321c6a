"""The commands as a user types them: exit codes, JSON, tables; and what bench computes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from reactdist.data.bench import Feed, compare_ways, processes_needed, psnr
from reactdist.data.commands import app
from reactdist.data.release import Release
from reactdist.errors import InputError


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    return result.exit_code, result.output


def test_check_of_a_clean_release_ends_with_0(release: Path) -> None:
    code, output = run("check", release, "--json")
    report = json.loads(output)
    assert (code, report["ok"], report["findings"]) == (0, True, [])


def test_check_of_a_damaged_release_ends_with_1_and_names_the_file(copied: Path) -> None:
    opened = Release.open(copied)
    file = opened.files("val", opened.clips("val")[0]).emotion
    file.write_bytes(b"")
    code, output = run("check", copied)
    assert code == 1
    assert "1 problems" in output
    assert "empty" in output
    code, output = run("check", copied, "--json")
    (finding,) = json.loads(output)["findings"]
    assert (code, finding["file"], finding["kind"]) == (1, str(file), "empty")


def test_info_shows_the_fingerprint_and_refuses_an_empty_folder(
    built: Path, tmp_path: Path
) -> None:
    fingerprint = json.loads((built / "manifest.json").read_text())["fingerprint"]
    code, output = run("info", built)
    assert code == 0
    assert fingerprint in output
    code, output = run("info", built, "--fast", "--json")
    assert json.loads(output)["fingerprint"] == fingerprint
    with pytest.raises(InputError, match="no finished shards"):
        run("info", tmp_path)


def test_bench_prints_the_loader_and_the_ways(built: Path) -> None:
    code, output = run("bench", built, "--batch", 2, "--crop", 32)
    assert code == 0
    for name in (
        "clips/s",
        "PNG folder",
        "packed npy",
        "jpeg",
        "h264",
        "step of 0.2 s",
        "frame by frame",
        "neighbours of",
    ):
        assert name in output


def test_psnr_of_a_known_error() -> None:
    a = np.zeros((4, 4))
    assert psnr(a, a) == math.inf
    assert psnr(a, a + 25.5) == pytest.approx(20)


def test_processes_needed_for_a_step() -> None:
    one = Feed(workers=1, first_batch_s=1, clips_per_s=8, mb_per_s=0)
    assert processes_needed(one, batch_size=16, step_s=0.5) == 4
    assert processes_needed(one, batch_size=1, step_s=10) == 1


def test_ways_are_sized_for_a_whole_clip() -> None:
    y, x = np.mgrid[:256, :256]
    frames = np.stack([np.stack([x, y, (x + y + t) // 2], -1) for t in range(40)])
    ways = {way.name: way for way in compare_ways(frames.astype(np.uint8), 36)}
    packed = ways["packed npy, whole"]
    assert packed.clip_bytes == pytest.approx(751 * 3 * 224 * 224 * 4, rel=1e-4)
    assert ways["jpeg 86"].psnr_luma_db > 40
    assert ways["jpeg 86"].clip_bytes < 0.03 * packed.clip_bytes
    assert ways["h264 15"].clip_bytes < 0.005 * packed.clip_bytes
