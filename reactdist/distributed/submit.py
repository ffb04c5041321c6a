"""`reactdist submit`: a command as a job of a Ray cluster, through Ray's job API."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reactdist.errors import GateNotMet, InputError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
JOBS = ("build", "train", "tune", "evaluate", "promote")
_FORWARDED = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_POLL_S = 1.0
_START_S = 60.0
"""How long a starting cluster is waited for."""


def submit(
    job: str, arguments: Sequence[str], *, address: str | None = None, follow: bool = False
) -> str:
    """Submit `reactdist JOB ARGUMENTS` to a cluster; the job's id.

    The cluster's nodes see this machine's files (a shared file system): the job runs in this
    working folder with this Python.

    Args:
        address: of the dashboard; default RAY_API_SERVER_ADDRESS, else this machine's.
        follow: print the job's log until it ends.

    Raises:
        InputError: no such job, or nobody answers at the address.
        GateNotMet: a followed job failed.
    """
    if job not in JOBS:
        raise InputError(f"unknown job {job!r}", fix="one of " + ", ".join(JOBS))
    address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    client = _client(address)
    job_id = _submitted(client, entrypoint(job, arguments), address)
    if follow:
        _follow(client, job_id)
    return job_id


def entrypoint(job: str, arguments: Sequence[str]) -> str:
    """The shell line of a job: this Python by its absolute path, in this working folder."""
    command = ["data", "build"] if job == "build" else [job]
    words = [sys.executable, "-m", "reactdist.cli", *command, *arguments]
    return f"cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(words)}"


def _submitted(client: Any, line: str, address: str) -> str:
    """The job's id; a cluster that has just started may not take jobs yet."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            job_id: str = client.submit_job(
                entrypoint=line, runtime_env={"env_vars": dict(_environment())}
            )
        except RuntimeError as error:
            if "No available agent" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise InputError(
                    f"the cluster has taken no job for {_START_S:.0f} s",
                    where=address,
                    fix="see whether its head node runs a dashboard agent: `ray status`",
                ) from None
            time.sleep(_POLL_S)
        else:
            return job_id


def _environment() -> Mapping[str, str]:
    return {name: os.environ[name] for name in _FORWARDED if name in os.environ}


def _client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else "no answer"
        raise InputError(
            f"no Ray dashboard answers: {first_line}",
            where=address,
            fix="give --address http://HOST:8265 of the cluster's dashboard",
        ) from None


def _follow(client: Any, job_id: str) -> None:
    from ray.job_submission import JobStatus

    printed = 0
    while True:
        status = client.get_job_status(job_id)
        text = client.get_job_logs(job_id)
        sys.stdout.write(text[printed:])
        sys.stdout.flush()
        printed = len(text)
        if status.is_terminal():
            break
        time.sleep(_POLL_S)
    if status != JobStatus.SUCCEEDED:
        message = client.get_job_info(job_id).message
        raise GateNotMet(f"job {status.value.lower()}: {message}", where=job_id)
