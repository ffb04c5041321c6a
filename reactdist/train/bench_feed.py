"""`reactdist bench feed`: whether shards keep a training step busy, on a CPU or a GPU.

The training loop itself (`loop.py`) on plain torch, so torch and the readers of shards are all
it needs. The reference of a run is the same loop on one batch that is read once and copied to the
device anew every step; `resident` leaves out the copy too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from reactdist.data.clips import TRAIN_COLUMNS
from reactdist.data.shards import Shards
from reactdist.evaluate.objective import OBJECTIVE
from reactdist.evaluate.score import check_device
from reactdist.models.bench import machine
from reactdist.models.protocol import Generators
from reactdist.models.registry import build_model
from reactdist.train.deepspeed_engine import start_process_group
from reactdist.train.ema import NoAverage
from reactdist.train.engine import Batch, TorchEngine
from reactdist.train.feed import Feed
from reactdist.train.loop import Evaluation, Parts, Progress, Reporter, StepRecord, fit
from reactdist.train.ranks import ProcessRanks
from reactdist.train.schedule import Plan
from reactdist.train.settings import TrainSettings

WARM_UP = 8
"""Steps that are not counted: first kernels, loader processes that fill their queues."""
RESIDENT, REPEATED = "resident", "repeated"


@dataclass(frozen=True)
class Speed:
    """One way to feed the loop."""

    source: str
    """`resident`: on the device already; `repeated`: copied to it; else loader processes."""
    step_s: float
    """Median."""
    clips_per_s: float
    """Mean over all counted steps."""
    wait_share: float
    """Part of the time spent waiting for the batch; its way to a GPU is part of the step."""

    def line(self, resident: Speed) -> str:
        """A row of the printed table."""
        return (
            f"| {self.source} | {1e3 * self.step_s:.1f} | {self.clips_per_s:.2f} "
            f"| {self.clips_per_s / resident.clips_per_s:.2f}x | {self.wait_share:.1%} |"
        )


class _Autocast(TorchEngine):
    """Plain torch with bfloat16 arithmetic in the forward pass."""

    def losses(self, batch: Batch, generators: Generators = None) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, torch.bfloat16):
            return super().losses(batch, generators)


class _Repeated:
    """The same batch over and over."""

    damaged = False

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __next__(self) -> Batch:
        return self._batch

    def read_ahead(self) -> None:
        """It is there."""

    def settle(self) -> None:
        """Nothing is ever damaged."""


class _Clock(Reporter):
    def __init__(self) -> None:
        self.records: list[StepRecord] = []

    def step(self, record: StepRecord) -> None:
        self.records.append(record)


class _Nobody:
    """Neither scores nor keeps anything."""

    def __call__(self, weights: Mapping[str, Tensor]) -> dict[str, float]:
        return {OBJECTIVE: 0.0}

    def save(self, *_: Any) -> bool:
        return True

    def evaluated(self, weights: Mapping[str, Tensor], evaluation: Evaluation) -> None:
        pass


def run(
    address: str,
    *,
    device: str | None = None,
    batch: int = 4,
    crop: int = 256,
    workers: Sequence[int] = (0, 1, 2),
    steps: int = 30,
    bf16: bool = False,
    compiled: bool = False,
) -> list[Speed]:
    """Measure and print the table of one model on one device.

    Args:
        address: built shards; the online model is made for their pictures.
        device: "cpu" or "cuda"; CUDA where there is one by default.

    Raises:
        InputError: no such device, or no finished shards there.
        DataError: a damaged shard, or clips shorter than the crop.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    check_device(name)
    shards, where = Shards.open(address), torch.device(name)
    start_process_group(where, timeout_s=600)
    precision = "bfloat16" if bf16 else "float32"
    print(
        f"Steps of {batch} x {crop} frames at {shards.image_size}x{shards.image_size}, online, "
        f"{precision}{', compiled' if compiled else ''}\n{machine(where)}\n\n"
        "| fed by | step, ms | clips/s | of resident | waiting |\n|---|---|---|---|---|"
    )
    speeds: list[Speed] = []
    sources = {RESIDENT: 0, REPEATED: 0} | {f"{count} loaders": count for count in workers}
    for source, loaders in sources.items():
        settings = TrainSettings.model_validate(
            {
                "batch_size": batch,
                "data": {"shards": address, "crop_frames": crop, "workers": loaders},
                "model": {
                    "task": "online",
                    "video_norm": "frame",
                    "image_size": shards.image_size,
                },
            }
        )
        speeds.append(speed(settings, shards, where, source, steps, bf16, compiled))
        print(speeds[-1].line(speeds[0]), flush=True)
    torch.distributed.destroy_process_group()
    return speeds


def speed(
    settings: TrainSettings,
    shards: Shards,
    device: torch.device,
    source: str,
    steps: int,
    bf16: bool,
    compiled: bool,
) -> Speed:
    """Train for WARM_UP + `steps` steps, fed as `source` says.

    Raises:
        DataError: a damaged shard.
    """
    torch.manual_seed(settings.seed)
    values = dict(settings.model)
    model = build_model(values.pop("name"), values).train()
    if compiled:
        model.compile_parts()  # type: ignore[operator]
    engine = (_Autocast if bf16 else TorchEngine)(
        model, settings.loss, settings.optimizer, device, settings.accumulation
    )
    progress, ranks = Progress(), ProcessRanks(device)
    batches: Any = Feed(settings, shards, ranks, progress)
    if source in (RESIDENT, REPEATED):
        first = next(batches)
        batch = {name: first[name] for name in TRAIN_COLUMNS}
        if source == RESIDENT:
            batch = {name: value.to(device) for name, value in batch.items()}
        batches = _Repeated(batch)
    clock, nobody, total = _Clock(), _Nobody(), WARM_UP + steps
    plan = Plan(len(shards.items("train")), settings.batch_size, {total: 1})
    fit(
        Parts(engine, batches, ranks, nobody, nobody, (clock,), NoAverage(), lambda: False),
        settings,
        plan,
        progress,
    )
    counted = clock.records[WARM_UP:]
    seconds = sum(record.seconds for record in counted)
    return Speed(
        source,
        median(record.seconds for record in counted),
        sum(record.clips for record in counted) / seconds,
        sum(record.data_seconds for record in counted) / seconds,
    )
