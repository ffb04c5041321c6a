"""The search space: the keys it names, and whether every combination is a possible run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reactdist.config import flatten, nearest, parse, resolved, set_key
from reactdist.errors import InputError
from reactdist.evaluate.study import read_study
from reactdist.train.settings import TrainSettings
from reactdist.tune.settings import StudySettings

_MOST_COMBINATIONS = 4096
"""Of a larger space every so manyth is checked."""


def check_space(study: StudySettings) -> None:
    """Refuse a space before a trial is spent on it.

    Every combination of choices, integers and range ends is parsed as a run's settings.

    Raises:
        InputError: a key of the space or of `searcher.first` is no setting (nearest name given),
            a grid has a range, or a combination is impossible (the first one is named).
    """
    known = list(flatten(resolved(study.base)))
    for key in study.space:
        if key not in known:
            raise InputError(
                f"space: {key!r} is no setting of a run", where=study.study, fix=nearest(key, known)
            )
        if study.searcher.kind == "grid" and study.space[key].choice is None:
            raise InputError(
                f"space: {key!r} is a range, a grid needs choices",
                where=study.study,
                fix="write choice: [...] or use searcher.kind random or tpe",
            )
    for number, config in enumerate(study.searcher.first):
        if set(config) != set(study.space):
            raise InputError(
                f"searcher.first[{number}] must name exactly the keys of the space",
                where=study.study,
                fix="give " + ", ".join(sorted(study.space)),
            )
        settings_of(study, config, name="first")
    ends = [[(key, value) for value in values.ends()] for key, values in study.space.items()]
    total = math.prod(len(values) for values in ends)
    every = -(-total // _MOST_COMBINATIONS)
    for combination in itertools.islice(itertools.product(*ends), 0, None, every):
        settings_of(study, dict(combination), name="check")


def grid_configs(study: StudySettings) -> list[dict[str, Any]]:
    """The whole grid of a `grid` study after `searcher.first`; the last key changes fastest."""
    combinations = itertools.product(*(values.choice or () for values in study.space.values()))
    cells = [dict(zip(study.space, values, strict=True)) for values in combinations]
    return [dict(config) for config in study.searcher.first] + cells


def num_trials(study: StudySettings) -> int:
    """How many trials the study runs where no limit ends it."""
    return len(grid_configs(study)) if study.searcher.kind == "grid" else study.trials


def settings_of(study: StudySettings, config: Mapping[str, Any], name: str) -> TrainSettings:
    """Settings of the trial that tries `config` (dotted key -> value).

    Raises:
        InputError: the combination is no possible run.
    """
    values = resolved(study.base)
    for key, value in config.items():
        set_key(values, key, value)
    values["name"] = name
    values["output"] = str(study.base.output / study.study / "trials")
    shown = ", ".join(f"{key}={value}" for key, value in config.items())
    return parse(TrainSettings, values, where=f"{study.study} with {shown}")


def tune_space(study: StudySettings) -> dict[str, Any]:
    """The space in Ray Tune's own terms; keys keep their dots."""
    from ray import tune

    space: dict[str, Any] = {}
    for key, values in study.space.items():
        if values.choice is not None:
            space[key] = tune.choice(values.choice)
        elif values.uniform is not None:
            space[key] = tune.uniform(*values.uniform)
        elif values.loguniform is not None:
            space[key] = tune.loguniform(*values.loguniform)
        elif values.integer is not None:
            low, high = values.integer
            space[key] = tune.randint(low, high + 1)
    return space


def with_best(settings: TrainSettings, folder: Path) -> TrainSettings:
    """Settings with the searched keys as in the best trial of the finished study in `folder`."""
    values = resolved(settings)
    for key, value in read_study(folder).best.config.items():
        set_key(values, key, value)
    return parse(TrainSettings, values, where=folder)
