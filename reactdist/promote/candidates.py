"""Who is put forward: the best runs drawn again with fresh noise, and the evidence for the gate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from reactdist.checkpoints.export import load_exported, trained_on
from reactdist.data.shards import Shards
from reactdist.errors import InputError
from reactdist.evaluate.predict import Predictions, predict, predict_baseline
from reactdist.evaluate.predictions import read_predictions
from reactdist.evaluate.run import check_fits
from reactdist.evaluate.truth import Truth
from reactdist.promote.gate import Evaluation, Evidence, best_of, relative_error
from reactdist.promote.settings import GateSettings
from reactdist.tracking import download_model, runs_table, version_by_alias
from reactdist.tracking.download import download_artifact
from reactdist.tracking.facts import FINGERPRINT_TAG, resolve_run
from reactdist.tracking.run import KIND_TAG

SPLIT = "val"
RANKED_BY = "metrics.best.objective"
TRAINED = ("train", "trial")
"""Kinds of runs that have a model; a study repeats its best trial's numbers but has none."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A run that may be put forward."""

    run_id: str
    name: str
    fingerprint: str
    """Of the data it was trained on, "" when the run does not say."""


@dataclass(frozen=True)
class Candidate:
    """The run that is put forward."""

    run: Trained
    folder: Path
    """Its exported model."""
    evidence: Evidence


def find_candidate(
    uri: str,
    runs: Sequence[Trained],
    shards: Shards,
    settings: GateSettings,
    *,
    model_name: str,
    alias: str,
    say: Say = lambda message: None,
) -> Candidate:
    """The best of `runs` (best first, see `trained_runs`), scored anew on the whole split.

    The best of many is optimistic about its own draw of noise: the top `settings.redraw_top` are
    drawn again with `settings.noise_seed` before one is chosen.

    Raises:
        InputError: a model's files are gone, or model and shards do not fit.
    """
    judge = _Judge(shards, settings)
    top = runs[: settings.redraw_top]
    drawn: dict[str, Evaluation] = {}
    folders: dict[str, Path] = {}
    for one in top:
        folders[one.run_id] = download_model(uri, one.run_id)
        drawn[one.run_id] = judge.draw(one.run_id, one.fingerprint, folders[one.run_id])
        value = drawn[one.run_id].table[settings.objective].mean()
        say(f"{one.name}: {settings.objective} {value:.4g} with fresh noise, all {SPLIT} items")
    best = best_of(list(drawn.values()), settings)
    champion = version_by_alias(uri, model_name, alias)
    if champion is not None and champion.run_id == best.name:
        champion = None  # it cannot beat itself: held against the baselines once more
    if champion is not None:
        data = champion.tags.get(FINGERPRINT_TAG, "")
        references = [judge.draw(champion.uri, data, download_model(uri, champion.uri))]
    else:
        references = [judge.baseline(name) for name in settings.baselines]
    error, seed = reproduction(uri, best.name, folders[best.name], shards)
    evidence = Evidence(
        candidate=best,
        references=references,
        champion=champion is not None,
        fingerprint=shards.fingerprint,
        split_items=len(shards.items(SPLIT)),
        search_seeds=[seed],
        reproduction_error=error,
    )
    chosen = next(one for one in top if one.run_id == best.name)
    return Candidate(chosen, folders[best.name], evidence)


def trained_runs(
    uri: str, experiment: str, filter: str | None = None, run: str | None = None
) -> list[Trained]:
    """All runs of an experiment that trained a model, best first; or the given one.

    A run that is still going is left out: its model may change while it is looked at.

    Raises:
        InputError: there is none.
    """
    if run is not None:
        found = resolve_run(uri, run)
        kind = found.data.tags.get(KIND_TAG, "")
        if kind not in TRAINED:
            raise InputError(
                f"is no training run (kind {kind or 'unknown'!r}) and has no model",
                where=f"run {run}",
                fix="give one of its trials" if kind == "study" else "see `reactdist runs`",
            )
        fingerprint = found.data.tags.get(FINGERPRINT_TAG, "")
        return [Trained(found.info.run_id, found.info.run_name, fingerprint)]
    table = runs_table(uri, experiment, filter=filter)
    table = table[table["kind"].isin(TRAINED) & (table["status"] != "RUNNING")]
    if RANKED_BY in table:
        table = table[table[RANKED_BY].notna()]
    if RANKED_BY not in table or table.empty:
        raise InputError(
            "no finished run with a model" + (" matches the filter" if filter else ""),
            where=f"experiment {experiment}",
            fix="train or tune first; `reactdist runs` lists what there is",
        )
    table = table.sort_values(RANKED_BY, ascending=False, kind="stable")
    columns = (table[name] for name in ("run_id", "name", "fingerprint"))
    return [Trained(*row) for row in zip(*columns, strict=True)]


def shards_of(uri: str, run: Trained) -> str:
    """Address of the shards that a run trained on."""
    return trained_on(download_model(uri, run.run_id))


def of_this_data(
    runs: Sequence[Trained], shards: Shards, experiment: str, say: Say
) -> list[Trained]:
    """Those that were trained on this data; says how many were not.

    Raises:
        InputError: none was.
    """
    here = [run for run in runs if run.fingerprint == shards.fingerprint]
    if not here:
        raise InputError(
            f"none of its {len(runs)} models was trained on this data",
            where=f"experiment {experiment}",
            fix="give the --shards they were trained on, or train on these first",
        )
    if len(here) < len(runs):
        say(f"{len(runs) - len(here)} runs on other data left out")
    return here


def reproduction(uri: str, run_id: str, folder: Path, shards: Shards) -> tuple[float, int]:
    """Largest relative difference between stored and repeated predictions; their noise seed.

    Raises:
        InputError: the run stored no predictions or no config.
    """
    config = yaml.safe_load(download_artifact(uri, run_id, "config.yaml").read_text())
    validation = config["validation"]
    stored = read_predictions(download_artifact(uri, run_id, "predictions/predictions.parquet"))
    again = predict(
        load_exported(folder, _device()),
        shards,
        validation["split"],
        items=[int(item) for item in stored.items],
        frames=validation["frames"],
        num_samples=validation["num_samples"],
        seed=validation["seed"],
    )
    frames = stored.emotion.shape[2]
    errors = [
        relative_error(before[place], after[:, :frames])
        for place, (_, emotion, coefficients) in enumerate(again)
        for before, after in ((stored.emotion, emotion), (stored.coefficients, coefficients))
    ]
    # numpy's maximum: Python's own passes over a NaN.
    return float(np.max(errors)), int(validation["seed"])


class _Judge:
    """Scores models and baselines on the whole split, all in the same way."""

    def __init__(self, shards: Shards, settings: GateSettings) -> None:
        self.shards = shards
        self.settings = settings
        self.truth = Truth.read(shards, SPLIT)

    def draw(self, name: str, fingerprint: str, folder: Path) -> Evaluation:
        """An exported model with fresh noise."""
        check_fits(folder, self.shards, SPLIT)
        seed = self.settings.noise_seed
        rows = predict(load_exported(folder, _device()), self.shards, SPLIT, seed=seed)
        return self._score(name, rows, fingerprint, seed)

    def baseline(self, name: str) -> Evaluation:
        """A naive baseline, which knows these shards only."""
        naive = predict_baseline(name, self.shards, SPLIT)
        rows = zip(naive.items, naive.emotion, naive.coefficients, strict=True)
        return self._score(name, rows, self.shards.fingerprint, None)

    def _score(
        self,
        name: str,
        rows: Iterable[tuple[int, np.ndarray, np.ndarray]],
        fingerprint: str,
        seed: int | None,
    ) -> Evaluation:
        table = self.truth.score_items(Predictions.stack(rows))
        return Evaluation(name, table, fingerprint, seed)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
