"""What is checked in the driver, in seconds, before a worker or Ray is started."""

from __future__ import annotations

from reactdist.data.shards import Shards
from reactdist.errors import InputError
from reactdist.train.settings import TrainSettings


def check_run(settings: TrainSettings) -> Shards:
    """The opened shards, when they and the settings fit each other.

    Raises:
        InputError: shards missing or damaged, image size or clip length that do not fit, a split
            without pairs, more loader or compute workers than the batch divides into.
    """
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
    return shards
