"""What is checked in the driver, in seconds, before a worker or Ray is started."""

from __future__ import annotations

import torch

from reactdist.checkpoints.folder import latest_valid
from reactdist.data.shards import Shards
from reactdist.errors import InputError
from reactdist.models.registry import build_model
from reactdist.train.schedule import Plan
from reactdist.train.settings import TrainSettings


def check_run(settings: TrainSettings) -> Shards:
    """The opened shards, when they and the settings fit each other.

    Raises:
        InputError: shards missing or damaged, image size or clip length that do not fit, a split
            without pairs, a GPU that is not there.
    """
    _check_device(settings)
    shards = Shards.open(settings.data.shards)
    size = settings.model.get("image_size")
    if size is not None and size != shards.image_size:
        raise InputError(
            f"model.image_size is {size}, the shards hold {shards.image_size} pixel images",
            where=settings.data.shards,
            fix=f"set model.image_size={shards.image_size}, or build with --image-size {size}",
        )
    for split in ("train", settings.validation.split):
        if split not in shards.splits or not shards.items(split):
            raise InputError(
                f"no pairs in split {split!r}", where=settings.data.shards, fix="build that split"
            )
    shortest = min(item.num_frames for item in shards.items("train"))
    if settings.data.crop_frames > shortest:
        raise InputError(
            f"data.crop_frames {settings.data.crop_frames} is longer than the shortest training "
            f"clip ({shortest} frames)",
            where=settings.data.shards,
            fix=f"set data.crop_frames to at most {shortest}",
        )
    window = settings.model.get("window_size")
    if window is not None and window > shortest:
        raise InputError(
            f"model.window_size {window} is longer than the shortest clip ({shortest} frames)",
            where=settings.data.shards,
            fix=f"set model.window_size to at most {shortest}",
        )
    steps = Plan.of(settings, len(shards.items("train"))).total_steps
    if settings.profiled and settings.profiled[0] > steps:
        raise InputError(
            f"profile begins at step {settings.profiled[0]}, the run has {steps}",
            fix="choose earlier steps, or train longer",
        )
    return shards


def _check_device(settings: TrainSettings) -> None:
    """What can be told here; the nodes of a Ray cluster may have GPUs that this machine lacks."""
    if settings.workers.gpu is True and not settings.on_ray and not torch.cuda.is_available():
        raise InputError(
            "no CUDA device on this machine", where="workers.gpu", fix="set workers.gpu=auto"
        )


def check_weights(settings: TrainSettings) -> None:
    """What a resumed run would load fits the model that the settings build.

    Raises:
        InputError: a weight missing, left over or of another shape.
    """
    checkpoint = latest_valid(settings.folder / "checkpoints")
    if checkpoint is None:
        return
    values = dict(settings.model)
    with torch.device("meta"):
        model = build_model(values.pop("name"), values)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in checkpoint.tensors("model").items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise InputError(
                f"weight {name} has shape {found.get(name)}, the model wants {wanted.get(name)}",
                where=checkpoint.path,
                fix="use the version that wrote it, or another name for a new run",
            )
