"""A Ray session for the length of a command: an existing cluster, or one of this machine alone."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Iterator
from typing import Any

from reactdist.errors import InputError, ReactdistError
from reactdist.terminal import VERBOSE, verbose

_CONNECT_TIMEOUT_S = 5.0
_LOCAL_OBJECT_STORE_BYTES = 512 * 1024**2
"""Clips are read by the workers themselves; little passes through Ray's object store."""

_COUNTERS = (
    "RAY_enable_metrics_collection",
    "RAY_event_stats",
    "RAY_TRAIN_METRICS_ENABLED",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER",
)
"""What Ray counts for a monitoring system, and its watch over notices of a cloud: nobody asks for
them on one machine, where they take time from the cores that train."""

_REFUSALS = (OSError, RuntimeError, ValueError)
"""What ray.init raises; OSError includes ConnectionError and TimeoutError."""


@contextlib.contextmanager
def ray_session(
    address: str | None = None, *, num_cpus: int | None = None, dashboard: bool = False
) -> Iterator[None]:
    """Connect to `address` (or RAY_ADDRESS), else start Ray here and stop it afterwards.

    Args:
        num_cpus: cores of a session of this machine; ignored for an existing cluster.
        dashboard: start it too; stopping a trial that holds a Ray Train group needs it.

    Raises:
        InputError: nobody answers at the address.
        ReactdistError: Ray does not start here.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    _set_environment(local=not address)
    import ray

    if ray.is_initialized():  # a caller's session (a job on a cluster, a test) is left alone
        yield
        return
    options: dict[str, Any] = {
        "log_to_driver": verbose(),
        "logging_level": logging.INFO if verbose() else logging.ERROR,
        "configure_logging": verbose(),
    }
    if verbose():
        options["runtime_env"] = {"env_vars": {VERBOSE: "1"}}
    with contextlib.ExitStack() as session:
        if address:
            _check_answers(address)
            _connect(address, options)
        else:
            session.enter_context(_without_counters())
            _start(num_cpus, dashboard, options)
        session.callback(ray.shutdown)
        yield


def _connect(address: str, options: dict[str, Any]) -> None:
    import ray

    try:
        ray.init(address=address, **options)
    except _REFUSALS as error:
        raise InputError(
            f"no Ray cluster answers: {_first_line(error)}",
            where=address,
            fix="start one (cluster/), correct the address, or leave it out to run on this machine",
        ) from None


def _start(num_cpus: int | None, dashboard: bool, options: dict[str, Any]) -> None:
    import ray

    try:
        with _background():
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=dashboard,
                object_store_memory=_LOCAL_OBJECT_STORE_BYTES,
                **options,
            )
    except _REFUSALS as error:
        raise ReactdistError(
            f"Ray does not start on this machine: {_first_line(error)}",
            fix="free memory, space in /tmp (RAY_TMPDIR) and cores, then run the same command",
        ) from None


@contextlib.contextmanager
def _without_counters() -> Iterator[None]:
    """Without `_COUNTERS`, where the user has not set them."""
    names = [name for name in _COUNTERS if name not in os.environ]
    os.environ.update(dict.fromkeys(names, "0"))
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _background() -> Iterator[None]:
    """Processes that are started in here, and theirs, do not interrupt others by waking up.

    Ray's dozen processes on a machine wake up a hundred times a second each, to look for signals,
    and share the cores with the training. Linux's batch policy lets them run a moment later.
    """
    changed = False
    with contextlib.suppress(AttributeError, OSError):  # another system; a sandbox forbids it
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            changed = True
    try:
        yield
    finally:
        if changed:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no answer"])[0]


def _check_answers(address: str) -> None:
    """Fail in seconds where Ray itself would wait for a minute."""
    host_port = address.removeprefix("ray://")
    host, separator, port = host_port.rpartition(":")
    if not separator or not port.isdigit():
        return  # "auto", "local" and the like
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise InputError(
            f"no Ray cluster answers ({error.strerror or error})",
            where=address,
            fix="start one (cluster/), correct the address, or leave it out to run on this machine",
        ) from None


def _set_environment(local: bool) -> None:
    """Ray's settings, which it reads from the environment when it is first imported."""
    if local:
        # Said explicitly, since ray.init() and `ray start` default differently. The token lives
        # as long as the session; Ray's own default would write one under HOME.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ["RAY_AUTH_MODE"] == "token":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
