"""Search again over recorded learning curves: the proposals and the scheduler of a study, with
recorded evaluations in the place of training.

Workers are simulated: each holds one trial, and evaluations come in the order of the CPU time that
the recorded runs took. A proposal is answered by the configuration recorded nearest to it; proposed
twice, it costs twice, as it would in a study.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.schedulers import TrialScheduler

from reactdist.tune.curves import Curve, nearest_recorded
from reactdist.tune.journal import End, Journal, Report
from reactdist.tune.policies import Proposals, StudyScheduler, as_result
from reactdist.tune.settings import StudySettings
from reactdist.tune.trial import NUMBER

Curves = Mapping[tuple[Any, ...], Curve]


@dataclass(frozen=True)
class Moment:
    """The state of a search after one evaluation."""

    steps: int
    """Optimizer steps of all trials so far."""
    ended: int
    """Trials that have ended."""
    best: float
    """Best objective seen."""


@dataclass
class _Running:
    trial_id: str
    number: int
    curve: Curve
    seen: int = 0
    """Evaluations that have come in."""

    @property
    def config(self) -> dict[str, int]:
        """What the scheduler looks at."""
        return {NUMBER: self.number}

    def next(self) -> tuple[Report, int, float]:
        """The next evaluation, the optimizer steps and the seconds it took."""
        point = self.curve[self.seen]
        steps, seconds = point.step, point.cpu_s
        if self.seen:
            before = self.curve[self.seen - 1]
            steps, seconds = steps - before.step, seconds - before.cpu_s
        self.seen += 1
        return Report(point.epoch, point.step, point.metrics), steps, seconds


def replay(
    study: StudySettings,
    curves: Curves,
    *,
    budget_steps: int,
    workers: int,
    journal: Journal | None = None,
) -> list[Moment]:
    """One search, until its trials have taken `budget_steps` optimizer steps; its moments.

    Args:
        journal: gets the trials; an empty one.
    """
    journal = journal or Journal(None)
    proposals, scheduler = Proposals(study, journal), StudyScheduler(study, journal)
    queue: list[tuple[float, int, _Running, Report, int]] = []

    def evaluate(now: float, trial: _Running) -> None:
        report, steps, seconds = trial.next()
        heapq.heappush(queue, (now + seconds, trial.number, trial, report, steps))

    def start(now: float) -> None:
        trial_id = f"{len(journal.trials):05d}"
        config = proposals.suggest(trial_id)
        number = config.pop(NUMBER)
        evaluate(now, _Running(trial_id, number, curves[nearest_recorded(study.space, config)]))

    for _ in range(workers):
        start(0.0)
    moments: list[Moment] = []
    steps, ended, best = 0, 0, -np.inf
    while steps < budget_steps:
        now, number, trial, report, more = heapq.heappop(queue)
        steps, best = steps + more, max(best, report.objective)
        stop = scheduler.on_trial_result(None, trial, as_result(report)) == TrialScheduler.STOP
        last = trial.seen == len(trial.curve)
        end: End = "finished" if last else "stopped" if stop else ""
        journal.report(number, report, seconds=0.0, end=end)
        if end:
            proposals.on_trial_complete(trial.trial_id, as_result(report))
            ended += 1
            start(now)
        else:
            evaluate(now, trial)
        moments.append(Moment(steps, ended, best))
    return moments
