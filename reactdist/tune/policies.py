"""Who proposes a study's configurations and who stops its trials.

Both begin with what the study's journal holds: a resumed search is told of it by the same calls
that told the search that was killed. Ray Tune's own snapshots forget ASHA's rungs.

Imports Ray, which reads its settings from the environment: only from inside a session.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher

from reactdist.evaluate.objective import OBJECTIVE
from reactdist.tune.journal import Journal, Report, TrialRecord
from reactdist.tune.settings import StudySettings
from reactdist.tune.space import grid_configs, tune_space
from reactdist.tune.trial import NUMBER, STEP, TIME

_SEED_STRIDE = 7919


class Proposals(Searcher):
    """Configurations by trial number: those a killed search left unfinished, then new ones.

    Random draws depend on the seed and the number alone. TPE is Optuna's, told of every trial
    that ended, of an earlier study's too.
    """

    def __init__(
        self, study: StudySettings, journal: Journal, earlier: Iterable[TrialRecord] = ()
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="max")
        self._study = study
        self._journal = journal
        self._unfinished = [trial.number for trial in journal.unfinished]
        self._numbers: dict[str, int] = {}
        self._space = tune_space(study)
        self._grid = grid_configs(study) if study.searcher.kind == "grid" else None
        known = [*earlier, *journal.ended]
        self._tpe = self._make_tpe(known) if study.searcher.kind == "tpe" else None

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Everything is known from the study."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The next configuration, with its number; on the journal before anything uses it."""
        if self._unfinished:
            number = self._unfinished.pop(0)
            config = self._journal.trials[number].config
        else:
            number = len(self._journal.trials)
            config = {k: _plain(v) for k, v in self._new(number).items()}
            self._journal.propose(number, config)
        self._numbers[trial_id] = number
        return {**config, NUMBER: number}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing is learned before a trial ends."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell TPE; a trial that failed counts as the worst there is."""
        number = self._numbers.pop(trial_id, None)
        if self._tpe is None or number is None:
            return
        trial = self._journal.trials[number]
        if not error and not trial.reports:
            return  # cut off by the end of the search
        value = told(trial) if not error else FAILED.objective
        if str(number) in self._asked:
            self._tpe.on_trial_complete(str(number), {OBJECTIVE: value})
        else:
            self._tpe.add_evaluated_point(trial.config, value)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is what a search goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""

    def _new(self, number: int) -> Mapping[str, Any]:
        if self._grid is not None:
            return self._grid[number]
        if self._tpe is not None:
            self._asked.add(str(number))
            config: Mapping[str, Any] = self._tpe.suggest(str(number))
            return config
        if number < len(self._study.searcher.first):
            return self._study.searcher.first[number]
        generator = np.random.RandomState([self._study.searcher.seed, number])
        return {k: domain.sample(random_state=generator) for k, domain in self._space.items()}

    def _make_tpe(self, known: list[TrialRecord]) -> Any:
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        settings = self._study.searcher
        started = len(self._journal.trials)
        self._asked: set[str] = set()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(
            multivariate=True,
            # A resumed search must not draw what the one before it drew.
            seed=settings.seed + _SEED_STRIDE * started,
            n_startup_trials=settings.startup_trials,
        )
        first = [dict(config) for config in settings.first[started:]]
        space = OptunaSearch.convert_search_space(self._space)
        searcher = OptunaSearch(
            space, metric=OBJECTIVE, mode="max", sampler=sampler, points_to_evaluate=first or None
        )
        for trial in known:
            searcher.add_evaluated_point(trial.config, told(trial))
        return searcher


FAILED = Report(0, 0, {})


def told(trial: TrialRecord) -> float:
    """What a searcher is told of a trial: its last evaluation, as Ray Tune does."""
    if trial.end == "failed" or not trial.reports:
        return FAILED.objective
    return list(trial.reports.values())[-1].objective


@dataclass(frozen=True)
class _Known:
    """What schedulers need of a trial: the same identity before and after a resume."""

    trial_id: str


class StudyScheduler(FIFOScheduler):
    """The study's stopping rule, with trials known by their number in the study."""

    def __init__(self, study: StudySettings, journal: Journal) -> None:
        super().__init__()
        self._rule = _rule(study)
        self._added: set[int] = set()
        self._last_step: dict[int, int] = {}
        for number, report in journal.reports:
            self._judge(number, as_result(report))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial comes, perhaps again."""
        self._add(trial.config[NUMBER])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """CONTINUE or STOP; an evaluation that a resumed trial repeats was judged before."""
        return self._judge(trial.config[NUMBER], result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Its last result has been judged already."""

    def _judge(self, number: int, result: Mapping[str, Any]) -> str:
        self._add(number)
        if STEP not in result or result[STEP] <= self._last_step.get(number, 0):
            return TrialScheduler.CONTINUE
        self._last_step[number] = result[STEP]
        decision: str = self._rule.on_trial_result(None, _Known(str(number)), dict(result))
        return decision

    def _add(self, number: int) -> None:
        if number not in self._added:
            self._added.add(number)
            self._rule.on_trial_add(None, _Known(str(number)))


def as_result(report: Report) -> dict[str, Any]:
    """An evaluation as Ray Tune's schedulers see it."""
    return {TIME: report.epoch, STEP: report.step, OBJECTIVE: report.objective}


def _rule(study: StudySettings) -> Any:
    settings = study.scheduler
    if settings.kind == "asha":
        return ASHAScheduler(
            time_attr=TIME,
            metric=OBJECTIVE,
            mode="max",
            max_t=study.base.epochs,
            grace_period=min(settings.grace_epochs, study.base.epochs),
            reduction_factor=settings.reduction_factor,
        )
    if settings.kind == "median":
        return MedianStoppingRule(
            time_attr=TIME,
            metric=OBJECTIVE,
            mode="max",
            grace_period=settings.grace_epochs,
            min_time_slice=math.inf,  # it would pause trials to let others begin
        )
    return FIFOScheduler()


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
