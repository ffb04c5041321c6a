"""The workers of a run and the few things they agree on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class ProcessRanks:
    """Ranks of the default torch.distributed process group."""

    def __init__(self, device: torch.device) -> None:
        self.rank = torch.distributed.get_rank()
        self.world = torch.distributed.get_world_size()
        self._device = device

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Means over ranks, the same on all (one collective); ranks give the same names."""
        if self.world == 1:
            return dict(values)
        tensor = torch.tensor(list(values.values()), dtype=torch.float64, device=self._device)
        torch.distributed.all_reduce(tensor)
        return dict(zip(values, (tensor / self.world).tolist(), strict=True))

    def gather(self, value: Any) -> list[Any] | None:
        """Values of all ranks in rank order, on rank 0; None elsewhere."""
        if self.world == 1:
            return [value]
        gathered: list[Any] | None = [None] * self.world if self.rank == 0 else None
        torch.distributed.gather_object(value, gathered)
        return gathered

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value on every rank."""
        if self.world == 1:
            return value
        holder = [value]
        torch.distributed.broadcast_object_list(holder, src=0, device=self._device)
        return holder[0]
