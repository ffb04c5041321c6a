"""One training worker, from settings to a finished run; the same under Ray Train and alone."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from reactdist.checkpoints.folder import Checkpoint
from reactdist.data.clips import train_batches
from reactdist.data.shards import Shards
from reactdist.evaluate.validate import Validation
from reactdist.models.registry import build_model
from reactdist.train.deepspeed_engine import DeepSpeedEngine, start_process_group
from reactdist.train.ema import Average, ExponentialAverage, NoAverage
from reactdist.train.engine import Batch, Engine
from reactdist.train.keeper import RunFolder
from reactdist.train.logfile import rank_log
from reactdist.train.loop import Parts, Progress, Reporter, fit
from reactdist.train.ranks import ProcessRanks, StopSignal
from reactdist.train.schedule import evaluation_steps
from reactdist.train.settings import TrainSettings

log = logging.getLogger("reactdist.train")

TRAIN_COLUMNS = ("speaker_video", "speaker_audio", "listener_emotion", "listener_coefficients")


def run_worker(
    settings: TrainSettings, device: torch.device, reporters: Sequence[Reporter] = ()
) -> Progress:
    """Train on this rank until the run is done; resumes from the newest whole checkpoint.

    Raises:
        NonFiniteLoss, Preempted, DataError, StorageError: see reactdist.train.loop.fit.
    """
    torch.set_num_threads(max(1, int(settings.workers.cpus)))
    start_process_group(device, settings.workers.hang_timeout_s)
    ranks = ProcessRanks(device)
    with StopSignal() as stop, rank_log(settings.folder, ranks.rank):
        shards = Shards.open(settings.data.shards)
        engine = make_engine(settings, device, ranks.world)
        facts = {
            "engine": engine.kind,
            "zero_stage": engine.zero_stage,
            "world_size": ranks.world,
            "data_fingerprint": shards.fingerprint,
            "shards": settings.data.shards,
            "mean_face": [float(v) for v in shards.mean_face],
        }
        validation = Validation(
            settings.model, shards, settings.validation, device=device, ranks=ranks
        )
        folder = RunFolder(settings, rank=ranks.rank, facts=facts, evidence=validation.write)
        average: Average = NoAverage()
        if settings.ema_decay:
            average = ExponentialAverage(settings.ema_decay, engine.weights())
        progress = restore(folder.resume(), engine, average)
        for reporter in reporters:
            reporter.started(facts)
            # Those that keep a record skip what they have; what a kill swallowed is made good.
            for evaluation in folder.evaluations.values():
                reporter.evaluated(evaluation)
        batches = micro_batches(settings, shards, ranks, progress)
        parts = Parts(engine, batches, ranks, validation, folder, tuple(reporters), average, stop)
        fit(parts, settings, due_evaluations(settings, shards), progress)
        folder.finish(progress)
    return progress


def due_evaluations(settings: TrainSettings, shards: Shards) -> dict[int, int]:
    """Optimizer step -> finished epochs, for every evaluation of the run."""
    return evaluation_steps(
        settings.epochs,
        settings.validation.every_epochs,
        len(shards.items("train")),
        settings.batch_size,
    )


def make_engine(settings: TrainSettings, device: torch.device, world: int) -> DeepSpeedEngine:
    """The seeded model under a DeepSpeed engine."""
    values = dict(settings.model)
    torch.manual_seed(settings.seed)
    model: nn.Module = build_model(values.pop("name"), values)
    model.train()
    if settings.engine.compile:
        model.compile_parts()  # type: ignore[operator]
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


def restore(checkpoint: Checkpoint | None, engine: Engine, average: Average) -> Progress:
    """Put a checkpoint's tensors in place; a fresh progress when there is none."""
    if checkpoint is None:
        return Progress()
    engine.load(checkpoint.tensors("model"), checkpoint.tensors("optimizer"))
    averaged = checkpoint.tensors("ema")
    if averaged:
        average.load(averaged)
    state = checkpoint.state
    log.info("resumed from %s", checkpoint.path)
    return Progress(
        step=checkpoint.step,
        epoch=state["epoch"],
        scores={int(step): score for step, score in state["scores"].items()},
    )


def micro_batches(
    settings: TrainSettings, shards: Shards, ranks: ProcessRanks, progress: Progress
) -> Iterator[Batch]:
    """This rank's share of every global batch from `progress` on, in `accumulation` parts."""
    batches = train_batches(
        shards,
        split="train",
        batch_size=settings.batch_size,
        crop_frames=settings.data.crop_frames,
        seed=settings.seed,
        consumed=progress.step * settings.batch_size,
        rank=ranks.rank,
        world=ranks.world,
        workers=settings.data.workers,
    )
    for batch in batches:
        chunked = {name: batch[name].chunk(settings.accumulation) for name in TRAIN_COLUMNS}
        for part in range(settings.accumulation):
            yield {name: chunks[part] for name, chunks in chunked.items()}


def pick_device(gpu: bool | str) -> torch.device:
    """The device of a worker: CUDA where wanted and present."""
    wanted = torch.cuda.is_available() if gpu == "auto" else bool(gpu)
    if not wanted:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def quiet_libraries() -> None:
    """Silence what libraries say of themselves; `-v` leaves them on."""
    for name in ("DeepSpeed", "deepspeed", "ray", "torch.distributed", "alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
