"""Who hears of a run's progress: a live line for a person, MLflow for the record."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from reactdist.train.logfile import evaluated_line, started_line
from reactdist.train.loop import Evaluation, StepRecord


class MetricSink(Protocol):
    """The part of `reactdist.tracking.Run` that is needed here."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> None: ...


class TrackerReporter:
    """Curves in MLflow: loss terms every `every` steps, metrics at each evaluation."""

    def __init__(self, run: MetricSink, every: int) -> None:
        self.run = run
        self.every = every

    def started(self, facts: Mapping[str, Any]) -> None:
        """Curves need no facts."""

    def step(self, record: StepRecord) -> None:
        if record.step % self.every == 0 or record.step == record.total_steps:
            values = {f"loss.{name}": value for name, value in record.losses.items()}
            values |= {
                "lr": record.lr,
                "clips_per_s": record.clips / record.seconds,
                "data_wait_share": record.data_seconds / record.seconds,
            }
            self.run.log_metrics(values, record.step)

    def evaluated(self, evaluation: Evaluation) -> None:
        values = {f"val.{name}": value for name, value in evaluation.metrics.items()}
        if evaluation.is_best:
            # The last point of these is the best model's: what tables and `promote` rank by.
            # Variants of a metric (its mean, its undefined items) stay with `val.`: few keys.
            best = {name: v for name, v in evaluation.metrics.items() if "_" not in name}
            values |= {f"best.{name}": value for name, value in best.items()}
        self.run.log_metrics({**values, "epoch": float(evaluation.epoch)}, evaluation.step)


class ConsoleReporter:
    """A live line on a terminal; one plain line an evaluation elsewhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not sys.stderr.isatty(),
        )
        self._task = self.bar.add_task(name, total=None, detail="")

    def __enter__(self) -> ConsoleReporter:
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def started(self, facts: Mapping[str, Any]) -> None:
        """Say what trains."""
        self.console.print(started_line(self.name, facts), highlight=False, soft_wrap=True)

    def step(self, record: StepRecord) -> None:
        terms = " ".join(f"{n} {v:.4g}" for n, v in record.losses.items())
        wait = record.data_seconds / record.seconds
        detail = f"{terms} | {record.clips / record.seconds:.1f} clips/s, data wait {wait:.0%}"
        self.bar.update(self._task, total=record.total_steps, completed=record.step, detail=detail)

    def evaluated(self, evaluation: Evaluation) -> None:
        self.console.print(evaluated_line(self.name, evaluation), highlight=False, soft_wrap=True)
