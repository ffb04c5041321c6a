"""Who is put forward, on real shards and a real store; models with random weights do here."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from reactdist.checkpoints.export import export_model, load_exported
from reactdist.config import parse
from reactdist.data.shards import Shards
from reactdist.errors import InputError
from reactdist.evaluate.predict import Predictions, predict, validation_items
from reactdist.evaluate.predictions import write_predictions
from reactdist.models.registry import build_model
from reactdist.promote.candidates import (
    Candidate,
    find_candidate,
    of_this_data,
    reproduction,
    trained_runs,
)
from reactdist.promote.gate import Check, gate
from reactdist.promote.promote import promote
from reactdist.promote.settings import GateSettings
from reactdist.tracking import open_run, version_by_alias
from reactdist.tracking.facts import FINGERPRINT_TAG
from reactdist.tracking.store import client

SETTINGS = GateSettings()
VALIDATION = {"split": "val", "items": 2, "frames": 16, "num_samples": 2, "seed": 0}
MODEL = {
    "name": "transvae", "task": "online", "image_size": 40, "feature_dim": 16, "latent_dim": 8,
    "window_size": 8, "video_norm": "frame", "num_heads": 4, "max_history_frames": 16,
}  # fmt: skip


@dataclass
class Store:
    """A store with runs as training leaves them."""

    uri: str
    shards: Shards
    folder: Path

    def add(
        self,
        name: str,
        objective: float = 0.1,
        *,
        kind: str = "train",
        fingerprint: str | None = None,
        finished: bool = True,
        weights_seed: int = 0,
        damage: float = 0.0,
    ) -> str:
        """A run; the exported weights are off by `damage` from those that predicted."""
        values = dict(MODEL)
        torch.manual_seed(weights_seed)
        model = build_model(str(values.pop("name")), values)
        made = self.folder / name
        exported = export_model(made / "exported", model.state_dict(), MODEL, step=4)
        self._predict(exported, made)
        if damage:
            weights = {key: value + damage for key, value in model.state_dict().items()}
            export_model(exported, weights, MODEL, step=4)
        tags = {
            "reactdist.kind": kind,
            FINGERPRINT_TAG: fingerprint or self.shards.fingerprint,
        }
        run = open_run(self.uri, "e", name, key=name, tags=tags)
        run.log_metrics({"best.objective": objective}, 1)
        if kind != "study":
            run.log_folder(exported, "exported")
            run.log_file(made / "predictions.parquet", "predictions")
            run.log_text(yaml.safe_dump({"validation": VALIDATION}), "config.yaml")
        assert run.finish()
        if not finished:
            client(self.uri).update_run(run.run_id, status="RUNNING")
        return run.run_id

    def _predict(self, exported: Path, made: Path) -> None:
        chosen = validation_items(len(self.shards.items("val")), 2, 0)
        rows = predict(
            load_exported(exported), self.shards, "val", items=chosen, frames=16, num_samples=2
        )
        kept = Predictions.stack(rows)
        path = made / "predictions.parquet"
        write_predictions(path, kept.items, kept.emotion, kept.coefficients)

    def find(
        self, settings: GateSettings = SETTINGS, run: str | None = None, **more: Any
    ) -> Candidate:
        return find_candidate(
            self.uri, trained_runs(self.uri, "e", run=run), self.shards, settings,
            model_name="m", alias="champion", **more,
        )  # fmt: skip


@pytest.fixture
def store(uri: str, small_shards: str, tmp_path: Path) -> Store:
    return Store(uri, Shards.open(small_shards), tmp_path / "made")


def verdicts(checks: list[Check]) -> Mapping[str, bool]:
    return {check.name: check.passed for check in checks}


def test_only_finished_models_of_this_data_are_ranked(store: Store) -> None:
    store.add("a")
    with pytest.raises(InputError, match="no finished run with a model matches the filter"):
        trained_runs(store.uri, "e", "params.x = '1'")
    store.add("b", 0.3)
    store.add("study", 0.3, kind="study")  # says what its best trial said, and has no model
    store.add("going on", 0.9, finished=False)
    store.add("elsewhere", 0.8, fingerprint="0" * 64)
    found = trained_runs(store.uri, "e")
    assert [one.name for one in found] == ["elsewhere", "b", "a"]
    said: list[str] = []
    here = of_this_data(found, store.shards, "e", said.append)
    assert [one.name for one in here] == ["b", "a"]
    assert said == ["1 runs on other data left out"]
    with pytest.raises(InputError, match="none of its 1 models was trained on this data"):
        of_this_data(found[:1], store.shards, "e", said.append)


def test_the_top_few_are_drawn_again_and_the_best_of_those_is_chosen(store: Store) -> None:
    names = {store.add(f"r{seed}", 0.5 - seed / 10, weights_seed=seed): seed for seed in range(3)}
    said: list[str] = []
    candidate = store.find(parse(GateSettings, {"redraw_top": 2}), say=said.append)
    assert [line.split(":")[0] for line in said] == ["r0", "r1"]
    values = [float(line.split("FRCorr ")[1].split()[0]) for line in said]
    assert names[candidate.run.run_id] == values.index(max(values))
    evidence = candidate.evidence
    assert len(evidence.candidate.table) == evidence.split_items == len(store.shards.items("val"))
    assert [r.name for r in evidence.references] == ["Random", "MeanSeq", "MeanFr"]
    passed = verdicts(gate(evidence, SETTINGS))
    for name in ("same data", "full validation split", "fresh noise"):
        assert passed[name], name
    assert passed["exported weights reproduce the stored predictions"]
    again = store.find(parse(GateSettings, {"redraw_top": 1, "noise_seed": 0})).evidence
    assert not verdicts(gate(again, SETTINGS))["fresh noise"]


def test_a_given_run_is_taken_by_name_or_beginning_of_its_id(store: Store) -> None:
    run_id = store.add("low", 0.1, fingerprint="0" * 64)
    store.add("high", 0.9)
    for reference in (run_id[:8], "low"):
        assert store.find(run=reference).run.run_id == run_id
    checks = gate(store.find(run="low").evidence, SETTINGS)
    assert not verdicts(checks)["same data"]
    assert next(c for c in checks if c.name == "same data").detail.startswith(
        f"{run_id} was trained on 000000000000"
    )
    store.add("study", kind="study")
    with pytest.raises(InputError, match="run study: is no training run"):
        store.find(run="study")
    with pytest.raises(InputError, match="no run 'nobody'"):
        store.find(run="nobody")


def test_other_weights_do_not_reproduce_the_stored_predictions(store: Store) -> None:
    good, bad = store.add("good"), store.add("bad", damage=1e-3)
    broken = store.add("broken", damage=math.nan)
    errors = {}
    for name, run_id in {"good": good, "bad": bad, "broken": broken}.items():
        folder = store.folder / name / "exported"
        errors[name], seed = reproduction(store.uri, run_id, folder, store.shards)
        assert seed == 0
    assert errors["good"] <= 1e-6
    assert errors["bad"] > 1e-4
    assert math.isnan(errors["broken"])


def test_the_champion_is_what_must_be_beaten(store: Store) -> None:
    first = store.add("first", weights_seed=1)
    one = store.find(run=first)
    tags = {FINGERPRINT_TAG: one.run.fingerprint}
    promote(
        store.uri, "m", run_id=first, model_folder=one.folder, checks=[], tags=tags,
        force=True, reason="the first",
    )  # fmt: skip
    assert not store.find(run=first).evidence.champion, "it is not held against itself"

    second = store.add("second", weights_seed=2)
    evidence = store.find(run=second).evidence
    assert evidence.champion
    assert [r.name for r in evidence.references] == ["models:/m/1"]
    assert verdicts(gate(evidence, SETTINGS))["same data"]

    version = version_by_alias(store.uri, "m", "champion")
    assert version is not None
    client(store.uri).set_model_version_tag("m", "1", FINGERPRINT_TAG, "0" * 64)
    assert not verdicts(gate(store.find(run=second).evidence, SETTINGS))["same data"]
    shutil.rmtree(version.source)
    with pytest.raises(InputError, match=r"models:/m/1: its exported model cannot be read"):
        store.find(run=second)
