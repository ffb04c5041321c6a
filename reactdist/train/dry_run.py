"""One batch through everything before anything long begins."""

from __future__ import annotations

import torch
from torch import nn

from reactdist.data.clips import TRAIN_COLUMNS, train_batches
from reactdist.data.shards import Shards
from reactdist.train.loop import check_finite
from reactdist.train.settings import TrainSettings


def dry_run(
    model: nn.Module, settings: TrainSettings, shards: Shards, device: torch.device, world: int
) -> None:
    """Losses and gradient of one micro-batch of real clips; the model stays as it was.

    Every rank takes the same clips, so that what is wrong is wrong on all of them.

    Raises:
        DataError: a clip cannot be read.
        NonFiniteLoss: the untrained model's loss is not finite.
    """
    batches = train_batches(
        shards,
        batch_size=settings.batch_size // world // settings.accumulation,
        crop_frames=settings.data.crop_frames,
        seed=settings.seed,
        on_damaged=None if settings.data.damaged == "fail" else lambda damaged: None,
    )
    batch = next(batches)
    half = torch.float16 if settings.engine.precision == "float16" else torch.bfloat16
    with torch.autocast(device.type, half, enabled=settings.engine.precision != "float32"):
        losses = model.to(device).training_losses(  # type: ignore[operator]
            {name: batch[name].to(device) for name in TRAIN_COLUMNS},
            kl_weight=settings.loss.kl_weight,
            diversity_weight=settings.loss.diversity_weight,
        )
    check_finite({name: float(term.detach()) for name, term in losses.items()}, 0)
    losses["total"].backward()
    model.zero_grad(set_to_none=True)
