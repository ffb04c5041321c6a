"""A line an event, so that a person sees a search move."""

from __future__ import annotations

from typing import Any

from ray.tune import Callback
from rich.console import Console

from reactdist.evaluate.objective import OBJECTIVE


class TrialLines(Callback):
    """Says when a trial starts, is evaluated, ends; and how many have ended."""

    def __init__(self, trials: int, epochs: int) -> None:
        self._trials = trials
        self._epochs = epochs
        self._ended = 0

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial got its place."""
        shown = " ".join(f"{key.split('.')[-1]}={_short(v)}" for key, v in trial.config.items())
        self._say(f"trial {trial.trial_id}: {shown}")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial was evaluated."""
        if OBJECTIVE in result:
            self._say(
                f"trial {trial.trial_id}: epoch {result['epoch']}/{self._epochs} "
                f"{OBJECTIVE} {result[OBJECTIVE]:.4g}"
            )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial came to its end or was stopped."""
        self._ended += 1
        epoch = (trial.last_result or {}).get("epoch", 0)
        how = "stopped early" if epoch < self._epochs else "finished"
        self._say(f"trial {trial.trial_id}: {how} ({self._ended}/{self._trials})")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed; Ray Tune starts it again if it may."""
        self._say(f"trial {trial.trial_id}: failed")

    def _say(self, line: str) -> None:
        # Made anew each time: Ray Tune stores its callbacks, and a console cannot be stored.
        Console(stderr=True).print(line, highlight=False, soft_wrap=True)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
