"""`reactdist bench feed` as a user runs it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def feed(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reactdist.cli", "bench", "feed", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_says_how_each_source_feeds_the_loop(small_shards: str) -> None:
    options = ["--device", "cpu", "--crop", "32", "--steps", "3", "--bf16", "--workers", "1"]
    done = feed(small_shards, *options)
    assert done.returncode == 0, done.stderr
    assert "Steps of 4 x 32 frames at 40x40, online, bfloat16" in done.stdout
    rows = [
        line.strip("| ").split(" | ")
        for line in done.stdout.splitlines()
        if line.startswith("| ") and "ms" not in line
    ]
    assert [row[0] for row in rows] == ["resident", "repeated", "1 loaders"]
    for _, step_ms, clips_per_s, share, waiting in rows:
        assert float(step_ms) > 0
        assert float(share.rstrip("x")) == pytest.approx(
            float(clips_per_s) / float(rows[0][2]), abs=0.02
        )
        assert float(waiting.rstrip("%")) < 100


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["none"], "no finished shards"), (["none", "--device", "foo"], "no device 'foo' here")],
)
def test_what_is_not_there_is_one_line(arguments: list[str], said: str) -> None:
    done = feed(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
