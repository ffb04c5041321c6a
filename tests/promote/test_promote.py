"""Promotion and rollback on a real registry: aliases, the record, refusals change nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reactdist.checkpoints.keep import is_protected
from reactdist.errors import GateNotMet, InputError, ReactdistError
from reactdist.evaluate.command import is_promoted
from reactdist.promote.gate import Check
from reactdist.promote.promote import promote, rollback
from reactdist.promote.record import EXPERIMENT, history
from reactdist.tracking import download_model, open_run, register_version, version_by_alias
from reactdist.tracking.garbage import CHECKPOINT_TAG, plan_for
from reactdist.tracking.registry import EARLY_TEST_TAG, weights_digest
from reactdist.tracking.store import client, experiment_id

PASSED = Check("FRCorr beats old", True, "0.4 against 0.3", {"low": 0.05})
FAILED = Check("same data", False, "old was scored on abc, the candidate on def")


def finished_run(uri: str, folder: Path, name: str) -> tuple[str, Path]:
    exported = folder / name
    exported.mkdir()
    (exported / "model.safetensors").write_bytes(name.encode())
    (exported / "config.yaml").write_text("model: {name: transvae}\nstep: 120\n")
    for step in ("step-00000060", "step-00000120"):
        checkpoint = folder / f"{name}-run" / "checkpoints" / step
        checkpoint.mkdir(parents=True)
        (checkpoint / "manifest.json").write_text("{}")
    run = open_run(uri, "study", name, key=name, tags={CHECKPOINT_TAG: checkpoint.parent})
    run.finish()
    return run.run_id, exported


def alias(uri: str, name: str) -> str | None:
    found = version_by_alias(uri, "m", name)
    return None if found is None else found.version


def test_promote_promote_again_and_roll_back(uri: str, tmp_path: Path) -> None:
    one, one_folder = finished_run(uri, tmp_path, "one")
    two, two_folder = finished_run(uri, tmp_path, "two")
    first = promote(uri, "m", run_id=one, model_folder=one_folder, checks=[PASSED])
    assert (first.version, first.previous) == ("1", "")
    assert (alias(uri, "champion"), alias(uri, "previous")) == ("1", None)

    second = promote(
        uri, "m", run_id=two, model_folder=two_folder, checks=[PASSED, FAILED], force=True,
        reason="the old data are gone", tags={"data": "def"},
    )  # fmt: skip
    assert (second.version, second.previous) == ("2", "1")
    assert (alias(uri, "champion"), alias(uri, "previous")) == ("2", "1")
    assert (download_model(uri, "models:/m@champion") / "model.safetensors").read_text() == "two"

    back = rollback(uri, "m", reason="worse on people", git=None)
    assert (back.version, back.previous) == ("1", "2")
    assert (alias(uri, "champion"), alias(uri, "previous")) == ("1", "2")
    assert (download_model(uri, "models:/m@champion") / "model.safetensors").read_text() == "one"

    records = history(uri, "m")
    assert [(r.action, r.from_version, r.to_version, r.forced) for r in records] == [
        ("promote", "", "1", False), ("promote", "1", "2", True), ("rollback", "2", "1", False),
    ]  # fmt: skip
    assert records[1].reason == "the old data are gone"
    assert records[1].checks[0]["numbers"] == {"low": 0.05}
    assert len(records[0].git_commit) == 40
    assert records[0].who
    tags = client(uri).get_model_version("m", "2").tags
    assert tags["reactdist.promotion_checks"] == "1 of 2 passed"
    assert tags["reactdist.promotion_forced"] == "true"
    assert tags["data"] == "def"
    assert (tags["reactdist.rolled_back_to"], tags["reactdist.rollback_reason"]) == (
        "1", "worse on people",
    )  # fmt: skip
    assert "FAIL: same data" in client(uri).get_model_version("m", "2").description


def test_a_failed_check_changes_nothing(uri: str, tmp_path: Path) -> None:
    run_id, folder = finished_run(uri, tmp_path, "one")
    with pytest.raises(GateNotMet, match="same data failed: old was scored on abc") as caught:
        promote(uri, "m", run_id=run_id, model_folder=folder, checks=[PASSED, FAILED])
    assert caught.value.exit_code == 1
    with pytest.raises(InputError, match="--force needs a reason"):
        promote(
            uri, "m", run_id=run_id, model_folder=folder, checks=[FAILED], force=True, reason=" "
        )
    (folder / "config.yaml").unlink()
    with pytest.raises(ReactdistError, match=r"no config\.yaml"):
        promote(uri, "m", run_id=run_id, model_folder=folder, checks=[PASSED])
    assert client(uri).search_registered_models() == []
    assert history(uri, "m") == []


def test_the_same_candidate_twice_is_one_promotion(uri: str, tmp_path: Path) -> None:
    run_id, folder = finished_run(uri, tmp_path, "one")
    promote(uri, "m", run_id=run_id, model_folder=folder, checks=[PASSED])
    again = promote(uri, "m", run_id=run_id, model_folder=folder, checks=[PASSED])
    assert (again.version, again.record) == ("1", None)
    assert len(history(uri, "m")) == 1
    assert alias(uri, "previous") is None


def test_a_rollback_needs_something_to_go_back_to(uri: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model 'm' is registered"):
        rollback(uri, "m")
    run_id, folder = finished_run(uri, tmp_path, "one")
    promote(uri, "m", run_id=run_id, model_folder=folder, checks=[PASSED])
    with pytest.raises(InputError, match="no previous version to go back to"):
        rollback(uri, "m")
    assert alias(uri, "champion") == "1"


def test_a_version_whose_files_are_gone_is_not_gone_back_to(uri: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run_id, folder = finished_run(uri, tmp_path, name)
        promote(uri, "m", run_id=run_id, model_folder=folder, checks=[PASSED])
    shutil.rmtree(client(uri).get_model_version("m", "1").source)
    with pytest.raises(InputError, match=r"models:/m/1: its exported model cannot be read"):
        rollback(uri, "m")
    assert (alias(uri, "champion"), alias(uri, "previous")) == ("2", "1")
    assert len(history(uri, "m")) == 2


def test_without_a_record_nothing_stays_registered(uri: str, tmp_path: Path) -> None:
    run_id, folder = finished_run(uri, tmp_path, "one")
    client(uri).delete_experiment(experiment_id(uri, EXPERIMENT, create=True))
    with pytest.raises(InputError, match="experiment 'promotions' was deleted"):
        promote(uri, "m", run_id=run_id, model_folder=folder, checks=[PASSED])
    assert client(uri).search_registered_models() == []
    assert not list((tmp_path / "mlartifacts").rglob("MLmodel"))
    # A version that was there before stays: somebody else made it.
    register_version(uri, "m", run_id, folder)
    with pytest.raises(InputError, match="was deleted"):
        promote(uri, "m", run_id=run_id, model_folder=folder, checks=[PASSED])
    assert (download_model(uri, "models:/m/1") / "model.safetensors").read_text() == "one"
    assert alias(uri, "champion") is None


def test_a_promotion_marks_its_checkpoint_and_no_clean_up_takes_it(
    uri: str, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        run_id, folder = finished_run(uri, tmp_path, name)
    promote(uri, "m", run_id=run_id, model_folder=folder, checks=[PASSED])
    checkpoints = tmp_path / "two-run" / "checkpoints"
    marked = [path.name for path in checkpoints.iterdir() if is_protected(path)]
    assert marked == ["step-00000120"], "the step that the exported model is of"
    # The mark holds even where the registry has forgotten.
    client(uri).delete_registered_model("m")
    plan = plan_for(uri, "study", metric="best.objective", keep_best=0, min_age_days=0)
    assert {d.stored.name: d.remove for d in plan} == {"one": True, "two": False}


def test_looking_at_the_test_split_first_is_in_the_record(uri: str, tmp_path: Path) -> None:
    run_id, folder = finished_run(uri, tmp_path, "one")
    register_version(uri, "m", run_id, folder)
    assert not is_promoted(uri, "models:/m/1"), "registered is not promoted"
    digest = weights_digest(folder)
    looked = {
        name: open_run(uri, "evaluations", name, key=name, tags=tags)
        for name, tags in {
            "early": {EARLY_TEST_TAG: digest},
            "of others": {EARLY_TEST_TAG: "0" * 64},
            "on val": {},
        }.items()
    }
    for run in looked.values():
        run.finish()
    done = promote(uri, "m", run_id=run_id, model_folder=folder, checks=[PASSED])
    assert done.version == "1"
    assert is_promoted(uri, "models:/m@champion")
    assert history(uri, "m")[0].early_tests == [looked["early"].run_id]
    assert client(uri).get_model_version("m", "1").tags["reactdist.promotion_early_tests"] == "1"
