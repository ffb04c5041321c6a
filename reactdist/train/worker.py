"""One training worker, from settings to a finished run; the same under Ray Train and alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

import torch
from torch import nn

from reactdist.checkpoints.folder import Checkpoint
from reactdist.data.shards import Shards
from reactdist.evaluate.validate import Validation
from reactdist.models.registry import build_model
from reactdist.terminal import verbose
from reactdist.train.allocator import keep_freed_memory
from reactdist.train.deepspeed_engine import DeepSpeedEngine, start_process_group
from reactdist.train.dry_run import dry_run
from reactdist.train.ema import Average, ExponentialAverage, NoAverage
from reactdist.train.engine import Engine
from reactdist.train.feed import Feed
from reactdist.train.keeper import RunFolder
from reactdist.train.logfile import rank_log
from reactdist.train.loop import Parts, Progress, Reporter, fit
from reactdist.train.memory import memory_watched
from reactdist.train.ranks import ProcessRanks
from reactdist.train.schedule import Plan
from reactdist.train.settings import TrainSettings
from reactdist.train.stop import StopSignal

log = logging.getLogger("reactdist.train")


def run_worker(
    settings: TrainSettings,
    device: torch.device,
    reporters: Sequence[Reporter] = (),
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> Progress:
    """Train on this rank until the run is done; resumes from the newest whole checkpoint.

    `asked_to_stop` says so besides the signals that this process gets.

    Raises:
        NonFiniteLoss, Preempted, DataError: see reactdist.train.loop.fit.
        OutOfMemory, StorageError: what the step or the last checkpoint wanted is not there.
    """
    torch.set_num_threads(max(1, int(settings.workers.cpus)))
    if device.type == "cpu":
        keep_freed_memory()
    start_process_group(device, settings.workers.hang_timeout_s)
    ranks = ProcessRanks(device)
    progress = Progress()
    with StopSignal() as stop, rank_log(settings.folder, ranks.rank), memory_watched(progress):
        shards = Shards.open(settings.data.shards)
        model = make_model(settings)
        dry_run(model, settings, shards, device, ranks.world)
        engine = make_engine(model, settings, device, ranks.world)
        facts = {
            "engine": engine.kind,
            "zero_stage": engine.zero_stage,
            "world_size": ranks.world,
            "data_fingerprint": shards.fingerprint,
            "shards": settings.data.shards,
            "mean_face": [float(v) for v in shards.mean_face],
        }
        validation = Validation(
            settings.model,
            shards,
            settings.validation,
            device=device,
            ranks=ranks,
            skip_damaged=settings.data.damaged == "skip",
        )
        validation.dry_run()
        folder = RunFolder(settings, rank=ranks.rank, facts=facts, evidence=validation.writer)
        average: Average = NoAverage()
        if settings.ema_decay:
            average = ExponentialAverage(settings.ema_decay, engine.weights())
        restore(folder.resume(), engine, average, progress)
        for reporter in reporters:
            reporter.started(facts)
            # Those that keep a record skip what they have; what a kill swallowed is made good.
            for evaluation in folder.evaluations.values():
                reporter.evaluated(evaluation)
        batches = Feed(settings, shards, ranks, progress)
        parts = Parts(
            engine,
            batches,
            ranks,
            validation,
            folder,
            tuple(reporters),
            average,
            lambda: stop() or asked_to_stop(),
        )
        fit(parts, settings, Plan.of(settings, len(shards.items("train"))), progress)
        folder.finish(progress)
    return progress


def make_model(settings: TrainSettings) -> nn.Module:
    """The model with its seeded initial weights, the same on every rank."""
    values = dict(settings.model)
    torch.manual_seed(settings.seed)
    model: nn.Module = build_model(values.pop("name"), values)
    model.train()
    if settings.engine.compile:
        model.compile_parts()  # type: ignore[operator]
    return model


def make_engine(
    model: nn.Module, settings: TrainSettings, device: torch.device, world: int
) -> DeepSpeedEngine:
    """The model under a DeepSpeed engine."""
    share = settings.batch_size // world
    return DeepSpeedEngine(
        model,
        settings.loss,
        settings.optimizer,
        settings.engine,
        device,
        micro_batch=share // settings.accumulation,
        accumulation=settings.accumulation,
    )


def restore(
    checkpoint: Checkpoint | None, engine: Engine, average: Average, progress: Progress
) -> None:
    """Put a checkpoint's tensors and numbers in place; nothing when there is none."""
    if checkpoint is None:
        return
    engine.load(checkpoint.tensors("model"), checkpoint.tensors("optimizer"))
    averaged = checkpoint.tensors("ema")
    if averaged:
        average.load(averaged)
    state = checkpoint.state
    log.info("resumed from %s", checkpoint.path)
    progress.step = checkpoint.step
    progress.epoch = state["epoch"]
    progress.scores.update({int(step): score for step, score in state["scores"].items()})
    progress.skipped.update({int(item): times for item, times in state["skipped"].items()})


def pick_device(gpu: bool | str) -> torch.device:
    """The device of a worker: CUDA where wanted and present."""
    wanted = torch.cuda.is_available() if gpu == "auto" else bool(gpu)
    if not wanted:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def quiet_libraries() -> None:
    """Silence what libraries say of themselves; `-v` leaves them on."""
    if verbose():
        return
    for name in ("DeepSpeed", "deepspeed", "ray", "torch.distributed", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
