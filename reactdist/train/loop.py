"""The training loop, in the order it happens. Knows no Ray, MLflow or DeepSpeed.

What it runs on comes in through small protocols: an `Engine` (train/engine.py), a `Ranks` that
reduces over workers, a `Validator`, a `Keeper` of checkpoints and a `Reporter`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from reactdist.errors import NonFiniteLoss, ReactdistError
from reactdist.evaluate.objective import OBJECTIVE
from reactdist.train.ema import Average
from reactdist.train.engine import Batch, Engine
from reactdist.train.schedule import Plan, dropout_seed, learning_rate, noise_seed
from reactdist.train.settings import TrainSettings


class Preempted(ReactdistError):
    """Asked to stop (SIGTERM, Ctrl-C) after a checkpoint; the same command resumes."""

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
    skipped: dict[int, int] = field(default_factory=dict)
    """Training item that cannot be read -> times another was used in its stead."""


@dataclass(frozen=True)
class StepRecord:
    """One optimizer step, as reported."""

    step: int
    total_steps: int
    epoch: int
    """Epoch, from 1, of the batch's last item."""
    losses: Mapping[str, float]
    """Terms of the whole batch: means over workers and micro-batches."""
    lr: float
    seconds: float
    """Wall time since the step before, waiting for data and reporting included."""
    data_seconds: float
    """Part of it spent waiting for the batch."""
    clips: int
    """Items of the global batch."""
    skipped: int
    """Items replaced since the run began because they could not be read."""


@dataclass(frozen=True)
class Evaluation:
    """One evaluation, as reported."""

    step: int
    epoch: int
    metrics: Mapping[str, float]
    is_best: bool


class Reporter:
    """Who wants to know (console, MLflow, Tune, Ray Train); called on every rank that has one."""

    def started(self, facts: Mapping[str, Any]) -> None:
        """Before the first step of this process."""

    def step(self, record: StepRecord) -> None:
        """After every optimizer step."""

    def evaluated(self, evaluation: Evaluation) -> None:
        """After every evaluation, its checkpoint written."""

    def saved(self, step: int, seconds: float) -> None:
        """After every checkpoint: how long training stood still for it."""


class Ranks(Protocol):
    """The workers of the run."""

    rank: int
    world: int

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Means over ranks; what is not finite on one rank is not finite on any."""
        ...


class Batches(Protocol):
    """This rank's micro-batches, without end."""

    def __next__(self) -> Batch: ...

    def read_ahead(self) -> None:
        """Have the next whole batch ready."""
        ...

    @property
    def damaged(self) -> bool:
        """Whether a clip of the present batch could not be read here, and is not settled."""
        ...

    def settle(self) -> None:
        """Called on every rank once any met damage: raises on all of them, or counts it."""
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
    ) -> bool:
        """Whether it is written; one that cannot be is tried again at the next save."""
        ...

    def evaluated(self, weights: Mapping[str, Tensor], evaluation: Evaluation) -> None: ...


@dataclass(frozen=True)
class Parts:
    """What the loop is built from."""

    engine: Engine
    batches: Batches
    ranks: Ranks
    validator: Validator
    keeper: Keeper
    reporters: tuple[Reporter, ...]
    average: Average
    stop_requested: Callable[[], bool]
    """Whether this process was asked to stop."""


def fit(parts: Parts, settings: TrainSettings, plan: Plan, progress: Progress) -> None:
    """Train from `progress` to the last step of the plan.

    Raises:
        NonFiniteLoss: a term or the gradient is not finite on any rank; no update was made with it.
        Preempted: stopped as asked, after a checkpoint.
    """
    engine, ranks = parts.engine, parts.ranks
    started = time.perf_counter()
    while progress.step < plan.total_steps:
        lr = learning_rate(progress.step, plan.total_steps, settings.optimizer)
        waited, sums, stop = 0.0, dict[str, float](), False
        for part in range(settings.accumulation):
            asked = time.perf_counter()
            batch = {
                k: v.to(engine.device, non_blocking=True) for k, v in next(parts.batches).items()
            }
            waited += time.perf_counter() - asked
            # After the batch is there: a loader that starts draws from torch's generator too.
            generators = seed_step(settings, progress.step, part, ranks, engine.device)
            losses = engine.losses(batch, generators)
            engine.backward(losses["total"])
            if part == settings.accumulation - 1 and progress.step + 1 < plan.total_steps:
                # While workers' gradients meet, and a GPU has work.
                asked = time.perf_counter()
                parts.batches.read_ahead()
                waited += time.perf_counter() - asked
            values = {name: float(term.detach()) for name, term in losses.items()}
            flags = {"stop": parts.stop_requested(), "damaged": parts.batches.damaged}
            values = ranks.mean(values | {name: float(flag) for name, flag in flags.items()})
            stop = values.pop("stop") > 0
            if values.pop("damaged") > 0:
                parts.batches.settle()
            check_finite(values, progress.step)
            update(engine, lr, progress.step)
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value / settings.accumulation
        progress.step += 1
        parts.average.update(engine)
        now = time.perf_counter()
        record = StepRecord(
            step=progress.step,
            total_steps=plan.total_steps,
            epoch=plan.epoch_of(progress.step),
            losses=sums,
            lr=lr,
            seconds=now - started,
            data_seconds=waited,
            clips=settings.batch_size,
            skipped=sum(progress.skipped.values()),
        )
        started = now
        for reporter in parts.reporters:
            reporter.step(record)
        due = plan.evaluations.get(progress.step)
        if due is not None:
            written = evaluate(parts, due, progress)
            started = time.perf_counter()
        if stop and progress.step < plan.total_steps:
            saved = save(parts, progress) if due is None else written
            raise Preempted(
                f"stopped as asked after step {progress.step}; "
                + ("a checkpoint is written" if saved else "its checkpoint could not be written"),
                where=settings.folder,
                fix="run the same command to resume",
            )


def evaluate(parts: Parts, epoch: int, progress: Progress) -> bool:
    """Score the weights, write a checkpoint, keep the model if it is the best, report.

    Whether the checkpoint could be written.
    """
    weights = parts.average.weights() or parts.engine.weights()
    metrics = parts.validator(weights)
    score = metrics[OBJECTIVE]
    earlier = [s for s in progress.scores.values() if s is not None]
    is_best = all(score > s for s in earlier)  # never true of NaN, but the first is always kept
    progress.scores[progress.step] = None if math.isnan(score) else score
    progress.epoch = epoch
    evaluation = Evaluation(progress.step, epoch, metrics, is_best)
    parts.keeper.evaluated(weights, evaluation)
    written = save(parts, progress)
    for reporter in parts.reporters:
        reporter.evaluated(evaluation)
    return written


def save(parts: Parts, progress: Progress) -> bool:
    """Write a checkpoint of everything a resumed run needs; training waits for it.

    Whether it could be written.

    The learning rate, the sample order and every random number are functions of (seed, step), so
    the step count stands for the scheduler and for the random state of every rank.
    """
    asked = time.perf_counter()
    weights, moments = parts.engine.weights(), parts.engine.optimizer_state()
    written = parts.keeper.save(progress, weights, moments, parts.average.weights())
    for reporter in parts.reporters:
        reporter.saved(progress.step, time.perf_counter() - asked)
    return written


def seed_step(
    settings: TrainSettings, step: int, part: int, ranks: Ranks, device: torch.device
) -> list[torch.Generator]:
    """Seed dropout; a noise source for every clip of this rank's micro-batch `part` of a step.

    A clip's noise is a function of its place in the sample stream, so it is the same for any
    number of workers and micro-batches; dropout is drawn a rank.
    """
    torch.manual_seed(dropout_seed(settings.seed, step * settings.accumulation + part, ranks.rank))
    share = settings.batch_size // ranks.world
    clips = share // settings.accumulation
    first = step * settings.batch_size + ranks.rank * share + part * clips
    return [
        torch.Generator(device).manual_seed(noise_seed(settings.seed, place))
        for place in range(first, first + clips)
    ]


def update(engine: Engine, lr: float, step: int) -> None:
    """At the last micro-batch of a step, the optimizer's.

    Raises:
        NonFiniteLoss: the gradient is not finite; nothing was updated.
    """
    try:
        engine.step(lr)
    except FloatingPointError:
        check_finite({"gradient of total": math.nan}, step)


def check_finite(values: Mapping[str, float], step: int) -> None:
    """Nothing if every term is finite; values are the same on all ranks, so all of them stop.

    Raises:
        NonFiniteLoss: names the terms; the total only when no part explains it.
    """
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        parts = [name for name in broken if name != "total"] or broken
        raise NonFiniteLoss(
            f"loss not finite: {', '.join(parts)}",
            where=f"step {step + 1}",
            fix="lower optimizer.lr or loss.kl_weight; the last good checkpoint is kept",
        )
