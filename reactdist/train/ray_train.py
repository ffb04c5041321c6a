"""Ray Train adapter: the same worker on several processes or nodes, restarted when they are lost.

Checkpoints are the run folder's own (reactdist/checkpoints), on storage that all nodes share: a
restarted group, a new driver and a laptop all resume from the same place, and a damaged newest
checkpoint falls back to the one before, which Ray Train's own bookkeeping does not do.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

from reactdist.config import parse, resolved
from reactdist.distributed.session import ray_session
from reactdist.errors import ReactdistError, WorkerLost
from reactdist.train.allocator import worker_environment
from reactdist.train.live import LiveFile, following
from reactdist.train.loop import Evaluation, Preempted, Reporter
from reactdist.train.outcome import Outcome
from reactdist.train.settings import TrainSettings, WorkerSettings
from reactdist.train.stop import StopFile, StopSignal

_POLL_S = 0.5
_PATIENCE_S = 25.0
"""How long a group that was asked to stop, or said how it ended, may take to end; Kubernetes
kills 30 s after the first SIGTERM."""
_START_TIMEOUT_S = 15.0
"""How long an elastic group waits for workers on a node that may be gone before it shrinks."""
_FAREWELL_S = 5
"""How long a hung worker has to leave its process group before it is killed."""


class RayTrainReporter(Reporter):
    """One report an evaluation, on every rank (Ray Train takes about one in 2 s)."""

    def evaluated(self, evaluation: Evaluation) -> None:
        import ray.train

        ray.train.report({"epoch": evaluation.epoch, "step": evaluation.step, **evaluation.metrics})


def train_on_ray(
    settings: TrainSettings,
    uri: str,
    *,
    address: str | None = None,
    parent_run_id: str | None = None,
    kind: str = "train",
    callbacks: Sequence[Any] = (),
) -> None:
    """Run the group until it is done; lost workers are replaced up to `workers.max_failures`.

    Args:
        parent_run_id, kind: of the MLflow run, see `train_here`.
        callbacks: Ray Train's, told of every report.

    Raises:
        NonFiniteLoss, OutOfMemory, Preempted, InputError: what a worker ended with.
        WorkerLost: more failures than allowed.
    """
    workers = settings.workers
    outcome, request = Outcome(settings.folder), StopFile(settings.folder)
    outcome.forget()
    request.withdraw()
    _set_timeouts(workers)
    cores = max(int(workers.count * workers.cpus), os.cpu_count() or 1)
    with ray_session(address, num_cpus=cores), StopSignal() as stop:
        training = _start(
            _trainer(settings, uri, {"parent_run_id": parent_run_id, "kind": kind}, callbacks)
        )
        with following(settings.folder / "log", settings.name):
            ended = _wait(training, stop, outcome, request)
    said = outcome.heard()
    if said is not None:
        raise said
    if not ended:
        raise Preempted(
            f"stopped as asked; the workers did not end within {_PATIENCE_S:.0f} s",
            where=settings.folder,
            fix="run the same command: it resumes from the last checkpoint",
        )
    failure = training.exception()
    if failure is not None and stop():
        raise Preempted(
            "stopped as asked; the workers were ended too",
            where=settings.folder,
            fix="run the same command: it resumes from the last checkpoint",
        )
    if failure is not None:
        raise _lost(settings, failure) from failure


def _trainer(
    settings: TrainSettings, uri: str, tracked_as: Mapping[str, Any], callbacks: Sequence[Any]
) -> Any:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from reactdist.train.ray_backend import SignalledTorch

    workers = settings.workers
    use_gpu = _use_gpu(workers.gpu)
    count: Any = (workers.min_count, workers.count) if workers.min_count else workers.count
    return TorchTrainer(
        _worker,
        train_loop_config={
            "settings": resolved(settings),
            "uri": uri,
            "tracked_as": dict(tracked_as),
        },
        torch_config=SignalledTorch(
            backend="nccl" if use_gpu else "gloo", timeout_s=int(workers.hang_timeout_s)
        ),
        scaling_config=ScalingConfig(
            num_workers=count, use_gpu=use_gpu, resources_per_worker={"CPU": workers.cpus}
        ),
        run_config=RunConfig(
            name="ray_train",
            storage_path=str(settings.folder.resolve()),
            failure_config=FailureConfig(max_failures=workers.max_failures),
            callbacks=list(callbacks),
            worker_runtime_env={} if use_gpu else {"env_vars": worker_environment()},
        ),
    )


def _set_timeouts(workers: WorkerSettings) -> None:
    """Ray Train's own, which its controller has from the driver (the last one here only)."""
    os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] = str(workers.hang_timeout_s)
    if workers.min_count:
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(_START_TIMEOUT_S))
    os.environ.setdefault("TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S", str(_FAREWELL_S))


def _start(trainer: Any) -> Future[None]:
    """Run the group from a thread: signals stay with the main one, where Ray Train would take
    Ctrl-C for a wish to abort without a checkpoint."""
    training: Future[None] = Future()

    def run() -> None:
        try:
            trainer.fit()
            training.set_result(None)
        except BaseException as error:
            training.set_exception(error)

    threading.Thread(target=run, name="ray-train", daemon=True).start()
    return training


def _wait(training: Future[None], stop: StopSignal, outcome: Outcome, request: StopFile) -> bool:
    """Until the group has ended, passing on a wish to stop; False when it takes too long.

    A rank that ends for good leaves the others in a collective that never completes: they are
    not waited for either.
    """
    deadline = float("inf")
    while not wait([training], timeout=_POLL_S).done:
        if stop() and not request.asked():
            with contextlib.suppress(OSError):  # full or read-only: ends without a checkpoint
                request.ask()
            deadline = min(deadline, time.monotonic() + _PATIENCE_S)
        elif outcome.said():
            deadline = min(deadline, time.monotonic() + _PATIENCE_S)
        if time.monotonic() > deadline:
            return False
    request.withdraw()
    return True


def _worker(config: Mapping[str, Any]) -> None:
    """One rank, inside a Ray Train worker process."""
    import ray.train
    import torch

    from reactdist.data.shards import Shards
    from reactdist.train.launch import train_here
    from reactdist.train.ray_backend import process_asked_to_stop
    from reactdist.train.worker import pick_device, quiet_libraries, run_worker

    settings = parse(TrainSettings, config["settings"])
    context = ray.train.get_context()
    rank = context.get_world_rank()
    os.environ["LOCAL_RANK"] = str(context.get_local_rank())
    reporters: list[Reporter] = [RayTrainReporter()]
    outcome, request = Outcome(settings.folder), StopFile(settings.folder)
    try:
        if rank == 0:
            shards = Shards.open(settings.data.shards)
            with request.watched() as asked:
                train_here(
                    settings,
                    config["uri"],
                    shards,
                    reporters=[*reporters, LiveFile(settings.folder / "log")],
                    asked_to_stop=lambda: asked() or process_asked_to_stop(),
                    **config["tracked_as"],
                )
        else:
            quiet_libraries()
            device = pick_device(settings.workers.gpu)
            run_worker(settings, device, reporters, process_asked_to_stop)
    except Preempted as error:
        # All ranks are here. Without the driver's wish it is a node or process that goes, and an
        # error lets Ray Train start the group again, from the checkpoint just written.
        if rank == 0:
            # A scheduler that ends a job sends the signal to driver and workers at once.
            time.sleep(2 * _POLL_S)
            if not request.asked():
                raise WorkerLost("a worker was asked to end") from None
            outcome.say(error)
    except Exception as error:
        if isinstance(error, ReactdistError) and outcome.is_final(error, rank):
            outcome.say(error)
            # The other ranks may wait for this one in a collective, which fails now.
            torch.distributed.destroy_process_group()
        elif not outcome.said():
            raise


def _lost(settings: TrainSettings, error: BaseException) -> WorkerLost:
    # Of a worker's traceback, the line that says what happened.
    failures = getattr(error, "worker_failures", {0: error}).values()
    said = dict.fromkeys(str(failure).strip().rpartition("\n")[2][:200] for failure in failures)
    return WorkerLost(
        f"workers failed more than {settings.workers.max_failures} times: {'; '.join(said)}",
        where=Path(settings.folder),
        fix="run the same command: it resumes from the last checkpoint",
    )


def _use_gpu(gpu: bool | str) -> bool:
    import ray

    return ray.cluster_resources().get("GPU", 0) > 0 if gpu == "auto" else bool(gpu)
