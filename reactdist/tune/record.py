"""Record the learning curves that `reactdist bench tune` replays; resumable, one core."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from reactdist.data.build import build
from reactdist.data.synth.release import write_release
from reactdist.train.keeper import prepare_folder
from reactdist.train.loop import Evaluation, Reporter
from reactdist.train.settings import TrainSettings
from reactdist.train.worker import quiet_libraries, run_worker
from reactdist.tune.curves import METRICS, REPEATS, grid, read_curves, recorded_study
from reactdist.tune.settings import StudySettings
from reactdist.tune.space import settings_of

PAIRS, FRAMES, IMAGE_SIZE = 66, 160, 40


class Recorder(Reporter):
    """Rows of one run, an evaluation each."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._started = time.process_time()

    def started(self, facts: Mapping[str, Any]) -> None:
        """The clock starts when the run can."""
        self._started = time.process_time()

    def evaluated(self, evaluation: Evaluation) -> None:
        """One row."""
        values = {name: f"{evaluation.metrics[name]:.6g}" for name in METRICS}
        cpu_s = f"{time.process_time() - self._started:.2f}"
        self.rows.append(
            {"epoch": evaluation.epoch, "step": evaluation.step, **values, "cpu_s": cpu_s}
        )


def record(folder: Path, path: Path, say: Callable[[str], None]) -> None:
    """Train every configuration of the recorded study's grid and append its curve to `path`.

    The release and its shards are made in `folder` when they are not there. A configuration whose
    curve is in `path` is not trained again; one that was interrupted starts anew.
    """
    quiet_libraries()
    shards = folder / "shards"
    _build(folder / "release", shards)
    study = recorded_study([f"base.data.shards={shards}", f"base.output={folder / 'runs'}"])
    there = read_curves(study.space, path) if path.exists() else {}
    configs = grid(study.space)
    # Every so many configurations once more with another seed.
    again = configs[:: max(1, len(configs) // REPEATS)][:REPEATS]
    wanted = [(config, 0) for config in spread(configs)] + [(config, 1) for config in again]
    for number, (config, seed) in enumerate(wanted, 1):
        if (config, seed) in there:
            continue
        values = dict(zip(study.space, config, strict=True))
        rows = _train(study, values, seed)
        _append(path, [{**values, "seed": seed, **row} for row in rows])
        say(f"{number}/{len(wanted)} seed {seed} {values}: {rows[-1]}")


def spread(configs: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The same configurations in an order whose every beginning covers the grid."""
    stride = next(s for s in range(len(configs) * 5 // 8, len(configs)) if len(configs) % s)
    order = dict.fromkeys(i * stride % len(configs) for i in range(len(configs)))
    rest = (i for i in range(len(configs)) if i not in order)
    return [configs[i] for i in [*order, *rest]]


def _build(release: Path, shards: Path) -> None:
    if not release.exists():
        write_release(release, pairs=PAIRS, frames=FRAMES, seed=0, workers=1)
    build(release, shards, image_size=IMAGE_SIZE, workers=1)


def _train(study: StudySettings, values: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    run: TrainSettings = settings_of(study, values, "recording").model_copy(update={"seed": seed})
    shutil.rmtree(run.folder, ignore_errors=True)
    prepare_folder(run)
    recorder = Recorder()
    run_worker(run, torch.device("cpu"), [recorder])
    shutil.rmtree(run.folder)
    return recorder.rows


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)
