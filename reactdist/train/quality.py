"""Train several models alike, score them on held-out clips: the comparison of QUALITY.md.

One command makes the data, trains every model with every seed, and scores it beside the naive
baselines. It stores a row for each finished run and skips what has one, so it can be stopped at
any time. Seeds are the outer loop: what is there of an unfinished comparison is balanced.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, PositiveInt, model_validator

from reactdist.config import Settings, parse, resolved
from reactdist.data.shards import Shards
from reactdist.errors import DataError
from reactdist.models.baselines import BASELINES
from reactdist.train.settings import TrainSettings

SHOWN = ("FRCorr", "FRDist", "FRDiv", "FRVar", "FRSyn")
DIGITS = {"FRCorr": 3, "FRDist": 1, "FRDiv": 5, "FRVar": 4, "FRSyn": 1}
OTHERS = "FRCorr_other_speakers"
"""FRCorr of the same model shown unrelated speakers: what it gets without listening."""


class QualityData(Settings):
    """The generated release (reactdist/data/synth)."""

    pairs: PositiveInt = 116
    """Clips of two people over all splits; 116 give 64 training pairs."""
    frames: PositiveInt = 250
    """Frames of a clip."""
    seed: int = 0
    """Same seed, same release."""
    image_size: PositiveInt = 64
    """Side of the pictures, pixels."""


class QualitySettings(Settings):
    """One comparison."""

    data: QualityData = QualityData()
    score_frames: PositiveInt = 128
    """First frames of every held-out clip that are scored."""
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    """Of weights, sample order, crops and noise; each model is trained once with each."""
    base: dict[str, Any] = Field(default={})
    """Settings that all runs share."""
    models: dict[str, dict[str, Any]] = Field(min_length=1)
    """Name in the table -> settings of the model."""

    @model_validator(mode="after")
    def _runs_resolve(self) -> QualitySettings:
        for name in self.models:
            self.run(name, self.seeds[0], Path())
        return self

    def run(self, name: str, seed: int, out: Path) -> TrainSettings:
        """Settings of one run, whose files lie under `out`."""
        base = dict(self.base)
        own = {"image_size": self.data.image_size, **base.pop("model", {}), **self.models[name]}
        fixed = {
            "name": f"{name}-seed{seed}",
            "experiment": "quality",
            "output": out / "runs",
            "seed": seed,
            "model": own,
            "data": {**base.pop("data", {}), "shards": str(out / "shards")},
        }
        run = parse(TrainSettings, {**base, **fixed}, where=name)
        # Evaluated once, at its end: what is scored are the last weights, not the luckiest.
        once = run.validation.model_copy(update={"every_epochs": run.epochs})
        return run.model_copy(update={"validation": once})


@dataclass(frozen=True)
class QualityRow:
    """One finished run, or one baseline (seed and steps are None)."""

    name: str
    seed: int | None
    settings: str
    """Digest of everything that decides the numbers but the data; see `digest`."""
    data: str
    """Fingerprint of the shards."""
    metrics: dict[str, float | None]
    steps: int | None = None
    parameters: int | None = None
    train_s: float | None = None
    """Wall time of training, its one evaluation included."""


def compare(settings: QualitySettings, out: Path, rows_file: Path) -> list[QualityRow]:
    """Run what has no row yet; returns all rows of this comparison.

    Args:
        out: folder of the release, the shards and the runs.
        rows_file: JSON lines, a `QualityRow` each; appended to.

    Raises:
        DataError: stored rows were measured on other data.
    """
    wanted = {(name, seed): digest(settings, name, seed) for name, seed in order(settings)}
    rows = read_rows(rows_file, set(wanted.items()))
    missing = [key for key in wanted if key not in {(row.name, row.seed) for row in rows}]
    if not missing:
        return rows
    shards = make_data(settings.data, out)
    for row in rows:
        if row.data != shards.fingerprint:
            raise DataError(
                f"{row.name} was scored on other data ({row.data[:8]}, here "
                f"{shards.fingerprint[:8]})",
                where=rows_file,
                fix="give another --rows file to start anew",
            )
    for name, seed in missing:
        if seed is None:
            row = score_baseline(settings, name, shards)
        else:
            row = train_and_score(settings, name, seed, out, shards)
        rows_file.parent.mkdir(parents=True, exist_ok=True)
        with rows_file.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        rows.append(row)
    return rows


def order(settings: QualitySettings) -> Iterator[tuple[str, int | None]]:
    """(name, seed) of every row: baselines, then all models with the first seed, and so on."""
    for baseline in BASELINES:
        yield baseline, None
    for seed in settings.seeds:
        for name in settings.models:
            yield name, seed


def digest(settings: QualitySettings, name: str, seed: int | None) -> str:
    """Short hash of the settings that decide a row; a row of other settings is not this row."""
    scored = [resolved(settings.data), settings.score_frames]
    run = [] if seed is None else [seed, settings.base, settings.models[name]]
    text = json.dumps([name, scored, run], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_rows(rows_file: Path, wanted: set[tuple[tuple[str, int | None], str]]) -> list[QualityRow]:
    """The stored rows that belong to this comparison."""
    if not rows_file.exists():
        return []
    rows = [QualityRow(**json.loads(line)) for line in rows_file.read_text().splitlines()]
    return [row for row in rows if ((row.name, row.seed), row.settings) in wanted]


def make_data(data: QualityData, out: Path) -> Shards:
    """The shards, from a release made for them; both are kept and found again."""
    from reactdist.data.build import build
    from reactdist.data.synth.release import write_release

    release = out / "release"
    if not release.exists():
        write_release(release, pairs=data.pairs, frames=data.frames, seed=data.seed)
    return build(release, out / "shards", image_size=data.image_size)


def score_baseline(settings: QualitySettings, name: str, shards: Shards) -> QualityRow:
    """The row of a naive baseline."""
    from reactdist.evaluate.predict import predict_baseline
    from reactdist.evaluate.truth import Truth, means

    truth = Truth.read(shards, "test", settings.score_frames)
    predictions = predict_baseline(name, shards, "test", frames=settings.score_frames)
    metrics = means(truth.score_items(predictions), predictions.emotion.shape[1])
    return QualityRow(name, None, digest(settings, name, None), shards.fingerprint, plain(metrics))


def train_and_score(
    settings: QualitySettings, name: str, seed: int, out: Path, shards: Shards
) -> QualityRow:
    """Train a model with the loop every run uses, score it as `reactdist evaluate` does."""
    from reactdist.evaluate.run import MODEL, SWAPPED, evaluate_model
    from reactdist.models.registry import build_model
    from reactdist.train.launch import train

    run = settings.run(name, seed, out)
    started = time.perf_counter()
    steps = train(run, tracking=f"sqlite:///{out.resolve()}/mlflow.db")["step"]
    train_s = time.perf_counter() - started
    torch.set_num_threads(max(1, int(run.workers.cpus)))
    with tempfile.TemporaryDirectory(dir=run.folder) as scratch:  # only the scores are wanted
        evaluated = evaluate_model(
            run.folder / "best", shards, "test", Path(scratch) / "test",
            frames=settings.score_frames, baselines=(), control=True,
        )  # fmt: skip
    metrics = {
        **evaluated.scores[MODEL].metrics,
        OTHERS: evaluated.scores[SWAPPED].metrics["FRCorr"],
    }
    values = dict(run.model)
    parameters = sum(p.numel() for p in build_model(values.pop("name"), values).parameters())
    return QualityRow(
        name, seed, digest(settings, name, seed), shards.fingerprint, plain(metrics), steps,
        parameters, round(train_s, 1),
    )  # fmt: skip


def plain(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """As JSON has it: an undefined metric is null."""
    return {name: float(v) if math.isfinite(v) else None for name, v in metrics.items()}


def markdown(rows: Sequence[QualityRow]) -> str:
    """The table of the rows: mean over seeds, lowest and highest in brackets."""
    names = list(dict.fromkeys(row.name for row in rows))
    heads = ("model", "seeds", *SHOWN, "FRCorr, other speakers", "steps", "parameters")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name in names:
        own = [row for row in rows if row.name == name]
        cells = [
            spread([row.metrics.get(metric) for row in own], DIGITS[metric]) for metric in SHOWN
        ]
        others = spread([row.metrics.get(OTHERS) for row in own], 3)
        first = own[0]
        seeds = "-" if first.seed is None else str(len(own))
        counts = ["-" if v is None else f"{v:,}" for v in (first.steps, first.parameters)]
        lines.append("| " + " | ".join((name, seeds, *cells, others, *counts)) + " |")
    return "\n".join(lines)


def spread(values: Iterable[float | None], digits: int) -> str:
    """`mean (lowest-highest)`; `-` where nothing is defined."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{sum(known) / len(known):.{digits}f}"
    if len(known) == 1:
        return mean
    return f"{mean} ({min(known):.{digits}f} to {max(known):.{digits}f})"
