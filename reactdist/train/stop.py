"""Being asked to stop: by a signal to this process, or by the driver of a group of workers."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

_LOOK_EVERY_S = 0.5


class StopSignal:
    """Remembers SIGTERM and Ctrl-C so that the loop can stop between two steps.

    Signals are taken only in a process's main thread; elsewhere (a Tune trial) the scheduler that
    owns the process stops it.
    """

    def __init__(self) -> None:
        self.received = False
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._former[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.received

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C means now
        self.received = True


class StopFile:
    """The driver's wish to stop, for workers on any node: a file in the run's folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "stop-requested"

    def ask(self) -> None:
        """Ask the group to stop."""
        self.path.touch()

    def withdraw(self) -> None:
        """Take back what was asked, now or in an earlier attempt."""
        self.path.unlink(missing_ok=True)

    def asked(self) -> bool:
        """Whether the group is asked to stop; no, where storage does not answer."""
        return os.path.exists(self.path)

    @contextlib.contextmanager
    def watched(self) -> Iterator[Callable[[], bool]]:
        """Whether the group was asked, found out beside the loop: no step waits for storage."""
        seen, done = threading.Event(), threading.Event()

        def look() -> None:
            while not (seen.is_set() or done.wait(_LOOK_EVERY_S)):
                if self.asked():
                    seen.set()

        threading.Thread(target=look, name="stop-file", daemon=True).start()
        try:
            yield seen.is_set
        finally:
            done.set()
