"""Ray Train's torch backend, with workers that find each other and take SIGTERM as a wish to stop.

A signal handler can only be set in the main thread of a process; training runs in another one,
and what the backend executes at the start of a group runs in the main one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import psutil
from ray.train.torch import TorchConfig
from ray.util import get_node_ip_address

from reactdist.train.stop import StopSignal

_STOP = StopSignal()
"""Of this worker process."""


def process_asked_to_stop() -> bool:
    """Whether this worker process got a SIGTERM: its node is taken away."""
    return _STOP()


def _prepare_process() -> None:
    _STOP.__enter__()
    # Gloo would listen where the host's name leads, which is often the loopback interface.
    address = get_node_ip_address()
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == address for one in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


class _SignalledBackend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(_prepare_process)
        super().on_start(worker_group, backend_config)


@dataclass
class SignalledTorch(TorchConfig):
    """As `ray.train.torch.TorchConfig`."""

    @property
    def backend_cls(self) -> type:
        return _SignalledBackend
