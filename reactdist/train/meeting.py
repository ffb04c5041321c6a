"""Where the flat gradients of several workers become one sum: `meeting_place` picks the way.

Workers of one machine that compute on its CPUs read each other's gradient in shared memory. gloo
would send it through a TCP socket to itself, which takes time from the cores that compute. torch
has shared-memory reduction for GPUs only, DeepSpeed's own is compiled by every machine before its
first use.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

_SHARED = "/dev/shm"
"""Linux's file system in memory; a container may give it a few megabytes or none."""
_PART_OF_ROOM = 0.25
_FLOAT_BYTES = 4


class Meeting(Protocol):
    """One sum a step."""

    @property
    def own(self) -> Tensor:
        """(size,) float32, where this worker puts its gradient before `start`; another tensor
        after every `finish`."""
        ...

    def start(self) -> None:
        """This worker's gradient is in place."""
        ...

    def finish(self) -> Tensor:
        """(size,) the sum over all workers, the same bits on each of them; this worker's to
        change until the next `start`."""
        ...


def meeting_place(size: int, device: torch.device) -> Meeting:
    """For the workers of the default process group; all of them must call it."""
    buffers = _shared_buffers(size) if device.type == "cpu" else None
    if buffers is None:
        return AllReduce(size, device)
    return SharedMemory(buffers)


class AllReduce:
    """Workers of several machines, or of GPUs."""

    def __init__(self, size: int, device: torch.device) -> None:
        self._flat = torch.zeros(size, device=device)
        self._work: Any = None

    @property
    def own(self) -> Tensor:
        return self._flat

    def start(self) -> None:
        self._work = torch.distributed.all_reduce(self._flat, async_op=True)

    def finish(self) -> Tensor:
        self._work.wait()
        return self._flat


class SharedMemory:
    """Every worker adds up what all of them wrote, in the order of their ranks.

    Two buffers take turns, so that one wait a step is enough: who writes to a buffer again has
    waited for a step in between, which others start after they have read the buffer.
    """

    def __init__(self, buffers: Tensor) -> None:
        """`buffers`: (2, workers, size), the same memory in all of them."""
        self._buffers = buffers
        self._turn = 0
        self._rank = torch.distributed.get_rank()
        self._sum = torch.zeros(buffers.shape[2])
        self._here = torch.zeros(1)
        self._work: Any = None

    @property
    def own(self) -> Tensor:
        return self._buffers[self._turn, self._rank]

    def start(self) -> None:
        # A reduction rather than a barrier: a worker that died is noticed as everywhere else.
        self._work = torch.distributed.all_reduce(self._here, async_op=True)

    def finish(self) -> Tensor:
        self._work.wait()
        torch.sum(self._buffers[self._turn], dim=0, out=self._sum)
        self._turn = 1 - self._turn
        return self._sum


def _shared_buffers(size: int) -> Tensor | None:
    """(2, workers, size) float32 in memory that all workers map; None where they cannot.

    The file has no name any more when this returns, so that whatever ends the workers from then
    on, the memory goes with the last of them.
    """
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    shape = (2, world, size)
    holder = [_new_file(_FLOAT_BYTES * 2 * world * size) if rank == 0 else ""]
    mapped = None
    try:
        torch.distributed.broadcast_object_list(holder, src=0)
        # No such file where a worker is on another machine, or in a container of its own.
        with contextlib.suppress(OSError, ValueError):
            mapped = np.memmap(holder[0], np.float32, "r+", shape=shape) if holder[0] else None
        found = torch.tensor(0 if mapped is None else 1)
        torch.distributed.all_reduce(found)
    finally:
        if rank == 0 and holder[0]:
            os.unlink(holder[0])
    return torch.from_numpy(mapped) if int(found) == world else None


def _new_file(size: int) -> str:
    """A file of `size` bytes that are there for sure, since a write to memory that is not would
    kill; no name where that is more than a part of the room, which loader processes need too."""
    try:
        room = os.statvfs(_SHARED)
        if size > _PART_OF_ROOM * room.f_bavail * room.f_frsize:
            return ""
        handle, name = tempfile.mkstemp(prefix="reactdist-", dir=_SHARED)
    except OSError:
        return ""
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError:
        os.unlink(name)
        return ""
    finally:
        os.close(handle)
    return name
