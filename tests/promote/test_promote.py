"""Promotion and rollback on a real registry: aliases, the record, refusals change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactdist.errors import GateNotMet, InputError, ReactdistError
from reactdist.promote.gate import Check
from reactdist.promote.promote import promote, rollback
from reactdist.promote.record import history
from reactdist.tracking import download_model, open_run, version_by_alias
from reactdist.tracking.store import client

PASSED = Check("FRCorr beats old", True, "0.4 against 0.3", {"low": 0.05})
FAILED = Check("same data", False, "old was scored on abc, the candidate on def")


def finished_run(uri: str, folder: Path, name: str) -> tuple[str, Path]:
    exported = folder / name
    exported.mkdir()
    (exported / "model.safetensors").write_bytes(name.encode())
    (exported / "config.yaml").write_text("model: {name: transvae}\n")
    run = open_run(uri, "study", name, key=name)
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
