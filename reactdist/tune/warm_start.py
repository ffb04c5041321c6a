"""What an earlier study can tell a new one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from reactdist.config import flatten, nearest, resolved
from reactdist.errors import InputError
from reactdist.tune.journal import JOURNAL, Journal, TrialRecord
from reactdist.tune.settings import Range, StudySettings

log = logging.getLogger("reactdist.tune")

_MEANING = ("base.validation.", "base.epochs", "base.model.task", "base.model.name")
"""Settings (beginnings of keys) that decide what an objective means."""


def earlier_trials(study: StudySettings) -> list[TrialRecord]:
    """Ended trials of the study in `searcher.warm_start` that lie in this study's space.

    Raises:
        InputError: no study there, another space, another objective, or no trial to learn from.
    """
    folder = study.searcher.warm_start
    if folder is None:
        return []
    if not (folder / JOURNAL).exists() or not (folder / "study.yaml").exists():
        raise InputError(
            "searcher.warm_start: no study there",
            where=folder,
            fix="give the folder of a study, base.output/NAME of its settings",
        )
    settings = yaml.safe_load((folder / "study.yaml").read_text())
    _refuse_other_keys(study, list(settings["space"]), folder)
    _refuse_other_meaning(study, settings, folder)
    ended = [trial for trial in Journal(folder / JOURNAL).ended if trial.reports]
    usable = [trial for trial in ended if _lies_in(study.space, trial.config)]
    if not usable:
        raise InputError(
            f"searcher.warm_start: none of its {len(ended)} ended trials lies in this space",
            where=folder,
            fix="widen the space, or leave warm_start out",
        )
    if len(usable) < len(ended):
        log.warning("warm start: %d of %d trials lie in the space", len(usable), len(ended))
    return usable


def _refuse_other_keys(study: StudySettings, theirs: list[str], folder: Path) -> None:
    missing = [key for key in study.space if key not in theirs]
    surplus = [key for key in theirs if key not in study.space]
    if missing or surplus:
        key, known = (missing[0], theirs) if missing else (surplus[0], list(study.space))
        side = "it did not search" if missing else "this study does not search"
        raise InputError(
            f"searcher.warm_start: {side} {key!r}", where=folder, fix=nearest(key, known)
        )


def _refuse_other_meaning(study: StudySettings, settings: dict[str, Any], folder: Path) -> None:
    mine, theirs = flatten(resolved(study)), flatten(settings)
    for key in sorted(mine.keys() | theirs.keys()):
        if key.startswith(_MEANING) and mine.get(key) != theirs.get(key):
            raise InputError(
                f"searcher.warm_start: its objective means something else "
                f"({key}: {theirs.get(key)!r} there, {mine.get(key)!r} here)",
                where=folder,
                fix="use the same setting, or leave warm_start out",
            )


def _lies_in(space: dict[str, Range], config: dict[str, Any]) -> bool:
    return all(values.holds(config[key]) for key, values in space.items())
