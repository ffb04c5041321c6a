"""Searches over recorded curves: the same decisions as Ray Tune's, and honest arithmetic."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reactdist.evaluate.objective import OBJECTIVE
from reactdist.tune.bench import METHODS, _reaches, _read, _with, compare_searches
from reactdist.tune.curves import grid, levels, nearest_recorded, recorded_study
from reactdist.tune.journal import Journal
from reactdist.tune.replay import Moment, replay
from tests.tune import recorded_study as recorded_study_process
from tests.tune.recorded_study import made_up_curves

STUDY = recorded_study()


def test_the_nearest_recorded_configuration_is_the_nearest_of_all() -> None:
    generator = np.random.default_rng(0)
    low, high = np.log(STUDY.space["loss.kl_weight"].loguniform or ())
    for _ in range(200):
        config = {
            "loss.kl_weight": float(np.exp(generator.uniform(low, high))),
            "model.window_size": int(generator.choice(levels(STUDY.space["model.window_size"]))),
            "model.latent_dim": int(generator.choice(levels(STUDY.space["model.latent_dim"]))),
        }
        brute = min(
            grid(STUDY.space),
            key=lambda c: (
                c[1:] != tuple(config.values())[1:],
                abs(math.log(c[0] / config["loss.kl_weight"])),
            ),
        )
        assert nearest_recorded(STUDY.space, config) == brute


def test_random_search_is_the_best_of_what_it_drew() -> None:
    curves = made_up_curves()
    longest = 10 * STUDY.base.epochs
    study = _with(STUDY, METHODS["random"], seed=5)
    moments = replay(study, curves, budget_steps=8 * longest, workers=1)
    from reactdist.tune.policies import Proposals
    from reactdist.tune.trial import NUMBER

    proposals = Proposals(study, Journal(None))
    drawn = []
    for number in range(8):
        config = proposals.suggest(str(number))
        del config[NUMBER]
        drawn.append(curves[nearest_recorded(study.space, config)][-1].metrics[OBJECTIVE])
    ends = [
        m for before, m in itertools.pairwise([Moment(0, 0, 0), *moments]) if m.ended > before.ended
    ]
    assert [moment.best for moment in ends] == list(np.maximum.accumulate(drawn))
    assert [moment.steps for moment in ends] == [longest * n for n in range(1, 9)]


def test_workers_share_the_budget_and_time_decides_who_is_next() -> None:
    curves = made_up_curves()
    study = _with(STUDY, METHODS["TPE + ASHA"], seed=0)
    for workers in (1, 3):
        moments = replay(study, curves, budget_steps=500, workers=workers)
        assert moments[-1].steps == 500
        assert all(b.steps - a.steps == 10 for a, b in itertools.pairwise(moments))
        assert all(b.best >= a.best for a, b in itertools.pairwise(moments))
    stopped = moments[-1].ended * 10 * STUDY.base.epochs > 500
    assert stopped, "ASHA ends trials before their last epoch"


def test_best_so_far_is_read_at_what_was_spent() -> None:
    history = [Moment(10, 0, 0.1), Moment(20, 1, 0.3), Moment(40, 2, 0.5)]
    read = _read(history, [m.steps for m in history], np.array([5, 10, 30, 40, 99]))
    np.testing.assert_array_equal(read, [np.nan, 0.1, 0.3, 0.5, 0.5])
    assert _reaches(np.array([0.1, 0.3, 0.5]), 0.25, np.array([0.2, 0.4, 0.6])) == 0.4
    assert _reaches(np.array([0.1, 0.3]), 0.6, np.array([0.2, 0.4])) == math.inf


def test_the_recorded_curves_are_whole_and_compare() -> None:
    found = compare_searches(2)
    assert found.configurations == len(grid(STUDY.space)) >= 40
    assert [row.method for row in found.methods] == list(METHODS)
    for row in found.methods:
        assert row.final.estimate <= found.best
    # Most of what a search finds is no noise between seeds: that is a quarter of the variance.
    assert found.repeat_sd**2 < 0.3 * found.between_sd**2


@pytest.mark.slow
@pytest.mark.cluster
def test_a_replay_decides_what_ray_tune_decides(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "tests.tune.recorded_study", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        check=True,
        timeout=400,
    )
    journal = Journal(tmp_path / "trials.jsonl")
    assert len(journal.ended) == recorded_study_process.TRIALS
    steps = sum(max(trial.reports) for trial in journal.trials.values())
    replayed = Journal(None)
    replay(
        recorded_study_process.study(),
        made_up_curves(),
        budget_steps=steps,
        workers=1,
        journal=replayed,
    )
    theirs, ours = (
        [(t.config, t.end, list(t.reports)) for t in list(j.trials.values())[: len(journal.ended)]]
        for j in (journal, replayed)
    )
    assert ours == theirs
    assert {end for _, end, _ in theirs} == {"finished", "stopped"}
