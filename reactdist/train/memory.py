"""Memory that runs out, as an error that names the step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from reactdist.errors import OutOfMemory
from reactdist.train.loop import Progress


@contextlib.contextmanager
def memory_watched(progress: Progress) -> Iterator[None]:
    """Turn running out of memory inside into an error for users.

    Raises:
        OutOfMemory: with the step that was being made, 1 while the engine is built too.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _ran_out(error):
            raise
        raise OutOfMemory(
            f"out of memory ({' '.join(str(error).split())[:200]})",
            where=f"step {progress.step + 1}",
            fix="lower batch_size or data.crop_frames, raise accumulation, or use larger nodes",
        ) from error


def _ran_out(error: Exception) -> bool:
    """CUDA has a type for it; the CPU allocator of torch raises a RuntimeError of this text."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "DefaultCPUAllocator: can't allocate memory" in str(error)
    )
