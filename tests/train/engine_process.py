"""One rank of the engine tests: trains a small network on fixed data, writes global losses."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from torch import nn

from reactdist.checkpoints import latest_valid, write_checkpoint
from reactdist.train.deepspeed_engine import DeepSpeedEngine, start_process_group
from reactdist.train.engine import Engine, TorchEngine
from reactdist.train.settings import EngineSettings, LossSettings, OptimizerSettings

BATCH = 12
OPTIMIZER = OptimizerSettings(lr=2e-2, weight_decay=1e-2, clip_norm=0.5)


class Toy(nn.Module):
    """Two layers and a buffer; the loss is a mean, so ranks' losses average to the batch's."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.second = nn.Linear(16, 2)
        self.register_buffer("scale", torch.tensor([1.5]))

    def training_losses(self, batch: dict, **_: object) -> dict[str, torch.Tensor]:
        out = self.second(torch.tanh(self.first(batch["x"]))) * self.scale
        return {"total": (out - batch["y"]).pow(2).mean()}


def data(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(BATCH, 6, generator=generator)
    return {"x": x, "y": torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin()], 1)}


def make(job: dict, world: int) -> Engine:
    """The engine of a job, the same initial weights every time."""
    torch.manual_seed(0)
    model, loss, device = Toy(), LossSettings(), torch.device("cpu")
    if job["stage"] == "torch":
        return TorchEngine(model, loss, OPTIMIZER, device)
    accumulation = job.get("accumulation", 1)
    return DeepSpeedEngine(
        model,
        loss,
        OPTIMIZER,
        EngineSettings(zero_stage=job["stage"]),
        device,
        micro_batch=BATCH // world // accumulation,
        accumulation=accumulation,
    )


def train(job: dict, rank: int, world: int) -> list[float]:
    """Global loss of every step of a job."""
    engine, accumulation = make(job, world), job.get("accumulation", 1)
    if "load" in job:
        checkpoint = latest_valid(Path(job["load"]))
        assert checkpoint is not None
        engine.load(checkpoint.tensors("model"), checkpoint.tensors("optimizer"))
    losses = []
    for step in range(job["start"], job["stop"]):
        total = 0.0
        share = {k: v.chunk(world)[rank] for k, v in data(step).items()}
        for part in range(accumulation):
            micro_batch = {k: v.chunk(accumulation)[part] for k, v in share.items()}
            value = engine.losses(micro_batch, None)["total"]
            engine.backward(value)
            engine.step(OPTIMIZER.lr)
            total += float(value.detach()) / accumulation
        mean = torch.tensor([total])
        torch.distributed.all_reduce(mean)
        losses.append(float(mean) / world)
    if "save" in job:
        tensors = {"model": engine.weights(), "optimizer": engine.optimizer_state()}
        if rank == 0:
            folder = Path(job["save"])
            write_checkpoint(folder, job["stop"], tensors=tensors, state={}, config_yaml="")
    return losses


def main() -> None:
    request = json.loads(sys.argv[1])
    rank, world = request["rank"], request["world"]
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    store = torch.distributed.FileStore(request["store"], world)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world)
    start_process_group(torch.device("cpu"), 60.0)
    result = {name: train(job, rank, world) for name, job in request["jobs"].items()}
    if rank == 0:
        Path(request["out"]).write_text(json.dumps(result))


main()
