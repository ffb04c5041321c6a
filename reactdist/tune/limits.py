"""When a whole search ends before all its trials were run."""

from __future__ import annotations

from dataclasses import dataclass

from reactdist.tune.journal import Journal
from reactdist.tune.places import Needs
from reactdist.tune.settings import LimitSettings


def limit_reached(settings: LimitSettings, journal: Journal, needs: Needs) -> str:
    """Which limit ends the search now, in words; empty while none does.

    Everything is read from the journal, so that a resumed search counts from the beginning. Wall
    time is Ray Tune's own limit (`TuneConfig.time_budget_s`).
    """
    used = budget(journal, needs)
    if settings.gpu_hours is not None and used.gpu_hours >= settings.gpu_hours:
        return f"{used.gpu_hours:.3g} of {settings.gpu_hours:g} GPU-hours used"
    if settings.core_hours is not None and used.core_hours >= settings.core_hours:
        return f"{used.core_hours:.3g} of {settings.core_hours:g} core-hours used"
    patience = settings.patience_trials
    if patience is not None and trials_since_best(journal) >= patience:
        return f"no better trial among the last {patience}"
    return ""


@dataclass(frozen=True)
class Budget:
    """What the trials of a study held, from their starts to their last reports."""

    core_hours: float
    gpu_hours: float


def budget(journal: Journal, needs: Needs) -> Budget:
    """Hours of all trials so far, times the cores and GPUs that each reserves."""
    hours = sum(trial.seconds for trial in journal.trials.values()) / 3600
    return Budget(core_hours=hours * needs.total_cores, gpu_hours=hours * needs.total_gpus)


def trials_since_best(journal: Journal) -> int:
    """Trials that came in (counted from their first evaluation) since the best got better."""
    best, since, seen = float("-inf"), 0, set[int]()
    for number, report in journal.reports:
        if number not in seen:
            seen.add(number)
            since += 1
        if report.objective > best:
            best, since = report.objective, 0
    return since
