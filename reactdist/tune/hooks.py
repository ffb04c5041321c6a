"""What Ray Tune calls while a search runs. Imports Ray: only from inside a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper
from rich.console import Console

from reactdist.evaluate.objective import OBJECTIVE
from reactdist.tune.journal import End, Journal, Report
from reactdist.tune.trial import FAILURE, NUMBER, STEP, TIME


class Progress(Callback):
    """Evaluations and ends into the journal, and a line each for a person."""

    def __init__(self, journal: Journal, trials: int, epochs: int) -> None:
        self._journal = journal
        self._trials = trials
        self._epochs = epochs

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial got its place."""
        record = self._journal.trials[trial.config[NUMBER]]
        shown = " ".join(f"{key.split('.')[-1]}={_short(v)}" for key, v in record.config.items())
        again = f" (goes on after epoch {_epoch(record.reports)})" if record.reports else ""
        self._say(f"trial {record.number}: {shown}{again}")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial was evaluated, or says that it failed."""
        number = trial.config[NUMBER]
        if FAILURE in result:
            self._journal.fail(number, result[FAILURE])
            self._say(f"trial {number}: {result[FAILURE]} {self._counted()}")
            return
        report = Report(result[TIME], result[STEP], result["metrics"])
        new = report.step not in self._journal.trials[number].reports
        end: End = ""
        if report.epoch >= self._epochs:
            end = "finished"
        elif new and result.get("done"):
            end = "stopped"
        self._journal.report(number, report, seconds=result["time_this_iter_s"], end=end)
        if new:
            value = report.metrics[OBJECTIVE]
            self._say(
                f"trial {number}: epoch {report.epoch}/{self._epochs} {OBJECTIVE} {value:.4g}"
            )
        if end:
            how = {"stopped": "stopped early"}.get(end, end)
            self._say(f"trial {number}: {how} {self._counted()}")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed and is started again."""
        number = trial.config[NUMBER]
        self._say(f"trial {number}: {reason(trial)}; started again from its last checkpoint")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed for good."""
        number = trial.config[NUMBER]
        self._journal.fail(number, reason(trial))
        self._say(f"trial {number}: failed, {reason(trial)} {self._counted()}")

    def _counted(self) -> str:
        return f"({len(self._journal.ended)}/{self._trials})"

    def _say(self, line: str) -> None:
        # Made anew each time: Ray Tune stores its callbacks, and a console cannot be stored.
        Console(stderr=True).print(line, highlight=False, soft_wrap=True)


class LimitStopper(Stopper):
    """Ends the search when one of its limits is reached."""

    def __init__(self, reached: Callable[[], str]) -> None:
        self._reached = reached

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No single trial is stopped here."""
        return False

    def stop_all(self) -> bool:
        """Whether the search is over."""
        return bool(self._reached())


def reason(trial: Any) -> str:
    """What went wrong last in a trial, without the stack that Ray wraps around it."""
    # Its file in storage, which `trial.get_error` reads, is not written yet.
    text = Path(trial.error_file).read_text() if trial.error_file else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "its process ended")[-300:].removeprefix("reactdist.errors.")


def _epoch(reports: dict[int, Report]) -> int:
    return max(report.epoch for report in reports.values())


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
