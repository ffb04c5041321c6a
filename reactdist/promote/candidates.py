"""Who is put forward: the best runs drawn again with fresh noise, and the evidence for the gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from reactdist.checkpoints.export import load_exported, trained_on
from reactdist.data.shards import Shards
from reactdist.errors import InputError
from reactdist.evaluate.predict import Predictions, predict, predict_baseline
from reactdist.evaluate.predictions import read_predictions
from reactdist.evaluate.truth import Truth
from reactdist.promote.gate import Evaluation, Evidence, best_of, relative_error
from reactdist.promote.settings import GateSettings
from reactdist.tracking import download_model, runs_table, version_by_alias
from reactdist.tracking.download import download_artifact

SPLIT = "val"
RANKED_BY = "metrics.best.objective"
_REPRODUCED_ITEMS = 3
"""Stored items that the exported weights must reproduce; more would only repeat the proof."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Candidate:
    """The run that is put forward."""

    run_id: str
    name: str
    folder: Path
    evidence: Evidence


def find_candidate(
    uri: str,
    experiment: str,
    shards: Shards,
    settings: GateSettings,
    *,
    model_name: str,
    alias: str,
    run_id: str | None = None,
    filter: str | None = None,
    frames: int | None = None,
    num_samples: int = 10,
    say: Say = lambda message: None,
) -> Candidate:
    """The best run of an experiment (or the given one), scored anew on the whole split.

    The best of many is optimistic about its own draw of noise: the top `settings.redraw_top` are
    drawn again with `settings.noise_seed` before one is chosen.

    Raises:
        InputError: no run with a model, or model and shards do not fit.
    """
    top = _ranked(uri, experiment, filter, run_id)[: settings.redraw_top]
    truth = Truth.read(shards, SPLIT, frames)

    def draw(name: str, folder: Path) -> Evaluation:
        rows = predict(
            load_exported(folder),
            shards,
            SPLIT,
            frames=frames,
            num_samples=num_samples,
            seed=settings.noise_seed,
        )
        return _evaluation(name, Predictions.stack(rows), truth, shards, settings.noise_seed)

    drawn: dict[str, Evaluation] = {}
    folders: dict[str, Path] = {}
    for candidate, shown in top:
        folders[candidate] = download_model(uri, candidate)
        drawn[candidate] = draw(candidate, folders[candidate])
        value = drawn[candidate].table[settings.objective].mean()
        say(f"{shown}: {settings.objective} {value:.4g} with fresh noise, all {SPLIT} items")
    best = best_of(list(drawn.values()), settings)
    champion = version_by_alias(uri, model_name, alias)
    if champion is not None and champion.run_id != best.name:
        references: Sequence[Evaluation] = [draw(champion.uri, download_model(uri, champion.uri))]
    else:
        references = [
            _evaluation(
                name,
                predict_baseline(name, shards, SPLIT, frames=frames, num_samples=num_samples),
                truth,
                shards,
                None,
            )
            for name in settings.baselines
        ]
        champion = None
    error, seed = reproduction(uri, best.name, folders[best.name], shards)
    evidence = Evidence(
        candidate=best,
        references=references,
        champion=champion is not None,
        split_items=len(shards.items(SPLIT)),
        search_seeds=[seed],
        reproduction_error=error,
    )
    return Candidate(best.name, dict(top)[best.name], folders[best.name], evidence)


def reproduction(uri: str, run_id: str, folder: Path, shards: Shards) -> tuple[float, int]:
    """Largest relative difference between stored and repeated predictions; their noise seed.

    Raises:
        InputError: the run stored no predictions or no config.
    """
    config = yaml.safe_load(download_artifact(uri, run_id, "config.yaml").read_text())
    validation = config["validation"]
    stored = read_predictions(download_artifact(uri, run_id, "predictions/predictions.parquet"))
    items = [int(i) for i in stored.items[:_REPRODUCED_ITEMS]]
    again = predict(
        load_exported(folder),
        shards,
        validation["split"],
        items=items,
        frames=validation["frames"],
        num_samples=validation["num_samples"],
        seed=validation["seed"],
    )
    frames = stored.emotion.shape[2]
    errors = [
        max(
            relative_error(stored.emotion[place], emotion[:, :frames]),
            relative_error(stored.coefficients[place], coefficients[:, :frames]),
        )
        for place, (_, emotion, coefficients) in enumerate(again)
    ]
    return max(errors), int(validation["seed"])


def _evaluation(
    name: str, predictions: Predictions, truth: Truth, shards: Shards, seed: int | None
) -> Evaluation:
    return Evaluation(name, truth.score_items(predictions), shards.fingerprint, seed)


def shards_of_best(uri: str, experiment: str, filter: str | None, run_id: str | None) -> str:
    """Address of the shards that the best run of an experiment (or the given run) trained on.

    Raises:
        InputError: no run with a model.
    """
    best, _ = _ranked(uri, experiment, filter, run_id)[0]
    return trained_on(download_model(uri, best))


def _ranked(
    uri: str, experiment: str, filter: str | None, run_id: str | None
) -> list[tuple[str, str]]:
    """(run id, name) of runs with a model, best first."""
    table = runs_table(uri, experiment, filter=filter)
    if run_id is not None:
        table = table[table["run_id"] == run_id]
    if RANKED_BY in table:
        table = table[table[RANKED_BY].notna()].sort_values(RANKED_BY, ascending=False)
    if RANKED_BY not in table or table.empty:
        raise InputError(
            "no run with an evaluated model",
            where=run_id or experiment,
            fix="train or tune first; `reactdist runs` lists what there is",
        )
    return list(zip(table["run_id"], table["name"], strict=True))
