"""What a terminal shows of a run, with and without `-v`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.train.runs import write_config


@pytest.mark.parametrize("verbose", [False, True])
def test_libraries_speak_when_asked_to_and_no_line_comes_twice(
    small_shards: str, tmp_path: Path, tracker: str, verbose: bool
) -> None:
    config = write_config(tmp_path, small_shards, epochs=2)
    command = ["train", str(config), "--tracking", tracker]
    done = subprocess.run(
        [sys.executable, "-m", "reactdist.cli", *(["-v"] if verbose else []), *command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, timeout=240,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len([line for line in lines if "ZeRO stage 0, 1 worker(s)" in line]) == 1
    assert len([line for line in lines if line.startswith("small: epoch 2 step")]) == 1
    assert ("DeepSpeed info" in done.stdout) == verbose
    assert len(lines) == 4 or verbose
