"""One rank of the engine tests: trains a small network on fixed data, writes global losses."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from torch import nn

from reactdist.checkpoints import latest_valid, write_checkpoint
from reactdist.models.registry import build_model
from reactdist.train.deepspeed_engine import DeepSpeedEngine, start_process_group
from reactdist.train.deepspeed_json import SECTIONS
from reactdist.train.engine import Engine, TorchEngine
from reactdist.train.settings import EngineSettings, LossSettings, OptimizerSettings

BATCH = 12
OPTIMIZER = OptimizerSettings(lr=2e-2, weight_decay=1e-2, clip_norm=0.5)
TRANSVAE = {"image_size": 40, "feature_dim": 16, "latent_dim": 8, "dropout": 0.0}


class Toy(nn.Module):
    """Two layers and a buffer; the loss is a mean, so ranks' losses average to the batch's."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.second = nn.Linear(16, 2)
        self.register_buffer("scale", torch.tensor([1.5]))

    def training_losses(self, batch: dict, **_: object) -> dict[str, torch.Tensor]:
        out = self.second(torch.tanh(self.first(batch["x"]))) * self.scale
        total = (out - batch["y"]).pow(2).mean()
        if "zero" in batch:  # finite, with a gradient that is not
            total = total + (batch["zero"] * out).sum().sqrt()
        return {"total": total}


def data(step: int, model: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    if model == "transvae":
        video = torch.randint(0, 256, (BATCH, 8, 3, 40, 40), generator=generator)
        sizes = {"speaker_audio": 78, "listener_emotion": 25, "listener_coefficients": 58}
        return {
            "speaker_video": video.to(torch.uint8),
            **{k: torch.randn(BATCH, 8, n, generator=generator) for k, n in sizes.items()},
        }
    x = torch.randn(BATCH, 6, generator=generator)
    return {"x": x, "y": torch.stack([x[:, 0] * x[:, 1], x[:, 2].sin()], 1)}


def make(job: dict, world: int) -> Engine:
    """The engine of a job, the same initial weights every time."""
    torch.manual_seed(0)
    loss, device = LossSettings(), torch.device("cpu")
    model: nn.Module = Toy()
    if job.get("model") == "transvae":
        model = build_model("transvae", TRANSVAE | job["values"])
    if job["stage"] == "torch":
        return TorchEngine(model, loss, OPTIMIZER, device)
    accumulation = job.get("accumulation", 1)
    return DeepSpeedEngine(
        model,
        loss,
        OPTIMIZER,
        EngineSettings(zero_stage=job["stage"], **job.get("engine", {})),
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
        share = {k: v.chunk(world)[rank] for k, v in data(step, job.get("model", "")).items()}
        noise = [torch.Generator().manual_seed(n) for n in range(BATCH // world)]
        for part in range(accumulation):
            micro_batch = {k: v.chunk(accumulation)[part] for k, v in share.items()}
            with torch.autocast("cpu", torch.bfloat16, enabled="autocast" in job):
                value = engine.losses(micro_batch, noise)["total"]
            engine.backward(value)
            engine.step(OPTIMIZER.lr)
            total += float(value.detach()) / accumulation
        mean = torch.tensor([total])
        torch.distributed.all_reduce(mean)
        losses.append(float(mean) / world)
    done = engine.optimizer_state()["step"]
    assert int(done) == job["stop"], f"{done} updates in {job['stop']} steps"
    if "save" in job:
        tensors = {"model": engine.weights(), "optimizer": engine.optimizer_state()}
        if rank == 0:
            folder = Path(job["save"])
            write_checkpoint(folder, job["stop"], tensors=tensors, state={}, config_yaml="")
    return losses


def meet_a_bad_gradient(job: dict, rank: int, world: int) -> list[float]:
    """Steps that rank 0 took, 2 where the last rank's third gradient is not finite on purpose.

    Raises unless every rank stops there with the weights it had.
    """
    engine, before = make(job, world), dict[str, torch.Tensor]()
    for step in range(5):
        batch = {k: v.chunk(world)[rank] for k, v in data(step, "").items()}
        if step == 2 and rank == world - 1:
            batch["zero"] = torch.zeros(1)
        before = engine.weights()
        value = engine.losses(batch, None)["total"]
        assert torch.isfinite(value)
        engine.backward(value)
        try:
            engine.step(OPTIMIZER.lr)
        except FloatingPointError:
            after = engine.weights()
            assert all(torch.equal(before[name], after[name]) for name in before)
            return [float(step)]
    raise AssertionError("nobody noticed")


def unknown_to_deepspeed() -> list[str]:
    """Keys that reactdist lets through and DeepSpeed does not have."""
    from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    classes = {
        "zero_optimization": DeepSpeedZeroConfig,
        "fp16": DeepSpeedFP16Config,
        "bf16": DeepSpeedBF16Config,
    }
    fields = {
        section: {field.alias or name for name, field in found.model_fields.items()}
        for section, found in classes.items()
    }
    return [
        f"{section}.{n}"
        for section in SECTIONS
        for n in SECTIONS[section]
        if n not in fields[section]
    ]


def main() -> None:
    request = json.loads(sys.argv[1])
    rank, world = request["rank"], request["world"]
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    store = torch.distributed.FileStore(request["store"], world)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world)
    start_process_group(torch.device("cpu"), 60.0)
    result: dict[str, list] = {"unknown keys": unknown_to_deepspeed()}
    for name, job in request["jobs"].items():
        what = meet_a_bad_gradient if job.get("bad") else train
        result[name] = what(job, rank, world)
    if rank == 0:
        Path(request["out"]).write_text(json.dumps(result))


main()
