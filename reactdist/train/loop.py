"""The training loop, in the order it happens. Knows no Ray, MLflow or DeepSpeed.

What it runs on comes in through small protocols: an `Engine` (train/engine.py), a `Ranks` that
reduces over workers, a `Validator`, a `Keeper` of checkpoints and a `Reporter`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from reactdist.errors import NonFiniteLoss, ReactdistError
from reactdist.evaluate.objective import OBJECTIVE
from reactdist.train.ema import Average
from reactdist.train.engine import Batch, Engine
from reactdist.train.schedule import learning_rate, step_seed
from reactdist.train.settings import TrainSettings


class Preempted(ReactdistError):
    """Asked to stop (SIGTERM, Ctrl-C); a checkpoint was written, the same command resumes."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again later
    retryable = True


@dataclass
class Progress:
    """How far a run is; all that a resumed loop needs besides tensors."""

    step: int = 0
    """Optimizer steps done."""
    epoch: int = 0
    """Epochs finished at the last evaluation."""
    scores: dict[int, float | None] = field(default_factory=dict)
    """Step -> objective, for every evaluation; None where it is undefined."""


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step, as reported."""

    step: int
    total_steps: int
    losses: Mapping[str, float]
    lr: float
    seconds: float
    """Wall time of the step, waiting for data included."""
    data_seconds: float
    """Part of it spent waiting for the batch."""
    clips: int
    """Items of the global batch."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation, as reported."""

    step: int
    epoch: int
    metrics: Mapping[str, float]
    is_best: bool


class Reporter(Protocol):
    """Who wants to know (console, MLflow, Tune, Ray Train); called on every rank."""

    def started(self, facts: Mapping[str, Any]) -> None: ...

    def step(self, record: StepRecord) -> None: ...

    def evaluated(self, evaluation: Evaluation) -> None: ...


class Ranks(Protocol):
    """The workers of the run."""

    rank: int
    world: int

    def any(self, *flags: bool) -> list[bool]:
        """For every flag, whether it is set on any rank."""
        ...


class Validator(Protocol):
    """Scores weights on fixed clips; called on every rank, gives every rank the same metrics."""

    def __call__(self, weights: Mapping[str, Tensor]) -> dict[str, float]: ...


class Keeper(Protocol):
    """Writes checkpoints and the best model; called on every rank, writes on rank 0."""

    def save(
        self,
        progress: Progress,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        average: Mapping[str, Tensor],
    ) -> None: ...

    def evaluated(self, weights: Mapping[str, Tensor], evaluation: Evaluation) -> None: ...


@dataclass(frozen=True)
class Parts:
    """What the loop is built from."""

    engine: Engine
    batches: Iterator[Batch]
    ranks: Ranks
    validator: Validator
    keeper: Keeper
    reporters: tuple[Reporter, ...]
    average: Average
    stop_requested: Callable[[], bool]
    """Whether this process was asked to stop."""


def fit(parts: Parts, settings: TrainSettings, due: Mapping[int, int], progress: Progress) -> None:
    """Train from `progress` to the last step of `due` (step -> epoch of each evaluation).

    Raises:
        NonFiniteLoss: a term is not finite on any rank; no update was made with it.
        Preempted: stopped as asked, after a checkpoint.
    """
    engine, ranks, total_steps = parts.engine, parts.ranks, max(due)
    generator = torch.Generator(device=engine.device)
    while progress.step < total_steps:
        started = time.perf_counter()
        lr = learning_rate(progress.step, total_steps, settings.optimizer)
        waited, sums, stop = 0.0, dict[str, float](), False
        for part in range(settings.accumulation):
            asked = time.perf_counter()
            batch = {
                k: v.to(engine.device, non_blocking=True) for k, v in next(parts.batches).items()
            }
            waited += time.perf_counter() - asked
            # After the batch is there: a loader that starts draws from torch's generator too.
            micro_step = progress.step * settings.accumulation + part
            seed_everything(step_seed(settings.seed, micro_step, ranks.rank), generator)
            losses = engine.losses(batch, generator)
            values = {name: float(term.detach()) for name, term in losses.items()}
            broken, stop = ranks.any(not all_finite(values), parts.stop_requested())
            if broken:
                raise non_finite(values, progress.step, ranks.rank)
            engine.backward(losses["total"])
            engine.step(lr)
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value / settings.accumulation
        progress.step += 1
        parts.average.update(engine)
        seconds = time.perf_counter() - started
        record = StepRecord(
            progress.step, total_steps, sums, lr, seconds, waited, settings.batch_size
        )
        for reporter in parts.reporters:
            reporter.step(record)
        if progress.step in due:
            evaluate(parts, settings, due[progress.step], progress)
        if stop and progress.step < total_steps:
            if progress.step not in due:
                save(parts, progress)
            raise Preempted(
                f"stopped as asked after step {progress.step}; a checkpoint is written",
                where=settings.folder,
                fix="run the same command to resume",
            )


def evaluate(parts: Parts, settings: TrainSettings, epoch: int, progress: Progress) -> None:
    """Score the weights, write a checkpoint, keep the model if it is the best, report."""
    weights = parts.average.weights() or parts.engine.weights()
    metrics = parts.validator(weights)
    score = metrics[OBJECTIVE]
    earlier = [s for s in progress.scores.values() if s is not None]
    is_best = all(score > s for s in earlier)  # never true of NaN, but the first is always kept
    progress.scores[progress.step] = None if math.isnan(score) else score
    progress.epoch = epoch
    evaluation = Evaluation(progress.step, epoch, metrics, is_best)
    parts.keeper.evaluated(weights, evaluation)
    save(parts, progress)
    for reporter in parts.reporters:
        reporter.evaluated(evaluation)


def save(parts: Parts, progress: Progress) -> None:
    """Write a checkpoint of everything a resumed run needs."""
    engine = parts.engine
    weights, moments = engine.weights(), engine.optimizer_state()
    parts.keeper.save(progress, weights, moments, parts.average.weights())


def seed_everything(seed: int, generator: torch.Generator) -> None:
    """Noise and dropout of a step are a function of its seed: a resumed run repeats them."""
    generator.manual_seed(seed)
    torch.manual_seed(seed)


def all_finite(values: Mapping[str, float]) -> bool:
    """Whether every term is a finite number."""
    return all(abs(v) < float("inf") for v in values.values())  # False for NaN


def non_finite(values: Mapping[str, float], step: int, rank: int) -> NonFiniteLoss:
    """The error that names the terms that went wrong on this rank, or that another rank's did."""
    bad = [name for name, value in values.items() if not abs(value) < float("inf")]
    terms = ", ".join(bad) if bad else "a term on another worker"
    return NonFiniteLoss(
        f"loss not finite: {terms} (rank {rank})",
        where=f"step {step + 1}",
        fix="lower optimizer.lr or loss.kl_weight; the last good checkpoint is kept",
    )
