"""What a resumed search remembers: proposals and stops as if it had never been killed."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from reactdist.config import parse
from reactdist.errors import InputError
from reactdist.evaluate.objective import OBJECTIVE
from reactdist.tune.journal import End, Journal, Report
from reactdist.tune.policies import Proposals, StudyScheduler, as_result
from reactdist.tune.settings import StudySettings
from reactdist.tune.space import grid_configs, num_trials
from reactdist.tune.trial import NUMBER

EPOCHS = 9
BASE = {
    "model": {"task": "online", "image_size": 64},
    "data": {"crop_frames": 64},
    "epochs": EPOCHS,
}
SPACE = {
    "loss.kl_weight": {"loguniform": [1e-6, 1e-2]},
    "model.window_size": {"choice": [8, 16, 32]},
}


class Killed(Exception):
    """Stands for a kill -9: nothing after it happens."""


def study(kind: str, scheduler: str, **changes: Any) -> StudySettings:
    values = {
        "study": "s",
        "base": BASE,
        "space": SPACE,
        "trials": 12,
        "searcher": {"kind": kind, "seed": 3, "startup_trials": 4},
        "scheduler": {"kind": scheduler, "grace_epochs": 1},
    }
    return parse(StudySettings, {**values, **changes})


def value(config: dict[str, Any], epoch: int) -> float:
    """A made-up learning curve with a best kl_weight of 1e-4 and a best window of 16."""
    away = abs(math.log10(config["loss.kl_weight"]) + 4) + abs(config["model.window_size"] - 16) / 8
    return -away - 1.0 / epoch


def search(settings: StudySettings, journal: Journal, kill_after: int | None = None) -> None:
    """One trial after the other, as Ray Tune would; a trial that goes on repeats its reports."""
    proposals, scheduler = Proposals(settings, journal), StudyScheduler(settings, journal)
    events = started = 0
    while len(journal.ended) < num_trials(settings):
        started += 1
        config = proposals.suggest(f"t{started}")
        trial = SimpleNamespace(config=dict(config))
        number = config.pop(NUMBER)
        scheduler.on_trial_add(None, trial)
        for epoch in range(1, EPOCHS + 1):
            report = Report(epoch, 10 * epoch, {OBJECTIVE: value(config, epoch)})
            decision = scheduler.on_trial_result(None, trial, as_result(report))
            stop = decision == TrialScheduler.STOP
            end: End = "finished" if epoch == EPOCHS else "stopped" if stop else ""
            events += 1
            if events == kill_after:
                raise Killed  # decided, and not written down
            journal.report(number, report, seconds=1.0, end=end)
            if end:
                break
        proposals.on_trial_complete(f"t{started}", as_result(report))


def story(journal: Journal) -> list[Any]:
    """What was tried, in order, and how it ended."""
    return [(t.number, t.config, t.end, list(t.reports)) for t in journal.trials.values()]


@pytest.mark.parametrize("scheduler", ["asha", "median", "fifo"])
@pytest.mark.parametrize("searcher", ["random", "grid"])
def test_killed_at_any_moment_a_search_ends_as_if_it_had_not_been(
    searcher: str, scheduler: str
) -> None:
    space = {**SPACE, "loss.kl_weight": {"choice": [1e-6, 1e-5, 1e-4, 1e-3]}}
    given = study(searcher, scheduler, space=space if searcher == "grid" else SPACE)
    whole = Journal(None)
    search(given, whole)
    if scheduler != "fifo":
        assert {trial.end for trial in whole.trials.values()} == {"finished", "stopped"}
    for kill in range(1, len(whole.reports) + 1, 3):
        killed = Journal(None)
        with pytest.raises(Killed):
            search(given, killed, kill_after=kill)
        search(given, killed)
        assert story(killed) == story(whole), kill


def test_a_resumed_tpe_knows_every_trial_and_proposes_nothing_twice() -> None:
    given = study("tpe", "asha", trials=24)
    journal = Journal(None)
    for kill in (5, 20, 9, 31):
        with pytest.raises(Killed):
            search(given, journal, kill_after=kill)
    search(given, journal)
    assert [trial.number for trial in journal.trials.values()] == list(range(24))
    tried = [tuple(trial.config.values()) for trial in journal.trials.values()]
    assert len(set(tried)) == len(tried)
    known = Proposals(given, journal)._tpe._ot_study.trials
    assert [trial.value for trial in known] == [
        list(trial.reports.values())[-1].objective for trial in journal.trials.values()
    ]
    # It learned: late proposals are nearer to the best kl_weight than the random first ones.
    far = [abs(math.log10(kl) + 4) for kl, _ in tried]
    assert sum(far[-8:]) / 8 < sum(far[:4]) / 4


def test_the_same_seed_proposes_the_same() -> None:
    for kind in ("random", "tpe"):
        journals = [Journal(None), Journal(None)]
        for journal in journals:
            search(study(kind, "asha"), journal)
        assert story(journals[0]) == story(journals[1])
        other = Journal(None)
        search(study(kind, "asha", searcher={"kind": kind, "seed": 4}), other)
        assert story(other) != story(journals[0])


def test_first_configurations_come_first_and_once() -> None:
    first = [{"loss.kl_weight": 1e-5 * n, "model.window_size": 8} for n in (1, 2, 3)]
    for kind in ("random", "tpe"):
        given = study(kind, "fifo", trials=6, searcher={"kind": kind, "first": first})
        journal = Journal(None)
        with pytest.raises(Killed):
            search(given, journal, kill_after=EPOCHS + 2)  # in the second trial
        search(given, journal)
        configs = [trial.config for trial in journal.trials.values()]
        assert configs[:3] == first
        assert not any(config in first for config in configs[3:])


def test_a_grid_is_every_combination_once() -> None:
    space = {"a.b": {"choice": [1, 2]}, "c": {"choice": ["x", "y", "z"]}}
    given = study("grid", "fifo").model_copy(
        update={"space": parse(StudySettings, {"space": space}).space}
    )
    assert grid_configs(given) == [
        {"a.b": a, "c": c} for a in (1, 2) for c in ("x", "y", "z")
    ]  # fmt: skip
    assert num_trials(given) == 6


def test_a_failed_trial_teaches_tpe_that_it_is_the_worst() -> None:
    given = study("tpe", "fifo")
    journal = Journal(None)
    proposals = Proposals(given, journal)
    proposals.suggest("a")
    journal.fail(0, "died")
    proposals.on_trial_complete("a", error=True)
    assert [trial.value for trial in proposals._tpe._ot_study.trials] == [-1e9]
    assert [t.value for t in Proposals(given, journal)._tpe._ot_study.trials] == [-1e9]


# A study of the same space that ran before.


def earlier(folder: Path, trials: int = 8, **changes: Any) -> StudySettings:
    from reactdist.config import to_yaml

    settings = study("random", "fifo", trials=trials, **changes)
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(to_yaml(settings))
    if set(settings.space) == set(SPACE):
        search(settings, Journal(folder / "trials.jsonl"))
    else:
        Journal(folder / "trials.jsonl").propose(0, {})
    return settings


def warm(folder: Path, **changes: Any) -> StudySettings:
    return study("tpe", "fifo", searcher={"kind": "tpe", "warm_start": str(folder)}, **changes)


def test_a_warm_start_tells_tpe_of_the_earlier_trials(tmp_path: Path) -> None:
    from reactdist.tune.warm_start import earlier_trials

    earlier(tmp_path / "old", trials=16)
    given = warm(tmp_path / "old")
    known = earlier_trials(given)
    assert len(known) == 16
    proposals = Proposals(given, Journal(None), known)
    assert len(proposals._tpe._ot_study.trials) == 16
    # Sixteen known trials are more than the random start takes: the model proposes at once.
    away = [
        abs(math.log10(proposals.suggest(f"t{n}")["loss.kl_weight"]) + 4) for n in range(6)
    ]  # fmt: skip
    cold = Proposals(study("tpe", "fifo"), Journal(None))
    assert sum(away) < sum(
        abs(math.log10(cold.suggest(f"t{n}")["loss.kl_weight"]) + 4) for n in range(6)
    )


def test_trials_outside_the_new_space_are_left_out(tmp_path: Path) -> None:
    from reactdist.tune.warm_start import earlier_trials

    earlier(tmp_path / "old", trials=16)
    narrow = {**SPACE, "model.window_size": {"choice": [16]}}
    known = earlier_trials(warm(tmp_path / "old", space=narrow))
    assert 0 < len(known) < 16
    assert {trial.config["model.window_size"] for trial in known} == {16}
    with pytest.raises(InputError, match="none of its 16 ended trials lies in this space"):
        earlier_trials(
            warm(tmp_path / "old", space={**SPACE, "model.window_size": {"choice": [4]}})
        )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"space": {**SPACE, "model.window_sizes": {"choice": [8]}}},
            "this study does not search 'model.window_sizes' - did you mean 'model.window_size'?",
        ),
        ({"space": {"loss.kl_weight": {"choice": [1e-5]}}}, "it did not search 'model.window"),
        (
            {"base": {**BASE, "validation": {"items": 3}}},
            "means something else (base.validation.items: 3 there, 64 here)",
        ),
    ],
)
def test_a_warm_start_from_another_search_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    from reactdist.tune.warm_start import earlier_trials

    earlier(tmp_path / "old", **changes)
    with pytest.raises(InputError) as raised:
        earlier_trials(warm(tmp_path / "old"))
    assert said in raised.value.line()


def test_a_warm_start_needs_a_study_and_a_searcher_that_learns(tmp_path: Path) -> None:
    from reactdist.tune.warm_start import earlier_trials

    with pytest.raises(InputError, match="no study there"):
        earlier_trials(warm(tmp_path / "nothing"))
    with pytest.raises(InputError, match="random does not learn from trials"):
        study("random", "fifo", searcher={"kind": "random", "warm_start": str(tmp_path)})
