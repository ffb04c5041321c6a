"""Ray Train adapter: the same worker on several processes or nodes, restarted when they are lost.

Checkpoints are the run folder's own (reactdist/checkpoints), on storage that all nodes share: a
restarted group, a new driver and a laptop all resume from the same place, and a damaged newest
checkpoint falls back to the one before, which Ray Train's own bookkeeping does not do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reactdist.config import parse, resolved
from reactdist.distributed.session import ray_session
from reactdist.errors import InputError, NonFiniteLoss, ReactdistError, WorkerLost
from reactdist.train.live import LiveFile, following
from reactdist.train.loop import Evaluation, Preempted, Reporter
from reactdist.train.settings import TrainSettings

OUTCOME = "outcome.json"
"""Written by rank 0 for an end that must not be retried: NaN, bad input, preemption."""
_FATAL: dict[str, type[ReactdistError]] = {
    "NonFiniteLoss": NonFiniteLoss,
    "Preempted": Preempted,
    "InputError": InputError,
    "DataError": InputError,
}


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
        NonFiniteLoss, Preempted, InputError: what a worker ended with.
        WorkerLost: more failures than allowed.
    """
    workers = settings.workers
    outcome = settings.folder / OUTCOME
    outcome.unlink(missing_ok=True)
    cores = max(int(workers.count * workers.cpus), os.cpu_count() or 1)
    with ray_session(address, num_cpus=cores):
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        use_gpu = _use_gpu(workers.gpu)
        count: Any = (workers.min_count, workers.count) if workers.min_count else workers.count
        trainer = TorchTrainer(
            _worker,
            train_loop_config={
                "settings": resolved(settings),
                "uri": uri,
                "tracked_as": {"parent_run_id": parent_run_id, "kind": kind},
            },
            torch_config=TorchConfig(
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
            ),
        )
        try:
            with following(settings.folder / "log", settings.name):
                trainer.fit()
        except Exception as error:
            raise _lost(settings, error) from error
    if outcome.exists():
        said = json.loads(outcome.read_text())
        raise _FATAL[said["kind"]](said["what"], where=said["where"], fix=said["fix"])


def _worker(config: Mapping[str, Any]) -> None:
    """One rank, inside a Ray Train worker process."""
    import ray.train

    from reactdist.data.shards import Shards
    from reactdist.train.launch import train_here
    from reactdist.train.worker import pick_device, quiet_libraries, run_worker

    settings = parse(TrainSettings, config["settings"])
    context = ray.train.get_context()
    os.environ["LOCAL_RANK"] = str(context.get_local_rank())
    reporter = RayTrainReporter()
    try:
        if context.get_world_rank() == 0:
            shards = Shards.open(settings.data.shards)
            reporters = [reporter, LiveFile(settings.folder / "log")]
            train_here(settings, config["uri"], shards, reporters=reporters, **config["tracked_as"])
        else:
            quiet_libraries()
            run_worker(settings, pick_device(settings.workers.gpu), [reporter])
    except (NonFiniteLoss, Preempted, InputError) as error:
        # Ending normally keeps Ray Train from retrying what would fail again.
        if context.get_world_rank() == 0:
            kind = type(error).__name__
            document = {"kind": kind, "what": error.what, "where": error.where, "fix": error.fix}
            (settings.folder / OUTCOME).write_text(json.dumps(document))


def _lost(settings: TrainSettings, error: Exception) -> WorkerLost:
    text = " ".join(str(error).split())[:300]
    return WorkerLost(
        f"workers failed more than {settings.workers.max_failures} times: {text}",
        where=Path(settings.folder),
        fix="run the same command: it resumes from the last checkpoint",
    )


def _use_gpu(gpu: bool | str) -> bool:
    import ray

    return ray.cluster_resources().get("GPU", 0) > 0 if gpu == "auto" else bool(gpu)
