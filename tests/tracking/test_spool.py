"""The spool on disk: order, what a crash leaves, what is removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactdist.tracking.spool import Spool, SpoolHeader, read_header, spools_under

HEADER = SpoolHeader("sqlite:///x.db", "e", "k", "run")


def record(step: int) -> dict:
    return {"op": "metrics", "time_ms": step, "step": step, "values": {"loss": step}}


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_cut_short_costs_itself_and_nothing_after_it(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path / "s", HEADER)
    for step in range(3):
        spool.append(record(step))
    spool.close()
    records = tmp_path / "s" / "records.jsonl"
    records.write_bytes(records.read_bytes()[:-cut])

    again = Spool(tmp_path / "s", HEADER)
    assert [r["step"] for r in again.pending] == [0, 1]
    again.append(record(3))
    again.close()
    assert [r["step"] for r in Spool(tmp_path / "s", HEADER).pending] == [0, 1, 3]


def test_what_was_sent_is_remembered_and_an_emptied_spool_goes(tmp_path: Path) -> None:
    folder = tmp_path / "spools" / "s"
    spool = Spool(folder, HEADER)
    for step in range(4):
        spool.append(record(step))
    spool.mark_sent(3)
    spool.close()
    again = Spool(folder, HEADER)
    assert [r["step"] for r in again.found] == [0, 1, 2]
    assert [r["step"] for r in again.pending] == [3]
    again.mark_sent(1)
    again.close()
    assert not folder.parent.exists()


def test_artifacts_are_copies_and_go_when_they_are_sent(tmp_path: Path) -> None:
    source = tmp_path / "model"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a").write_text("old")
    spool = Spool(tmp_path / "s", HEADER)
    staged = spool.stage(source)
    spool.append({"op": "artifacts", "staged": staged, "artifact_path": "m"})
    (source / "deep" / "a").write_text("new")
    assert (tmp_path / "s" / staged / "deep" / "a").read_text() == "old"
    spool.mark_sent(1)
    assert not (tmp_path / "s" / staged).exists()
    spool.close()


def test_a_spool_with_a_rejected_record_is_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", HEADER)
    spool.append(record(0))
    spool.reject(spool.pending[0], "no such run")
    spool.mark_sent(1)
    spool.close()
    assert "no such run" in (tmp_path / "s" / "rejected.jsonl").read_text()


def test_spools_are_found_by_their_header(tmp_path: Path) -> None:
    for name in ("b", "a"):
        spool = Spool(tmp_path / "deep" / name, HEADER)
        spool.append(record(0))
        spool.close()
    (tmp_path / "run.json").write_text('{"another": "program"}')
    (tmp_path / "deep" / "run.json").write_text("not json")
    assert [folder.name for folder in spools_under(tmp_path)] == ["a", "b"]
    assert read_header(tmp_path / "deep" / "a") == HEADER
    assert read_header(tmp_path) is None
