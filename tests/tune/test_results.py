"""From a study's journal to its result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reactdist.errors import ReactdistError
from reactdist.evaluate.objective import OBJECTIVE
from reactdist.evaluate.study import read_study
from reactdist.tune.journal import Journal, Report
from reactdist.tune.places import Needs
from reactdist.tune.results import pareto, refuse_all_failed, study_result
from reactdist.tune.settings import StudySettings

ONE = Needs(count=1, cpus=2, gpus=0.5, group=False)


def test_no_row_of_the_pareto_set_is_beaten_and_every_other_is() -> None:
    generator = np.random.default_rng(0)
    for _ in range(100):
        values = generator.integers(0, 5, size=(12, 3)).astype(float)
        values[0, 0] = np.nan
        maximise = generator.random(3) < 0.5
        kept = pareto(values.tolist(), maximise.tolist())
        signed = np.where(maximise, values, -values)
        for row, is_kept in zip(signed, kept, strict=True):
            beaten = any(
                all(a >= b for a, b in zip(other, row, strict=True)) and tuple(other) != tuple(row)
                for other in signed[1:]
            )
            assert is_kept == (not beaten and not np.isnan(row).any())
    assert pareto([], [True, False]) == []


def recorded() -> Journal:
    journal = Journal(None)
    for number, (corr, dist, end) in enumerate(
        [(0.5, 50.0, "finished"), (0.7, 60.0, "stopped"), (0.4, 55.0, "finished"), (0, 0, "")]
    ):
        journal.propose(number, {"loss.kl_weight": 1e-4 * (number + 1)})
        if end:
            for epoch, share in ((1, 1.0), (2, 0.9)):
                metrics = {OBJECTIVE: corr * share, "FRCorr": corr * share, "FRDist": dist / share}
                report = Report(epoch, 10 * epoch, metrics)
                journal.report(number, report, seconds=900, end=end if epoch == 2 else "")
    journal.propose(4, {"loss.kl_weight": 1e-2})
    journal.fail(4, "died")
    return journal


def test_trials_are_ranked_by_their_best_evaluation(tmp_path: Path) -> None:
    study = StudySettings(study="s")
    result = study_result(
        study, recorded(), ONE, run_id="r", max_steps=40, wall_s=1.0, ended_by="2 of 2 hours"
    )
    assert [trial.number for trial in result.trials] == [1, 0, 2, 3, 4]
    assert [trial.end for trial in result.trials] == [
        "stopped early", "finished", "finished", "cut off", "failed",
    ]  # fmt: skip
    best = result.best
    assert (best.trial, best.objective, best.metrics) == (
        "s-001", 0.7, {"FRCorr": 0.7, "FRDist": 60.0},
    )  # fmt: skip
    assert best.curve == [(10, 0.7), (20, pytest.approx(0.63))]
    assert (best.epochs, best.train_steps, best.stopped_early) == (2, 20, True)
    # 0.4 at 55 is beaten by 0.5 at 50.
    assert sorted(result.pareto) == ["s-000", "s-001"]
    assert result.core_hours == pytest.approx(6 * 900 / 3600 * 2)
    assert result.gpu_hours == pytest.approx(6 * 900 / 3600 * 0.5)
    result.write(tmp_path)
    assert repr(read_study(tmp_path)) == repr(result)


def test_a_study_without_a_single_value_says_why(tmp_path: Path) -> None:
    journal = Journal(None)
    journal.propose(0, {})
    journal.fail(0, "no space left")
    result = study_result(
        StudySettings(), journal, ONE, run_id="", max_steps=1, wall_s=1.0, ended_by=""
    )
    with pytest.raises(ReactdistError, match="every trial failed: no space left"):
        refuse_all_failed(result, tmp_path)
