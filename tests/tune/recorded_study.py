"""A real Ray Tune study over made-up learning curves: `python -m tests.tune.recorded_study OUT`.

A process of its own, since a Ray session is set up before Ray is first imported.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from reactdist.distributed.session import ray_session
from reactdist.evaluate.objective import OBJECTIVE
from reactdist.tune.curves import Curve, Point, grid, nearest_recorded, recorded_study
from reactdist.tune.journal import Journal
from reactdist.tune.settings import StudySettings

TRIALS = 16


def made_up_curves() -> dict[tuple[Any, ...], Curve]:
    """A curve a configuration: later is better, one kl_weight is best, no two are equal."""
    study = recorded_study()
    curves = {}
    for place, config in enumerate(grid(study.space)):
        height = 1.0 - abs(math.log10(config[0]) + 3) / 6 + 0.01 * math.sin(place)
        curves[config] = tuple(
            Point(epoch, 10 * epoch, {OBJECTIVE: height * epoch / 6}, 2.0 * epoch)
            for epoch in range(1, study.base.epochs + 1)
        )
    return curves


def study() -> StudySettings:
    """TPE and ASHA, one trial at a time."""
    return recorded_study(["searcher.seed=1", f"trials={TRIALS}"])


def main(out: Path) -> None:
    """Search, with the recorded evaluations reported at once; the journal goes to `out`."""
    settings, curves, journal = study(), made_up_curves(), Journal(out / "trials.jsonl")
    with ray_session(num_cpus=1):
        from ray import tune as ray_tune

        from reactdist.tune.hooks import Progress
        from reactdist.tune.policies import Proposals, StudyScheduler
        from reactdist.tune.search import quiet_tune
        from reactdist.tune.trial import NUMBER, as_result

        def trainable(config: dict[str, Any]) -> None:
            searched = {key: value for key, value in config.items() if key != NUMBER}
            for point in curves[nearest_recorded(settings.space, searched)]:
                ray_tune.report(as_result(point.epoch, point.step, dict(point.metrics)))

        quiet_tune()
        ray_tune.Tuner(
            trainable,
            tune_config=ray_tune.TuneConfig(
                search_alg=Proposals(settings, journal),
                scheduler=StudyScheduler(settings, journal),
                num_samples=TRIALS,
                max_concurrent_trials=1,
                reuse_actors=True,
            ),
            run_config=ray_tune.RunConfig(
                name="ray_tune",
                storage_path=str(out.resolve()),
                verbose=0,
                callbacks=[Progress(journal, TRIALS, settings.base.epochs)],
            ),
        ).fit()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
