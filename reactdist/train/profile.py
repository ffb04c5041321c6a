"""A torch profiler trace of some steps, stored with the run."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from reactdist.train.loop import Reporter, StepRecord

log = logging.getLogger("reactdist.train")


class ArtifactSink(Protocol):
    """The part of `reactdist.tracking.Run` that is needed here."""

    def log_file(self, path: Path, artifact_path: str = "") -> None: ...


class ProfileReporter(Reporter):
    """Profiles steps `first` to `last`, counted from 1, of the rank it is given to."""

    def __init__(self, first: int, last: int, folder: Path, run: ArtifactSink) -> None:
        self.first, self.last = first, last
        self.file = folder / "profile" / f"steps-{first}-{last}.json.gz"
        self.run = run
        self._profiler: Any = None

    def started(self, facts: Mapping[str, Any]) -> None:
        """Nothing tells yet whether the next step is the first: a resumed run goes on later."""
        if self.first == 1:
            self._start()

    def step(self, record: StepRecord) -> None:
        """Start before the first step of the span, store after its last or the run's."""
        if record.step + 1 == self.first:
            self._start()
        elif self._profiler is not None:
            self._profiler.step()
            if record.step >= min(self.last, record.total_steps):
                self._profiler.stop()
                if record.step <= self.last:
                    self._store()
                self._profiler = None

    def close(self) -> None:
        """End a trace that the run did not live to complete: left running, it crashes the exit."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler = None

    def _start(self) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it greets on the terminal
        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._profiler = torch.profiler.profile(activities=activities)
        self._profiler.start()

    def _store(self) -> None:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._profiler.export_chrome_trace(str(self.file))
        except (OSError, RuntimeError) as error:  # a full disk must not end training
            log.warning("%s: trace not written (%s)", self.file, error)
            return
        self.run.log_file(self.file, "profile")
        log.info("trace of steps %d to %d: %s", self.first, self.last, self.file)
