"""What a killed search leaves behind, cut at every byte."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

from reactdist.errors import InputError
from reactdist.evaluate.objective import OBJECTIVE
from reactdist.tune.journal import FAILED_OBJECTIVE, Journal, Report


def write(path: Path) -> list[int]:
    """A journal of three trials; the file's length after every event."""
    journal = Journal(path)
    lengths = [0]
    for event in (
        lambda: journal.propose(0, {"a": 1.5, "b": "ü"}),
        lambda: journal.propose(1, {"a": 2.5, "b": "y"}),
        lambda: journal.report(0, Report(1, 10, {OBJECTIVE: 0.5}), seconds=2.0),
        lambda: journal.report(1, Report(1, 10, {OBJECTIVE: 0.1}), seconds=3.0, end="stopped"),
        lambda: journal.report(0, Report(2, 20, {OBJECTIVE: 0.7}), seconds=2.0, end="finished"),
        lambda: journal.propose(2, {"a": 3.5, "b": "z"}),
        lambda: journal.fail(2, "died"),
    ):
        event()
        lengths.append(path.stat().st_size)
    return lengths


def test_everything_comes_back(tmp_path: Path) -> None:
    write(tmp_path / "j")
    journal = Journal(tmp_path / "j")
    assert [(t.number, t.config["b"], t.end, t.error) for t in journal.trials.values()] == [
        (0, "ü", "finished", ""), (1, "y", "stopped", ""), (2, "z", "failed", "died"),
    ]  # fmt: skip
    assert [(n, r.step, r.objective) for n, r in journal.reports] == [
        (0, 10, 0.5), (1, 10, 0.1), (0, 20, 0.7),
    ]  # fmt: skip
    assert journal.trials[0].seconds == 4.0
    assert journal.unfinished == []


def test_a_kill_at_any_byte_loses_at_most_the_event_being_written(tmp_path: Path) -> None:
    lengths = write(tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    for cut in range(len(data)):
        path = tmp_path / "cut"
        path.write_bytes(data[:cut])
        journal = Journal(path)
        events = sum(length <= cut for length in lengths) - 1
        assert len(path.read_bytes()) == lengths[events]
        # It can be written on.
        journal.propose(9, {"a": 0.0, "b": ""})
        assert 9 in Journal(path).trials
        assert len(Journal(path).trials) == len(journal.trials)


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    write(tmp_path / "j")
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    lines[2] = b"{broken\n"
    (tmp_path / "j").write_bytes(b"".join(lines))
    with pytest.raises(InputError, match="line 3 cannot be read"):
        Journal(tmp_path / "j")


def test_an_evaluation_that_is_repeated_after_a_resume_counts_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.propose(0, {})
    for seconds in (5.0, 1.0):
        journal.report(0, Report(1, 10, {OBJECTIVE: 0.5}), seconds=seconds)
    assert len(journal.reports) == 1
    assert journal.trials[0].seconds == 6.0  # its time was used twice


def test_a_copy_is_the_same_record(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.propose(0, {"a": 1})
    assert copy.deepcopy(journal) is journal
    assert pickle.loads(pickle.dumps(journal)).trials == journal.trials


def test_an_undefined_objective_compares(tmp_path: Path) -> None:
    assert Report(1, 1, {OBJECTIVE: float("nan")}).objective == FAILED_OBJECTIVE
