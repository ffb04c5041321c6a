"""CPU, memory, disk, network and GPU of the machine, as curves of a run.

MLflow's own monitors read the values; they go through the run's spool, so that they too survive
a server that is away, which MLflow's own logging of them would not.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Any

from reactdist.tracking.run import Run

log = logging.getLogger("reactdist.tracking")


class SystemMetrics:
    """Samples the machine while the block runs: `with SystemMetrics(run): train()`.

    Metrics `system/...`; a step is `every_s` seconds of wall time since 1970, so that a resumed
    run goes on to the right of where it stopped.
    """

    def __init__(self, run: Run, *, every_s: float = 15.0) -> None:
        self._run = run
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="system-metrics", daemon=True)

    def __enter__(self) -> SystemMetrics:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=10)

    def _sample(self) -> None:
        try:
            monitors = _monitors()
            while not self._ended.wait(self._every_s):
                self._run.log_metrics(_read(monitors), int(time.time() / self._every_s))
        except Exception as error:
            # A driver or a container that hides its counters must not end training.
            log.warning("no system metrics: %s", error)


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        monitors.append(GPUMonitor())
    except (ImportError, RuntimeError):
        log.debug("no NVIDIA GPU to watch")
    return monitors


def _read(monitors: list[Any]) -> dict[str, float]:
    values: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        values.update(monitor.aggregate_metrics())
        monitor.clear_metrics()
    return {f"system/{name}": float(value) for name, value in values.items()}
