"""What a clean-up removes, and that a promoted run's checkpoints can never go."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from reactdist.errors import InputError
from reactdist.tracking import open_run, register_version, set_alias
from reactdist.tracking.garbage import (
    CHECKPOINT_TAG,
    PROMOTED_TAG,
    StoredRun,
    plan_for,
    plan_removal,
    promoted_runs,
    remove,
)
from reactdist.tracking.registry import set_version_tags


def stored(name: str, value: float, status: str = "FINISHED", age_days: float = 30) -> StoredRun:
    return StoredRun(name, name, status, age_days, value, Path(name) / "checkpoints", 10)


def test_every_reason_to_keep() -> None:
    runs = [
        stored("best", 0.9), stored("second", 0.8), stored("old", 0.1), stored("promoted", 0.0),
        stored("running", 0.2, "RUNNING"), stored("preempted", 0.2, "KILLED"),
        stored("young", 0.3, age_days=1), stored("failed", float("nan"), "FAILED"),
    ]  # fmt: skip
    plan = plan_removal(runs, {"promoted"}, keep_best=2, min_age_days=7)
    assert {d.stored.name for d in plan if d.remove} == {"old", "failed"}
    reasons = {d.stored.name: d.reason for d in plan}
    assert reasons["best"] == "number 1 of the best"
    assert reasons["promoted"] == "promoted"
    assert reasons["preempted"] == "killed, may be resumed"


def test_no_setting_removes_a_promoted_or_unfinished_run() -> None:
    statuses = ("FINISHED", "FAILED", "RUNNING", "KILLED")
    for status, keep_best, min_age in itertools.product(statuses, (0, 5), (0.0, 100.0)):
        runs = [stored("promoted", float("nan"), status, 1000), stored("other", 1.0, status, 1000)]
        plan = plan_removal(runs, {"promoted"}, keep_best=keep_best, min_age_days=min_age)
        removed = {d.stored.name for d in plan if d.remove}
        assert "promoted" not in removed
        assert not removed or status in ("FINISHED", "FAILED")


def test_on_a_real_store_versions_and_aliases_protect(uri: str, tmp_path: Path) -> None:
    folders = {}
    run_ids = {}
    for name in ("promoted once", "alias now", "plain", "elsewhere"):
        folders[name] = tmp_path / name / "checkpoints"
        folders[name].mkdir(parents=True)
        (folders[name] / "model.safetensors").write_bytes(b"x" * 100)
        run = open_run(uri, "e", name, key=name)
        run.set_tags({CHECKPOINT_TAG: folders[name] if name != "elsewhere" else tmp_path})
        run.finish()
        run_ids[name] = run.run_id
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "model.safetensors").write_bytes(b"w")
    (exported / "config.yaml").write_text("model: {name: transvae}\n")
    register_version(uri, "m", run_ids["promoted once"], exported)
    set_version_tags(uri, "m", "1", {PROMOTED_TAG: "2026"})
    register_version(uri, "m", run_ids["alias now"], exported)
    set_alias(uri, "m", "champion", "2")
    assert promoted_runs(uri) == {run_ids["promoted once"], run_ids["alias now"]}

    plan = plan_for(uri, "e", metric="best.objective", keep_best=0, min_age_days=0)
    assert {d.stored.name: d.remove for d in plan} == {
        "promoted once": False, "alias now": False, "plain": True,
    }  # fmt: skip
    assert next(d for d in plan if d.remove).stored.size_bytes == 100
    remove(uri, plan)
    assert {name for name, folder in folders.items() if folder.exists()} == {
        "promoted once", "alias now", "elsewhere",
    }  # fmt: skip


def test_a_promotion_after_the_plan_stops_the_removal(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    run = open_run(uri, "e", "r", key="k", tags={CHECKPOINT_TAG: folder})
    run.finish()
    plan = plan_for(uri, "e", metric="best.objective", keep_best=0, min_age_days=0)
    assert [d.remove for d in plan] == [True]
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "model.safetensors").write_bytes(b"w")
    (exported / "config.yaml").write_text("model: {name: transvae}\n")
    register_version(uri, "m", run.run_id, exported)
    set_alias(uri, "m", "champion", "1")
    with pytest.raises(InputError, match="was promoted meanwhile"):
        remove(uri, plan)
    assert folder.exists()
