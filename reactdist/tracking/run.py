"""One MLflow run that survives its process and MLflow's absence."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from reactdist.errors import InputError
from reactdist.tracking.sender import Sender, send_pending
from reactdist.tracking.spool import (
    Record,
    Spool,
    SpoolHeader,
    folder_of,
    read_header,
    spools_under,
)
from reactdist.tracking.store import client, experiment_id, prepare, quoted, sqlite_path

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

log = logging.getLogger("reactdist.tracking")

KEY_TAG = "reactdist.key"
KIND_TAG = "reactdist.kind"
Status = Literal["FINISHED", "FAILED", "KILLED"]
_PARAM_CHARACTERS = 6000
_TAG_CHARACTERS = 5000
_PARAMS_A_CALL = 100
_OTHER_PROCESS_S = 5.0
"""How long to wait for a process that logged the run and is being killed."""


def open_run(
    uri: str,
    experiment: str,
    name: str,
    *,
    key: str,
    parent_run_id: str | None = None,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    spool: Path | None = None,
) -> Run:
    """The run of identity `key` in `experiment`: created, or resumed if it is there.

    A resumed run is RUNNING again, keeps its parameters, and ignores metric points it already
    has. When MLflow is away, a run that this machine logged before is resumed from its spool.

    Args:
        uri: address of MLflow, see `tracking_uri`; call `prepare` on it first.
        key: stable identity of the run, stored as tag `reactdist.key`.
        params: logged once, when the run is created; values as text, at most 6000 characters.
        spool: folder for what MLflow has not taken yet; default `mlspool`, beside a SQLite
            database or in the working folder. Must survive the process for nothing to be lost.

    Raises:
        InputError: MLflow is away and this machine never logged the run; experiment deleted;
            another live process is logging this run.
    """
    root = spool or default_spool(uri)
    folder = folder_of(root, uri, experiment, key)
    try:
        found = _find_or_create(uri, experiment, name, key, parent_run_id, tags or {})
        run_id = found.info.run_id
        _log_missing_params(uri, found, params or {})
        logged = _logged_steps(uri, found)
    except InputError:
        raise
    except Exception as error:
        # Any failure of the store while training is being resumed: go on from the spool.
        known = read_header(folder)
        if known is None:
            prepare(uri)
            raise InputError(
                f"MLflow did not open the run ({str(error)[:200]})",
                where=f"{experiment}/{name}",
                fix="look at the server's log",
            ) from error
        log.warning("MLflow is away; run %s goes on from %s", known.run_id, folder)
        run_id, logged = known.run_id, {}
    header = SpoolHeader(uri, experiment, key, run_id)
    return Run(Spool(folder, header, wait_s=_OTHER_PROCESS_S), logged)


def sync_spool(path: Path) -> dict[str, int]:
    """Send what is left in the spool `path`, or in all spools below it: run id -> records sent.

    Raises:
        InputError: nothing there, MLflow away, or a run is still being logged.
    """
    folders = spools_under(path)
    if not folders:
        raise InputError("holds no spool", where=path, fix="give the mlspool folder of the run")
    sent: dict[str, int] = {}
    for folder in folders:
        header = read_header(folder)
        if header is None:
            continue
        prepare(header.uri)
        spool = Spool(folder, header)
        try:
            found = client(header.uri).get_run(header.run_id)
            _drop_logged(spool.pending, _logged_steps(header.uri, found))
            sent[header.run_id] = send_pending(spool)
        finally:
            spool.close()
    return sent


def default_spool(uri: str) -> Path:
    """`mlspool` beside a SQLite database, else in the working folder."""
    database = sqlite_path(uri)
    return (database.parent if database else Path.cwd()) / "mlspool"


class Run:
    """An open run. No method raises because MLflow is away, none waits for it but `finish`."""

    def __init__(self, spool: Spool, logged: dict[str, set[int]]) -> None:
        """Use `open_run`. `logged`: metric key -> steps that MLflow already has."""
        self._spool = spool
        self._logged: defaultdict[str, set[int]] = defaultdict(set, logged)
        _drop_logged(spool.pending, logged)
        for record in (*spool.found, *spool.pending):
            self._remember(record)
        self._lock = threading.RLock()
        self._sender = Sender(spool, self._lock)
        if spool.pending:
            self._sender.wake()

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return self._spool.header.run_id

    @property
    def uri(self) -> str:
        """Address of the MLflow that holds it."""
        return self._spool.header.uri

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log points at `step`; a (key, step) that the run already has is left as it is."""
        with self._lock:
            new = {
                key: float(value) for key, value in values.items() if step not in self._logged[key]
            }
            if not new:
                return
            record = {"op": "metrics", "time_ms": _now_ms(), "step": step, "values": new}
            self._remember(record)
            self._append(record)

    def has_metric(self, key: str, step: int) -> bool:
        """Whether the point is logged already (by this process or an earlier one)."""
        return step in self._logged[key]

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set tags; values as text, cut at 5000 characters."""
        if tags:
            self._append({"op": "tags", "values": _texts(tags, _TAG_CHARACTERS)})

    def log_text(self, text: str, path: str) -> None:
        """Store `text` as the artifact `path` (`folder/name.txt`)."""
        folder, _, name = path.rpartition("/")
        with self._lock:
            self._stage(lambda: self._spool.stage_text(name, text), folder)

    def log_dict(self, values: Mapping[str, Any], path: str) -> None:
        """Store plain values as the JSON artifact `path`; NaN and infinity become null."""
        self.log_text(json.dumps(_finite(values), indent=2), path)

    def log_file(self, path: Path, artifact_path: str = "") -> None:
        """Store a copy of a file in the artifact folder `artifact_path` ("" for the top)."""
        with self._lock:
            self._stage(lambda: self._spool.stage(Path(path)), artifact_path)

    def log_folder(self, folder: Path, artifact_path: str) -> None:
        """Store a copy of a folder's content as the artifact folder `artifact_path`."""
        self.log_file(folder, artifact_path)

    def finish(self, status: Status = "FINISHED", *, wait_s: float | None = None) -> bool:
        """End the run; waits for MLflow to take what is left. True when it has everything.

        The wait is at most `wait_s`, by default 60 s, 5 s where MLflow was away already. What it
        has not taken stays in the spool: `reactdist runs sync` sends it.
        """
        with self._lock:
            self._append({"op": "finish", "status": status, "time_ms": _now_ms()})
        usual_s = 5.0 if self._sender.away else 60.0
        complete = self._sender.drain(usual_s if wait_s is None else wait_s)
        folder, left = self._spool.folder, len(self._spool.pending)
        self._sender.stop()
        if not complete:
            log.warning(
                "MLflow has not taken %d records of run %s; send them with "
                "`reactdist runs sync %s`",
                left,
                self.run_id,
                folder,
            )
        return complete

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish("FINISHED")
        else:
            self.finish("FAILED" if issubclass(kind, Exception) else "KILLED")

    def _stage(self, copy: Any, artifact_path: str) -> None:
        try:
            staged = copy()
        except OSError as error:
            # A full disk must not end training; the artifact's loss is said, not hidden.
            log.warning("artifact %r was not stored: %s", artifact_path, error)
            return
        self._append({"op": "artifacts", "staged": staged, "artifact_path": artifact_path})

    def _append(self, record: Record) -> None:
        with self._lock:
            try:
                self._spool.append(record)
            except OSError as error:
                log.warning("%s: %s; points wait in memory", self._spool.folder, error.strerror)
            self._sender.wake()

    def _remember(self, record: Record) -> None:
        for key in record["values"] if record["op"] == "metrics" else ():
            self._logged[key].add(record["step"])


def find_run(uri: str, experiment_number: str, key: str) -> MlflowRun | None:
    """The run of identity `key` in an experiment, None when it was never opened."""
    same_key = f"tags.`{KEY_TAG}` = {quoted(key)}"
    found = client(uri).search_runs([experiment_number], same_key, max_results=1)
    return found[0] if found else None


def _find_or_create(
    uri: str,
    experiment: str,
    name: str,
    key: str,
    parent_run_id: str | None,
    tags: Mapping[str, Any],
) -> MlflowRun:
    mlflow = client(uri)
    experiment_number = experiment_id(uri, experiment, create=True)
    found = find_run(uri, experiment_number, key)
    if found is not None:
        mlflow.update_run(found.info.run_id, status="RUNNING")
        return found
    all_tags = _texts(tags, _TAG_CHARACTERS) | {KEY_TAG: key}
    if parent_run_id:
        all_tags["mlflow.parentRunId"] = parent_run_id
    return mlflow.create_run(experiment_number, tags=all_tags, run_name=name)


def _log_missing_params(uri: str, run: MlflowRun, params: Mapping[str, Any]) -> None:
    """Only those the run lacks: a process killed after creating the run had not logged them."""
    from mlflow.entities import Param

    missing = [
        Param(key, value)
        for key, value in _texts(params, _PARAM_CHARACTERS).items()
        if key not in run.data.params
    ]
    for first in range(0, len(missing), _PARAMS_A_CALL):
        client(uri).log_batch(run.info.run_id, params=missing[first : first + _PARAMS_A_CALL])


def _logged_steps(uri: str, run: MlflowRun) -> dict[str, set[int]]:
    mlflow = client(uri)
    return {
        key: {point.step for point in mlflow.get_metric_history(run.info.run_id, key)}
        for key in run.data.metrics
    }


def _drop_logged(records: Any, logged: Mapping[str, set[int]]) -> None:
    """Take points that MLflow has out of waiting records: an answer may have been lost."""
    for record in records:
        if record["op"] == "metrics":
            for key in [k for k in record["values"] if record["step"] in logged.get(k, ())]:
                del record["values"][key]


def _texts(values: Mapping[str, Any], limit: int) -> dict[str, str]:
    return {key: str(value)[:limit] for key, value in values.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
