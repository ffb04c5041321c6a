"""A run on a file system that is really full: it goes on, tells, tries again, and never lies."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train.runs import (
    finish,
    points,
    same,
    saved_steps,
    start,
    wait_until,
    weights,
    write_config,
)

pytestmark = pytest.mark.slow

CHANGES = {
    "epochs": 24,  # two steps each, an evaluation every fourth
    "validation": {"items": 2, "frames": 24, "every_epochs": 2, "num_samples": 2},
}


class Disk:
    """A small file system; something else fills it, to the last byte whatever is removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Held open: whatever happens to the mount, nothing is written to the machine's own disk.
        self._file = (folder / "filler").open("ab", buffering=0)
        self._done = threading.Event()
        self._filler: threading.Thread | None = None

    def fill(self) -> None:
        """Fill it, and go on filling it."""
        self._done.clear()
        self._write(1 << 16)
        self._filler = threading.Thread(target=self._keep_full, daemon=True)
        self._filler.start()

    def free(self) -> None:
        """Remove what fills it."""
        self._done.set()
        if self._filler is not None:
            self._filler.join()
        self._file.truncate(0)

    def close(self) -> None:
        """Free it for good."""
        self.free()
        self._file.close()

    def _keep_full(self) -> None:
        while not self._done.wait(0.005):
            self._write(512)

    def _write(self, size: int) -> None:
        with contextlib.suppress(OSError):
            while self._file.write(b"0" * size):
                pass


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Of 8 MB; room for some twenty checkpoints of the small run."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"a file system that can be full must be mounted: {mounted.stderr.strip()}")
    with contextlib.closing(Disk(folder)) as made:
        yield made
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_during_a_run(
    disk: Disk, small_shards: str, tmp_path: Path, tracker: str
) -> None:
    (tmp_path / "other").mkdir()
    finish(start(write_config(tmp_path / "other", small_shards, **CHANGES), tracker + ".other"))
    config = write_config(disk.folder, small_shards, **CHANGES)
    run = disk.folder / "runs" / "small"

    # Never freed: the run trains to its end, and says that it is not saved.
    process = start(config, tracker)
    wait_until(lambda: bool(saved_steps(run)), process)
    disk.fill()
    out = process.communicate(timeout=300)[0]
    assert process.returncode not in (0, 75), out[-2000:]
    # Which write meets the full disk first decides who words the reason.
    assert "checkpoint could not be written (" in out
    assert "No space left on device" in out
    assert "training goes on and the next save tries again" in out
    assert out.splitlines()[-1].startswith("reactdist: ")
    assert "free space and run the same command" in out.splitlines()[-1]
    assert "Traceback" not in out
    assert not (run / "finished.json").exists()
    logged = points(tracker, "tests", "small")["loss.total"]
    assert logged == list(range(1, len(logged) + 1))
    assert len(logged) == 48
    disk.free()

    # Full in the middle, and freed: what was not written then is written later.
    process = start(config, tracker)
    assert process.stdout is not None
    said = []
    log = run / "log" / "rank-0.log"
    wait_until(lambda: "resumed from" in log.read_text(), process)
    disk.fill()
    for line in process.stdout:
        said.append(line)
        if "training goes on" in line:
            break
    disk.free()
    said.append(process.communicate(timeout=300)[0])
    assert process.returncode == 0, "".join(said)[-2000:]
    assert "training goes on" in "".join(said)
    assert same(weights(run), weights(tmp_path / "other" / "runs" / "small"))
    assert {"model.safetensors", "config.yaml"} <= set(os.listdir(run / "best"))
    assert points(tracker, "tests", "small")["loss.total"] == logged
