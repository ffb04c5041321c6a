"""Checkpoints exist whole or not at all, and damage is found by hash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from reactdist.checkpoints import find_checkpoints, latest_valid, verify, write_checkpoint
from reactdist.checkpoints.keep import is_protected, protect
from reactdist.errors import DataError, StorageError


def _write(root: Path, step: int, value: float = 1.0) -> Path:
    tensors = {"model": {"w": torch.full((64, 8), value)}, "optimizer": {"step": torch.ones(())}}
    return write_checkpoint(
        root, step, tensors=tensors, state={"epoch": 1}, config_yaml="a: 1"
    ).path


def test_a_mark_stays_when_the_step_is_written_again(tmp_path: Path) -> None:
    protect(_write(tmp_path, 7, 1.0), "promoted")
    assert is_protected(_write(tmp_path, 7, 2.0))
    verify(_write(tmp_path, 7, 3.0))
    assert not is_protected(_write(tmp_path, 8, 2.0))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    _write(tmp_path, 7, 2.5)
    found = latest_valid(tmp_path)
    assert found is not None
    assert found.step == 7
    assert torch.equal(found.tensors("model")["w"], torch.full((64, 8), 2.5))
    assert found.tensors("ema") == {}
    assert found.state == {"step": 7, "epoch": 1}


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
def test_a_damaged_newest_is_named_and_the_one_before_is_used(
    tmp_path: Path, file: str, damage: str
) -> None:
    _write(tmp_path, 1)
    victim = _write(tmp_path, 2) / file
    content = bytearray(victim.read_bytes())
    if damage == "delete":
        victim.unlink()
    elif damage == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
    said: list[str] = []
    found = latest_valid(tmp_path, said.append)
    assert found is not None
    assert found.step == 1
    assert len(said) == 1
    assert file in said[0]
    with pytest.raises(DataError, match=file):
        verify(tmp_path / "step-00000002")


def test_a_folder_without_manifest_is_never_picked(tmp_path: Path) -> None:
    (_write(tmp_path, 3) / "manifest.json").unlink()
    assert find_checkpoints(tmp_path) == []


def test_nothing_half_written_stays_when_the_write_fails(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StorageError, match="could not be written"):
        _write(blocked / "checkpoints", 1)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_same_step_written_again_replaces_it(tmp_path: Path) -> None:
    _write(tmp_path, 4, 1.0)
    _write(tmp_path, 4, 9.0)
    found = latest_valid(tmp_path)
    assert found is not None
    assert float(found.tensors("model")["w"][0, 0]) == 9.0
    assert len(find_checkpoints(tmp_path)) == 1


def test_kill_9_while_writing_leaves_only_whole_checkpoints(tmp_path: Path) -> None:
    code = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from reactdist.checkpoints import write_checkpoint\n"
        "root = Path(sys.argv[1])\n"
        "for step in range(1, 10000):\n"
        "    tensors = {'model': {'w': torch.full((500_000,), float(step))}}\n"
        "    write_checkpoint(root, step, tensors=tensors, state={}, config_yaml='')\n"
        "    print(step, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 3:
        pass
    time.sleep(0.013)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    found = find_checkpoints(tmp_path)
    assert len(found) >= 3
    for checkpoint in found:
        verify(checkpoint.path)
        step = json.loads((checkpoint.path / "manifest.json").read_text())["step"]
        assert float(checkpoint.tensors("model")["w"][0]) == step
