"""Learning curves of a full grid of configurations, recorded once and kept beside the bench.

The grid is the study's own space with every range cut into levels, so the configuration recorded
nearest to any proposal is found key by key: the same choice, the level nearest in the range's own
scale (logarithmic where the range is).
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactdist.config import load
from reactdist.errors import InputError
from reactdist.evaluate.objective import OBJECTIVE
from reactdist.tune.settings import Range, StudySettings

FOLDER = Path(__file__).parent / "recorded"
CURVES = FOLDER / "curves.csv"
LEVELS = 5
"""Values of a range that are recorded, its ends among them."""
REPEATS = 4
"""Configurations recorded a second time with another seed: the noise that a search sees."""

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """One evaluation of a recorded run."""

    epoch: int
    step: int
    """Optimizer steps done."""
    metrics: Mapping[str, float]
    """Objective, FRCorr, FRDist."""
    cpu_s: float
    """CPU time of the run so far, seconds: on a shared machine more telling than the clock."""


Curve = tuple[Point, ...]
METRICS = (OBJECTIVE, "FRCorr", "FRDist")


def recorded_study(overrides: Sequence[str] = ()) -> StudySettings:
    """The study that was recorded."""
    return load(StudySettings, FOLDER / "study.yaml", overrides)


def levels(values: Range) -> tuple[Any, ...]:
    """The recorded values of one key.

    Raises:
        InputError: an integer range, which no study here records.
    """
    if values.choice is not None:
        return values.choice
    if values.loguniform is not None:
        low, high = (math.log10(end) for end in values.loguniform)
        return tuple(10 ** (low + (high - low) * i / (LEVELS - 1)) for i in range(LEVELS))
    if values.uniform is not None:
        low, high = values.uniform
        return tuple(low + (high - low) * i / (LEVELS - 1) for i in range(LEVELS))
    raise InputError("an integer range is not recorded", fix="write it as a choice")


def nearest_recorded(space: Mapping[str, Range], config: Config) -> tuple[Any, ...]:
    """Values, in the order of the space, of the recorded configuration nearest to `config`."""
    found: list[Any] = []
    for key, values in space.items():
        given, scale = config[key], math.log if values.loguniform else float
        if values.choice is not None:
            found.append(given)
        else:
            found.append(min(levels(values), key=lambda v: abs(scale(v) - scale(given))))
    return tuple(found)


def grid(space: Mapping[str, Range]) -> list[tuple[Any, ...]]:
    """Every recorded configuration, as values in the order of the space."""
    return list(itertools.product(*(levels(values) for values in space.values())))


def read_curves(
    space: Mapping[str, Range], path: Path = CURVES
) -> dict[tuple[tuple[Any, ...], int], Curve]:
    """(configuration, seed) -> its evaluations in order.

    Raises:
        InputError: nothing recorded at `path`.
    """
    if not path.exists():
        raise InputError("no recorded curves", where=path, fix="reactdist bench tune --record")
    curves: dict[tuple[tuple[Any, ...], int], list[Point]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            config = nearest_recorded(
                space, {key: _value(values, row[key]) for key, values in space.items()}
            )
            curves.setdefault((config, int(row["seed"])), []).append(
                Point(
                    int(row["epoch"]),
                    int(row["step"]),
                    {name: float(row[name]) for name in METRICS},
                    float(row["cpu_s"]),
                )
            )
    return {key: tuple(points) for key, points in curves.items()}


def _value(values: Range, text: str) -> Any:
    if values.choice is None:
        return float(text)
    return next(choice for choice in values.choice if str(choice) == text)
