"""`reactdist bench train`: what Ray Train and DeepSpeed cost over a plain torch loop.

Every figure is a ratio of two things measured one after the other in the same round, on the same
data and model: the command `reactdist train` on Ray Train against `train/bare.py`.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml

from reactdist.errors import ReactdistError
from reactdist.models.bench import machine
from reactdist.tracking.facts import RunFacts, read_run

EVERY = 10
"""Steps between two points of a run's curves, as by default."""
WARM_UP = 60
"""Steps that are not counted: first allocations, and seconds in which Ray still starts things."""
FRAMES = 256
"""Length of the generated clips, so of the longest crop."""
PAIRS = 8


@dataclass(frozen=True)
class Sizes:
    """What is timed."""

    steps: int = 300
    """Optimizer steps of each run, warm-up included."""
    step_s: float = 0.1
    """Wanted length of a step of the plain loop; the crop is chosen to give it."""
    rounds: int = 3
    batch: int = 4
    """Clips of a worker's step."""


@dataclass(frozen=True)
class Round:
    """One round; speeds are clips a second."""

    bare: float
    one_worker: float
    two_bare: float
    """Two unconnected plain loops at the same time, together."""
    two_workers: float
    wait_share: float
    """Part of its time that the one worker waited for data."""
    checkpoint_s: float
    """How long it stood still for a checkpoint."""

    @property
    def overhead(self) -> float:
        """Part by which a step of the one worker is longer than the plain loop's."""
        return self.bare / self.one_worker - 1

    @property
    def scaling(self) -> float:
        """Speed of two workers together as a part of two unconnected loops'."""
        return self.two_workers / self.two_bare


class Bench:
    """A generated release in a folder, and the loops that are run over it."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        from reactdist.data.build import build
        from reactdist.data.shards import Shards
        from reactdist.data.synth.release import write_release

        self.folder, self.sizes = folder, sizes
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.crop_frames = 64
        write_release(folder / "release", pairs=PAIRS, frames=FRAMES, seed=0, workers=2)
        build(folder / "release", folder / "shards", image_size=64, workers=2)
        self.items = len(Shards.open(folder / "shards").items("train"))

    def settings(self, name: str, world: int) -> dict[str, Any]:
        """The full-size online model on small pictures; one evaluation, at the end."""
        batch = self.sizes.batch * world
        epochs = math.ceil(self.sizes.steps * batch / self.items)
        return {
            "name": name,
            "experiment": "bench",
            "output": str(self.folder / "runs"),
            "epochs": epochs,
            "batch_size": batch,
            "log_every_steps": EVERY,
            "data": {"shards": str(self.folder / "shards"), "crop_frames": self.crop_frames},
            "model": {"task": "online", "image_size": 64, "video_norm": "frame"},
            "validation": {"items": 1, "frames": 64, "every_epochs": epochs, "num_samples": 2},
            "workers": {"count": world, "ray": True, "gpu": False},
        }

    def calibrate(self) -> float:
        """Choose the crop so that a plain step takes about `step_s`; how long it takes."""
        for _ in range(3):
            step_s = self.sizes.batch / self.bare(1, steps=WARM_UP + 20)
            wanted = round(self.crop_frames * self.sizes.step_s / step_s / 8) * 8
            if wanted == self.crop_frames or not 16 <= wanted <= FRAMES:
                break
            self.crop_frames = wanted
        return step_s

    def bare(self, copies: int, steps: int | None = None) -> float:
        """Clips a second of `copies` plain loops at the same time, counted while all of them run.

        Raises:
            ReactdistError: one of them failed.
        """
        config = self._write("bare", 1)
        command = [sys.executable, "-m", "reactdist.train.bare", str(config)]
        command.append(str(steps or self.sizes.steps))
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        processes = [
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
            )
            for _ in range(copies)
        ]
        said = [process.communicate() for process in processes]
        if any(process.returncode for process in processes):
            raise ReactdistError(f"the plain loop failed: {said[0][1][-300:]}")
        ends = [json.loads(out) for out, _ in said]
        first = max(times[WARM_UP - 1] for times in ends)
        last = min(times[-1] for times in ends)
        clips = self.sizes.batch * sum(_steps_between(times, first, last) for times in ends)
        return clips / (last - first)

    def trained(self, world: int, number: int) -> RunFacts:
        """What MLflow knows of a run of the real command with `world` workers on Ray Train.

        Raises:
            ReactdistError: it failed.
        """
        config = self._write(f"ray-{world}-{number}", world)
        command = [sys.executable, "-m", "reactdist.cli", "train", str(config)]
        done = subprocess.run(
            [*command, "--tracking", self.uri], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ReactdistError(f"the run failed: {(done.stderr or done.stdout)[-300:]}")
        return read_run(self.uri, config.stem)

    def round(self, number: int) -> Round:
        """Measure everything once."""
        bare = self.bare(1)
        one = self.trained(1, number)
        two_bare = self.bare(2)
        two = self.trained(2, number)
        return Round(
            bare=bare,
            one_worker=clips_per_s(one),
            two_bare=two_bare,
            two_workers=clips_per_s(two),
            wait_share=_mean(one, "data_wait_share"),
            checkpoint_s=max(value for _, value in one.curves["checkpoint_s"]),
        )

    def _write(self, name: str, world: int) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(self.settings(name, world)))
        return path


def clips_per_s(run: RunFacts) -> float:
    """Clips a second of a run after its warm-up: every point is the speed since the one before."""
    speeds = [value for step, value in run.curves["clips_per_s"] if _counts(step)]
    return len(speeds) / sum(1 / speed for speed in speeds)


def _mean(run: RunFacts, name: str) -> float:
    values = [value for step, value in run.curves[name] if _counts(step)]
    return sum(values) / len(values)


def _counts(step: int) -> bool:
    return step > WARM_UP and step % EVERY == 0


def _steps_between(ends: list[float], first: float, last: float) -> float:
    """Steps done in a span of time; those at its borders count in part."""
    spans = itertools.pairwise(ends)
    return sum(max(0.0, min(b, last) - max(a, first)) / (b - a) for a, b in spans)


def run(
    folder: Path, sizes: Sizes | None = None, say: Callable[[str], None] = lambda line: None
) -> list[Round]:
    """Measure, print the table with the machine; `say` hears of progress."""
    from reactdist.terminal import console, table

    sizes = sizes or Sizes()
    torch.set_num_threads(1)
    say("writing clips")
    bench = Bench(folder, sizes)
    step_s = bench.calibrate()
    say(f"a plain step takes {step_s * 1e3:.0f} ms: crops of {bench.crop_frames} frames")
    rounds = []
    for number in range(sizes.rounds):
        rounds.append(bench.round(number))
        done = rounds[-1]
        say(
            f"round {number + 1} of {sizes.rounds}: overhead {done.overhead:+.1%}, "
            f"two workers {done.scaling:.2f}x"
        )
    shown = table(
        f"Ray Train + DeepSpeed against a plain torch loop, steps of "
        f"{1e3 * sizes.batch / median(r.bare for r in rounds):.0f} ms\n"
        f"{machine(torch.device('cpu'))}"
    )
    for column in ("what", "median", "rounds", "asked"):
        shown.add_column(column)
    for what, values, form, asked in (
        ("time of one worker over the loop's", [r.overhead for r in rounds], "{:+.1%}", "5%"),
        ("clips/s of two workers over two loops'", [r.scaling for r in rounds], "{:.2f}x", "0.9x"),
        ("time waiting for data", [r.wait_share for r in rounds], "{:.1%}", "-"),
        ("pause for a checkpoint", [r.checkpoint_s for r in rounds], "{:.2f} s", "2 s"),
    ):
        every = " ".join(form.format(value) for value in values)
        shown.add_row(what, form.format(median(values)), every, asked)
    console().print(shown)
    return rounds
