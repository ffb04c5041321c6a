"""One rank of the engine tests: trains a small network on fixed data, writes global losses."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from torch import nn

import reactdist.train.meeting as meeting
from reactdist.checkpoints import latest_valid, write_checkpoint
from reactdist.models.registry import build_model
from reactdist.train.deepspeed_engine import LOSS_SCALE, DeepSpeedEngine, start_process_group
from reactdist.train.deepspeed_json import SECTIONS
from reactdist.train.engine import Engine, TorchEngine
from reactdist.train.gradient import MeanGradient
from reactdist.train.settings import EngineSettings, LossSettings, OptimizerSettings

SHARED = meeting._SHARED
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
    meeting._SHARED = job.get("shared", SHARED)
    torch.manual_seed(0)
    loss, device = LossSettings(), torch.device(job.get("device", "cpu"))
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
        optimizer = checkpoint.tensors("optimizer")
        if "loss_scale" in job:
            optimizer[LOSS_SCALE] = torch.tensor([job["loss_scale"], 0.0, -1.0])
        engine.load(checkpoint.tensors("model"), optimizer)
    losses, device = [], engine.device
    for step in range(job["start"], job["stop"]):
        total = 0.0
        share = {k: v.chunk(world)[rank] for k, v in data(step, job.get("model", "")).items()}
        noise = [torch.Generator(device).manual_seed(n) for n in range(BATCH // world)]
        for part in range(accumulation):
            micro_batch = {k: v.chunk(accumulation)[part].to(device) for k, v in share.items()}
            with torch.autocast(device.type, torch.bfloat16, enabled="autocast" in job):
                value = engine.losses(micro_batch, noise)["total"]
            engine.backward(value)
            engine.step(OPTIMIZER.lr)
            total += float(value.detach()) / accumulation
        mean = torch.tensor([total], device=device)
        torch.distributed.all_reduce(mean)
        losses.append(float(mean) / world)
    moments = engine.optimizer_state()
    done = moments["step"]
    # The first scales of the loss may be too large for float16.
    assert 0 <= job["stop"] - int(done) <= job.get("left_out", 0), f"{done} updates"
    if "save" in job:
        tensors = {"model": engine.weights(), "optimizer": moments}
        if rank == 0:
            folder = Path(job["save"])
            write_checkpoint(folder, job["stop"], tensors=tensors, state={}, config_yaml="")
    if "moments" in job:
        first = [moments[name] for name in sorted(moments) if name.startswith("exp_avg/")]
        return torch.cat([moment.flatten() for moment in first]).tolist()
    return losses


def meet_a_bad_gradient(job: dict, rank: int, world: int) -> list[float]:
    """Steps that rank 0 took, 2 where the last rank's gradient is not finite from the third on.

    Raises unless every rank stops there with the weights it had.
    """
    engine, before = make(job, world), dict[str, torch.Tensor]()
    for step in range(20):
        batch = {k: v.chunk(world)[rank].to(engine.device) for k, v in data(step, "").items()}
        if step >= 2 and rank == world - 1:
            batch["zero"] = torch.zeros(1, device=engine.device)
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


def leave_out_the_first_update(job: dict, rank: int, world: int) -> list[float]:
    """Updates counted after a step that a scale leaves out, and after one more of a new engine."""
    updates = []
    state = {LOSS_SCALE: torch.tensor([2.0**120, 0.0, -1.0])}
    engine = make(job, world)
    engine.load(engine.weights(), state)
    for step in range(2):
        batch = {k: v.chunk(world)[rank] for k, v in data(step, "").items()}
        engine.backward(engine.losses(batch, None)["total"])
        engine.step(OPTIMIZER.lr)
        state = engine.optimizer_state()
        updates.append(float(state.get("step", 0.0)))
        weights = engine.weights()
        engine = make(job, world)
        engine.load(weights, state | {LOSS_SCALE: torch.tensor([1024.0, 0.0, -1.0])})
    return updates


def meet_in_the_middle(job: dict, rank: int, world: int) -> list[float]:
    """Gradients after two steps in which ranks reach different parameters.

    Rank r gives the first parameter (3, 4)(r + 1), the last rank alone the second 5, and nobody
    the third; in the second step the last rank alone reaches the first.
    """
    parameters = [nn.Parameter(torch.zeros(n)) for n in (2, 1, 1)]
    mean = MeanGradient(parameters, job["clip_norm"], world)
    found = []
    for step in range(2):
        for parameter in parameters:
            parameter.grad = None
        if step == 0 or rank == world - 1:
            parameters[0].grad = torch.tensor([3.0, 4.0]) * (rank + 1)
        if step == 0 and rank == world - 1:
            parameters[1].grad = torch.tensor([5.0])
        mean.start()
        mean.finish()
        for parameter in parameters:
            found += parameter.grad.tolist()
    return found


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


WAYS = {
    "train": train,
    "left out": leave_out_the_first_update,
    "bad": meet_a_bad_gradient,
    "meet": meet_in_the_middle,
}


def main() -> None:
    request = json.loads(sys.argv[1])
    rank, world = request["rank"], request["world"]
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    store = torch.distributed.FileStore(request["store"], world)
    backend = request.get("backend", "gloo")
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=world)
    start_process_group(torch.device("cpu"), 60.0)
    result: dict[str, list] = {"unknown keys": unknown_to_deepspeed()}
    for name, job in request["jobs"].items():
        what = WAYS[job.get("what", "train")]
        result[name] = what(job, rank, world)
    result["left in shared memory"] = [str(path) for path in Path(SHARED).glob("reactdist-*")]
    if rank == 0:
        Path(request["out"]).write_text(json.dumps(result))


main()
