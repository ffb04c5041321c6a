"""Sends a run's spooled records to MLflow, in order, from a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reactdist.tracking.spool import Record, Spool
from reactdist.tracking.store import client

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger("reactdist.tracking")

_GATHER_S = 0.5
"""Points are gathered this long, so that a fast loop costs one call and not hundreds."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_LAST_CALL_S = 5.0
_METRICS_A_CALL = 1000
"""MLflow's own limit for one log_batch."""
_NEVER_ACCEPTED = frozenset(
    {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST", "INVALID_STATE"}
)


class Sender:
    """Owns the sending side of one spool; `wake` after appending, `drain` before the end."""

    def __init__(self, spool: Spool, lock: threading.RLock) -> None:
        """`lock` guards the spool, which the training thread appends to."""
        self._spool = spool
        self._lock = lock
        self._work = threading.Event()
        self._closing = threading.Event()
        self._hurry = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._away_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)
        self._thread.start()

    @property
    def away(self) -> bool:
        """Whether the last attempt found MLflow away."""
        return self._away_since is not None

    def wake(self) -> None:
        """There is something to send."""
        self._idle.clear()
        self._work.set()

    def drain(self, limit_s: float) -> bool:
        """Wait until MLflow has everything, at most `limit_s`; True when it has.

        From here on an attempt is made at once and then every second.
        """
        self._hurry.set()
        return self._idle.wait(limit_s)

    def stop(self) -> None:
        """End the thread after the call it is in, and close the spool; nothing in it is lost.

        Returns after 5 s at most: in a call that hangs, the thread closes the spool later.
        """
        self._closing.set()
        self._hurry.set()
        self._work.set()
        self._thread.join(timeout=_LAST_CALL_S)

    def _run(self) -> None:
        try:
            self._send_until_closed()
        finally:
            with self._lock:
                self._spool.close()

    def _send_until_closed(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._closing.is_set():
            self._work.wait()
            self._closing.wait(_GATHER_S)
            self._work.clear()
            try:
                self._send_all()
                pause_s = _FIRST_PAUSE_S
            except Exception as error:
                # Whatever failed in MLflow, its driver or the network must not reach training.
                self._report_away(error)
                self._work.set()
                if self._hurry.is_set():
                    self._closing.wait(_FIRST_PAUSE_S)
                else:
                    self._hurry.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _send_all(self) -> None:
        while True:
            with self._lock:
                batch = _next_batch(self._spool)
                if not batch:
                    self._idle.set()
                    return
            self._sync_to_disk()
            send_batch(self._spool, batch)
            self._report_back()
            with self._lock:
                self._spool.mark_sent(len(batch))
            if self._closing.is_set():
                return

    def _sync_to_disk(self) -> None:
        try:
            self._spool.sync()
        except OSError as error:
            log.warning("%s: points are not on disk (%s)", self._spool.folder, error.strerror)

    def _report_away(self, error: Exception) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
            log.warning(
                "MLflow does not take points (%s); training goes on, they wait in %s",
                reason,
                self._spool.folder,
            )

    def _report_back(self) -> None:
        if self._away_since is not None:
            log.warning("MLflow is back after %.0f s", time.monotonic() - self._away_since)
            self._away_since = None


def send_pending(spool: Spool) -> int:
    """Send everything that waits in `spool`, here and now; returns how many records it was.

    Raises whatever MLflow raises when it goes away; what was taken until then is marked.
    """
    total = 0
    while batch := _next_batch(spool):
        send_batch(spool, batch)
        spool.mark_sent(len(batch))
        total += len(batch)
    return total


def send_batch(spool: Spool, batch: list[Record]) -> None:
    """One call to MLflow for records of one kind; a refusal for good is kept in the spool."""
    from mlflow.exceptions import MlflowException

    header = spool.header
    try:
        _OPERATIONS[batch[0]["op"]](client(header.uri), spool, batch)
    except (MlflowException, FileNotFoundError) as error:
        code = getattr(error, "error_code", "RESOURCE_DOES_NOT_EXIST")
        if code not in _NEVER_ACCEPTED:
            raise
        if len(batch) > 1:
            # One bad point must not take its neighbours with it.
            for record in batch:
                send_batch(spool, [record])
            return
        spool.reject(batch[0], str(error))
        log.warning("MLflow refused a record of run %s: %s", header.run_id, error)


def _next_batch(spool: Spool) -> list[Record]:
    """The oldest record, with the metric records right behind it when it is one."""
    batch: list[Record] = []
    points = 0
    for record in spool.pending:
        if batch and (record["op"] != "metrics" or batch[0]["op"] != "metrics"):
            break
        points += len(record.get("values", ()))
        if batch and points > _METRICS_A_CALL:
            break
        batch.append(record)
        if record["op"] != "metrics":
            break
    return batch


def _send_metrics(mlflow: MlflowClient, spool: Spool, batch: list[Record]) -> None:
    from mlflow.entities import Metric

    points = [
        Metric(key, value, record["time_ms"], record["step"])
        for record in batch
        for key, value in record["values"].items()
    ]
    for first in range(0, len(points), _METRICS_A_CALL):
        mlflow.log_batch(spool.header.run_id, metrics=points[first : first + _METRICS_A_CALL])


def _send_tags(mlflow: MlflowClient, spool: Spool, batch: list[Record]) -> None:
    from mlflow.entities import RunTag

    tags = [RunTag(key, value) for key, value in batch[0]["values"].items()]
    mlflow.log_batch(spool.header.run_id, tags=tags)


def _send_artifacts(mlflow: MlflowClient, spool: Spool, batch: list[Record]) -> None:
    staged: Path = spool.folder / batch[0]["staged"]
    if not staged.is_dir():
        raise FileNotFoundError(f"{staged} is gone")
    mlflow.log_artifacts(spool.header.run_id, str(staged), batch[0]["artifact_path"] or None)


def _send_finish(mlflow: MlflowClient, spool: Spool, batch: list[Record]) -> None:
    mlflow.set_terminated(spool.header.run_id, batch[0]["status"], batch[0]["time_ms"])


_OPERATIONS: dict[str, Any] = {
    "metrics": _send_metrics,
    "tags": _send_tags,
    "artifacts": _send_artifacts,
    "finish": _send_finish,
}
