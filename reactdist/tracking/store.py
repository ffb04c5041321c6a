"""Where MLflow is, and that it answers: addresses, first contact, experiments.

This package is the only importer of mlflow, and imports it inside functions (it costs 2 s).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reactdist.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient

ARTIFACT_FOLDER = "mlartifacts"
_CONNECT_S = 5.0
_DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}
_DEFAULTS = {
    # MLflow's own are 120 s and 7 attempts: minutes in which nobody hears that it is away.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Read by MLflow at every call; what a user has set stays."""


def tracking_uri(explicit: str | None = None) -> str:
    """The MLflow address to use: `explicit`, else MLFLOW_TRACKING_URI, else `mlflow.db` here.

    A relative SQLite path is made absolute: workers have other working folders.
    """
    given = explicit or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    database = sqlite_path(given)
    return given if database is None else f"sqlite:///{database}"


def prepare(uri: str) -> None:
    """Make sure that MLflow answers at `uri` within seconds; a new SQLite database is created.

    Processes that open a new database at once break it, so this is done under a file lock; call
    it once in the driver before workers or trials start.

    Raises:
        InputError: nobody answers, no permission, or an address MLflow does not know.
    """
    _check_scheme(uri)
    database = sqlite_path(uri)
    if database is None:
        _check_connects(uri)
        _first_call(uri)
        return
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        with _locked(database.with_name(database.name + ".lock")):
            _create_sqlite(uri, database)
            _first_call(uri)
    except OSError as error:
        raise InputError(
            f"the MLflow database cannot be written ({error.strerror})",
            where=database,
            fix="give a writable place in MLFLOW_TRACKING_URI=sqlite:////path/mlflow.db",
        ) from None


def sqlite_path(uri: str) -> Path | None:
    """The database file of a `sqlite:///` address (absolute), None for any other address."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute()


def client(uri: str) -> MlflowClient:
    """An MLflow client of that address with short time limits, quiet; one a process."""
    _set_defaults()
    return _client_of_process(uri, os.getpid())


def experiment_id(uri: str, name: str, *, create: bool = False) -> str:
    """The id of a named experiment; with `create` it is made, its artifacts beside the database.

    Raises:
        InputError: no such experiment (and not `create`), or it was deleted.
    """
    from mlflow.exceptions import MlflowException

    mlflow = client(uri)
    found = mlflow.get_experiment_by_name(name)
    if found is None and create:
        database = sqlite_path(uri)
        location = None if database is None else str(database.parent / ARTIFACT_FOLDER)
        try:
            return str(mlflow.create_experiment(name, artifact_location=location))
        except MlflowException:
            # Another process made it between the two calls.
            found = mlflow.get_experiment_by_name(name)
    if found is None:
        raise InputError(f"no experiment {name!r}", where=uri, fix="`reactdist runs` lists them")
    if found.lifecycle_stage != "active":
        raise InputError(
            f"experiment {name!r} was deleted",
            where=uri,
            fix=f"use another name, or `mlflow experiments restore -x {found.experiment_id}`",
        )
    return str(found.experiment_id)


def every_page(search: Callable[..., Any], *arguments: Any, **more: Any) -> list[Any]:
    """All that a search of MLflow's client finds; one call gives the first page only."""
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(*arguments, page_token=token, **more)
        found += page
        token = page.token
        if not token:
            return found


def quoted(text: str) -> str:
    """`text` as a string of MLflow's search language, which knows quotes but no escapes."""
    mark = '"' if "'" in text else "'"
    if mark in text:
        raise InputError("cannot hold both kinds of quotes", where=text, fix="leave one out")
    return f"{mark}{text}{mark}"


@lru_cache(maxsize=8)
def _client_of_process(uri: str, _pid: int) -> MlflowClient:
    # The process id is part of the key: a database connection must not cross a fork.
    from mlflow import MlflowClient

    quiet()
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def quiet() -> None:
    """Only warnings from mlflow and alembic, unless MLFLOW_LOGGING_LEVEL asks for more."""
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # It logs a database error with its stack and raises it; ours is one line.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        # One warning for each attempt to reach a server that is away; ours says it once.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def _set_defaults() -> None:
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def _check_scheme(uri: str) -> None:
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme in _DEFAULT_PORTS or scheme == "databricks" or sqlite_path(uri) is not None:
        return
    raise InputError(
        "not an MLflow address that can be used (plain folders have no registry)",
        where=f"MLFLOW_TRACKING_URI={uri}",
        fix="use sqlite:////absolute/mlflow.db, http://host:5000 or postgresql+psycopg2://...",
    )


def _check_connects(uri: str) -> None:
    """Raise InputError when no one listens; MLflow's own retries would take minutes."""
    parts = urlsplit(uri)
    if not parts.hostname:
        return
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme.partition("+")[0], 80)
    try:
        socket.create_connection((parts.hostname, port), timeout=_CONNECT_S).close()
    except OSError as error:
        raise _unreachable(uri, error) from None


def _first_call(uri: str) -> None:
    _set_defaults()  # before the shorter ones of this call, which are taken back after it
    with _environment(MLFLOW_HTTP_REQUEST_TIMEOUT="8", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"):
        try:
            mlflow = client(uri)
            mlflow.search_experiments(max_results=1)
            # The registry opens the database through a store of its own.
            mlflow.search_registered_models(max_results=1)
        except Exception as error:
            # Whatever the store or its driver raises, the user's question is the same one.
            raise _unreachable(uri, error) from error


def _unreachable(uri: str, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return InputError(
        f"MLflow does not answer ({reason})",
        where=_without_password(uri),
        fix="start the server, correct MLFLOW_TRACKING_URI, or unset it to use ./mlflow.db",
    )


def _without_password(uri: str) -> str:
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri


def _create_sqlite(uri: str, database: Path) -> None:
    """Create the tables with the artifact root beside the database, for the UI's sake too."""
    if database.exists() and database.stat().st_size > 0:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    quiet()
    SqlAlchemyStore(uri, str(database.parent / ARTIFACT_FOLDER))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
