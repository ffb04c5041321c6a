"""The live line of a run whose rank 0 is in another process: a small file between the two."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from reactdist.train.loop import Reporter, StepRecord
from reactdist.train.reporters import ConsoleReporter

LIVE = "live.json"
"""In the run's log folder: the last step, written over and over by rank 0."""
_PERIOD_S = 0.5


class LiveFile(Reporter):
    """Writes the last step for whoever follows the run, twice a second at most."""

    def __init__(self, log_folder: Path) -> None:
        self.file = log_folder / LIVE
        self._written = 0.0

    def step(self, record: StepRecord) -> None:
        now = time.monotonic()
        if now - self._written < _PERIOD_S:
            return
        self._written = now
        partial = self.file.with_suffix(".partial")
        with contextlib.suppress(OSError):  # only a picture of progress: a full disk may have it
            partial.write_text(json.dumps(dataclasses.asdict(record)))
            os.replace(partial, self.file)


@contextlib.contextmanager
def following(log_folder: Path, name: str) -> Iterator[None]:
    """Show the live line and what is added to rank 0's log until the block ends."""
    path = log_folder / "rank-0.log"
    done = threading.Event()
    with ConsoleReporter(name) as screen:
        follower = _Follower(log_folder, path.stat().st_size if path.exists() else 0, screen)
        thread = threading.Thread(target=follower.run, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


class _Follower:
    def __init__(self, log_folder: Path, position: int, screen: ConsoleReporter) -> None:
        self.log = log_folder / "rank-0.log"
        self.live = log_folder / LIVE
        self.position = position
        self.screen = screen
        # What an earlier attempt left says nothing about this one.
        self.shown = self._live()

    def run(self, done: threading.Event) -> None:
        while not done.wait(_PERIOD_S):
            self._look()
        self._look()

    def _look(self) -> None:
        if self.log.exists():
            with self.log.open("rb") as file:
                file.seek(self.position)
                whole, newline, _ = file.read().rpartition(b"\n")
            self.position += len(whole) + len(newline)
            for line in whole.decode(errors="replace").splitlines():
                self.screen.say(line.split(" ", 3)[-1])  # without date, time and level
        text = self._live()
        if text != self.shown:
            self.shown = text
            self.screen.step(StepRecord(**json.loads(text)))

    def _live(self) -> str:
        try:
            return self.live.read_text()
        except OSError:
            return ""
