"""What a trial costs beside its training, on a cluster that is warm."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactdist.config import parse
from reactdist.data.build import build
from reactdist.data.shards import Shards
from reactdist.data.synth.release import write_release
from reactdist.tracking import prepare
from reactdist.train.keeper import prepare_folder
from reactdist.train.launch import train_here
from reactdist.train.loop import Evaluation, Reporter, StepRecord
from reactdist.train.settings import TrainSettings
from reactdist.tune.search import study_folder, tune
from reactdist.tune.settings import StudySettings

TRIALS = 8
_RUN: Mapping[str, Any] = {
    "experiment": "bench",
    "epochs": 2,
    "batch_size": 4,
    "data": {"crop_frames": 16},
    "model": {
        "name": "transvae",
        "task": "online",
        "image_size": 40,
        "feature_dim": 16,
        "latent_dim": 8,
        "window_size": 8,
        "video_norm": "frame",
        "max_history_frames": 16,
    },
    "optimizer": {"lr": 1e-3},
    "validation": {"items": 2, "frames": 24, "num_samples": 2},
}


@dataclass(frozen=True)
class Overhead:
    """Seconds of one trial, medians."""

    trial_s: float
    """From the end of one trial to the end of the next, one at a time, actors reused."""
    work_s: float
    """Optimizer steps and evaluations of the same run in this process."""
    alone_s: float
    """The whole run in this process: model, engine, MLflow, checkpoints and export included."""

    @property
    def overhead_s(self) -> float:
        """Everything that is not a step or an evaluation."""
        return self.trial_s - self.work_s


class _Stopwatch(Reporter):
    """Seconds of a run's steps and evaluations."""

    def __init__(self) -> None:
        self.work_s = 0.0
        self._last = time.perf_counter()

    def started(self, facts: Mapping[str, Any]) -> None:
        """The first step comes now."""
        self._last = time.perf_counter()

    def step(self, record: StepRecord) -> None:
        """A step ended."""
        self._lap()

    def evaluated(self, evaluation: Evaluation) -> None:
        """An evaluation ended, its checkpoint and export with it."""
        self._lap()

    def _lap(self) -> None:
        now = time.perf_counter()
        self.work_s += now - self._last
        self._last = now


def measure_overhead(folder: Path) -> Overhead:
    """Run a study of tiny trials one at a time, and the same run alone; files go to `folder`."""
    write_release(folder / "release", pairs=8, frames=80, seed=3, workers=1)
    build(folder / "release", folder / "shards", image_size=40, workers=1)
    uri = f"sqlite:///{folder.resolve()}/mlflow.db"
    prepare(uri)
    data = {**_RUN["data"], "shards": str(folder / "shards")}
    base = {**_RUN, "data": data, "output": str(folder / "runs")}
    study = parse(
        StudySettings,
        {
            "study": "bench",
            "base": base,
            "space": {"loss.kl_weight": {"loguniform": [1e-6, 1e-2]}},
            "trials": TRIALS,
            "searcher": {"kind": "random"},
            "scheduler": {"kind": "fifo"},
            "trial": {"max_concurrent": 1},
        },
    )
    tune(study, tracking=uri)
    trials = study_folder(study) / "trials"
    ends = sorted(file.stat().st_mtime for file in trials.glob("*/finished.json"))
    between = [later - earlier for earlier, later in itertools.pairwise(ends)]
    alone, work = zip(*(_alone(base, uri, number) for number in range(3)), strict=True)
    return Overhead(
        trial_s=statistics.median(between[1:]),
        work_s=statistics.median(work[1:]),
        alone_s=statistics.median(alone[1:]),
    )


def _alone(base: Mapping[str, Any], uri: str, number: int) -> tuple[float, float]:
    settings = parse(TrainSettings, {**base, "name": f"alone-{number}"}).absolute()
    prepare_folder(settings)
    watch, started = _Stopwatch(), time.perf_counter()
    train_here(settings, uri, Shards.open(settings.data.shards), reporters=[watch])
    return time.perf_counter() - started, watch.work_s
