"""End a search whose best has not moved."""

from __future__ import annotations

from typing import Any

from ray.tune import Stopper

from reactdist.evaluate.objective import OBJECTIVE


class PatienceStopper(Stopper):
    """Stop the experiment when `patience` trials came in since the objective last got better.

    A trial counts from its first result, not from its end, which Ray Tune does not tell a
    stopper; trials that still run are ended with the search.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self._best = float("-inf")
        self._since = 0
        self._seen: set[str] = set()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Remember a result; a single trial is never stopped here."""
        value = result.get(OBJECTIVE)
        if trial_id not in self._seen:
            self._seen.add(trial_id)
            self._since += 1
        if value is not None and value > self._best:
            self._best, self._since = value, 0
        return False

    def stop_all(self) -> bool:
        """Whether the search is over."""
        return self._since >= self.patience
