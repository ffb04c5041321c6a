"""Who hears of a run's progress: a live line for a person, MLflow for the record."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskID
from rich.text import Text

from reactdist.train.logfile import evaluated_line, started_line
from reactdist.train.loop import Evaluation, Reporter, StepRecord


class MetricSink(Protocol):
    """The part of `reactdist.tracking.Run` that is needed here."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...


class TrackerReporter(Reporter):
    """Curves in MLflow: losses every `every` steps, speed since the point before, metrics at each
    evaluation, and how long training stood still for a checkpoint."""

    def __init__(self, run: MetricSink, every: int) -> None:
        self.run = run
        self.every = every
        self._seconds = self._waited = self._clips = 0.0

    def step(self, record: StepRecord) -> None:
        self._seconds += record.seconds
        self._waited += record.data_seconds
        self._clips += record.clips
        if record.step % self.every == 0 or record.step == record.total_steps:
            values = {f"loss.{name}": value for name, value in record.losses.items()}
            values |= {
                "lr": record.lr,
                "clips_per_s": self._clips / self._seconds,
                "data_wait_share": self._waited / self._seconds,
            }
            self._seconds = self._waited = self._clips = 0.0
            if record.skipped:
                values["skipped_items"] = record.skipped
            self.run.log_metrics(values, record.step)

    def evaluated(self, evaluation: Evaluation) -> None:
        values = {f"val.{name}": value for name, value in evaluation.metrics.items()}
        if evaluation.is_best:
            # The last point of these is the best model's: what tables and `promote` rank by.
            # Variants of a metric (its mean, its undefined items) stay with `val.`: few keys.
            best = {name: v for name, v in evaluation.metrics.items() if "_" not in name}
            values |= {f"best.{name}": value for name, value in best.items()}
        self.run.log_metrics({**values, "epoch": float(evaluation.epoch)}, evaluation.step)

    def saved(self, step: int, seconds: float) -> None:
        self.run.log_metrics({"checkpoint_s": seconds}, step)


class _LiveLine(ProgressColumn):
    """All in one text, which a narrow terminal wraps rather than cuts."""

    def render(self, task: Task) -> Text:
        left = task.time_remaining
        eta = "?" if left is None else timedelta(seconds=round(left))
        return Text(f"{task.description}, ETA {eta} | {task.fields['losses']}")


class ConsoleReporter(Reporter):
    """A live line on a terminal; one plain line an evaluation elsewhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.console = Console(stderr=True)
        self.bar = Progress(_LiveLine(), console=self.console, disable=not sys.stderr.isatty())
        self._task: TaskID | None = None

    def __enter__(self) -> ConsoleReporter:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def say(self, line: str) -> None:
        """A line that stays, above the live one."""
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)

    def started(self, facts: Mapping[str, Any]) -> None:
        """Say what trains."""
        self.say(started_line(self.name, facts))

    def step(self, record: StepRecord) -> None:
        wait = record.data_seconds / record.seconds
        text = (
            f"{self.name}: epoch {record.epoch} step {record.step}/{record.total_steps}, "
            f"{record.clips / record.seconds:.3g} clips/s, data wait {wait:.0%}"
        )
        losses = " ".join(f"{name} {value:.4g}" for name, value in record.losses.items())
        if self._task is None:
            # From the first step that is seen: a resumed run has not just done all before it.
            self._task = self.bar.add_task(
                text, total=record.total_steps, completed=record.step, losses=losses
            )
        self.bar.update(self._task, description=text, completed=record.step, losses=losses)

    def evaluated(self, evaluation: Evaluation) -> None:
        self.say(evaluated_line(self.name, evaluation))
