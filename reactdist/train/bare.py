"""The plain torch loop that the trainer is measured against: `python -m reactdist.train.bare`.

The same model, data and optimizer, and nothing else: no DeepSpeed, Ray, MLflow, checks or log.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from torch import nn

from reactdist.config import load
from reactdist.data.clips import TRAIN_COLUMNS, train_batches
from reactdist.data.shards import Shards
from reactdist.models.registry import build_model
from reactdist.train.engine import adamw
from reactdist.train.settings import TrainSettings


def bare_loop(settings: TrainSettings, steps: int) -> list[float]:
    """Train for `steps` steps on one thread; when each ended, seconds since 1970."""
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    values = dict(settings.model)
    model = build_model(values.pop("name"), values).train()
    optimizer = adamw(model, settings.optimizer)
    batches = train_batches(
        Shards.open(settings.data.shards),
        batch_size=settings.batch_size,
        crop_frames=settings.data.crop_frames,
        seed=settings.seed,
        workers=settings.data.workers,
        columns=TRAIN_COLUMNS,
    )
    ends = []
    for _ in range(steps):
        losses = model.training_losses(  # type: ignore[operator]
            next(batches),
            kl_weight=settings.loss.kl_weight,
            diversity_weight=settings.loss.diversity_weight,
        )
        losses["total"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.optimizer.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ends.append(time.time())
    return ends


if __name__ == "__main__":
    print(json.dumps(bare_loop(load(TrainSettings, Path(sys.argv[1])), int(sys.argv[2]))))
