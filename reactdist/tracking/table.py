"""The table of runs that people sort, filter and compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reactdist.errors import InputError
from reactdist.tracking.facts import FINGERPRINT_TAG
from reactdist.tracking.run import KIND_TAG
from reactdist.tracking.store import client, every_page, experiment_id

if TYPE_CHECKING:
    import pandas as pd

_ROWS_A_CALL = 5000
FACTS = (
    "run_id", "name", "experiment", "kind", "status", "parent", "fingerprint", "started",
    "duration_s",
)  # fmt: skip


def runs_table(
    uri: str,
    experiment: str | None = None,
    sort: str | None = None,
    filter: str | None = None,
) -> pd.DataFrame:
    """One row a run, newest first or by `sort`.

    Columns: run_id, name, experiment, kind (tag `reactdist.kind`), status, parent (run id or ""),
    fingerprint (of its data), started (UTC), duration_s (NaN while running), then `params.KEY`
    (text) and `metrics.KEY` (float, the last value; NaN where absent).

    Args:
        experiment: name; None for all.
        sort: a column, or a metric or parameter by the end of its name (`FRCorr` means
            `metrics.best.FRCorr` where there is no `metrics.FRCorr`); `-NAME` for descending.
            Missing values come last.
        filter: MLflow's own search syntax, e.g. `metrics.FRCorr > 0.1 and params.task = 'online'`.

    Raises:
        InputError: no such experiment, a filter MLflow cannot read, an unknown sort column.
    """
    runs, names = _search(uri, experiment, filter)
    import pandas as pd

    rows = [_row(run, names) for run in runs]
    table = pd.DataFrame(rows, columns=None if rows else list(FACTS))
    ordered = [*FACTS, *sorted(set(table.columns) - set(FACTS))]
    table = table[ordered]
    return _sorted(table, sort) if sort else table


def _search(uri: str, experiment: str | None, filter: str | None) -> tuple[list[Any], dict]:
    from mlflow.exceptions import MlflowException

    mlflow = client(uri)
    if experiment is None:
        names = {e.experiment_id: e.name for e in every_page(mlflow.search_experiments)}
    else:
        names = {experiment_id(uri, experiment): experiment}
    try:
        runs = every_page(mlflow.search_runs, list(names), filter or "", max_results=_ROWS_A_CALL)
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        reason = str(error).splitlines()[0]
        raise InputError(
            f"cannot read the filter: {reason}",
            where=f"--filter {filter!r}",
            fix="write for example metrics.FRCorr > 0.1 and params.task = 'online'",
        ) from None
    return runs, names


def _row(run: Any, names: dict[str, str]) -> dict[str, Any]:
    import pandas as pd

    info, data = run.info, run.data
    end = info.end_time
    row: dict[str, Any] = {
        "run_id": info.run_id,
        "name": info.run_name,
        "experiment": names.get(info.experiment_id, info.experiment_id),
        "kind": data.tags.get(KIND_TAG, ""),
        "status": info.status,
        "parent": data.tags.get("mlflow.parentRunId", ""),
        "fingerprint": data.tags.get(FINGERPRINT_TAG, ""),
        "started": pd.Timestamp(info.start_time, unit="ms", tz="UTC"),
        "duration_s": (end - info.start_time) / 1000 if end else float("nan"),
    }
    row.update({f"params.{key}": value for key, value in data.params.items()})
    row.update({f"metrics.{key}": value for key, value in data.metrics.items()})
    return row


def _sorted(table: pd.DataFrame, sort: str) -> pd.DataFrame:
    column = find_column(list(table.columns), sort.removeprefix("-"))
    values = table[column]
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce")
    # Parameters are text: 16 must come after 8 all the same.
    table = table.assign(_key=numbers if numbers.notna().sum() == values.notna().sum() else values)
    ordered = table.sort_values(
        "_key", ascending=not sort.startswith("-"), kind="stable", na_position="last"
    )
    return ordered.drop(columns="_key").reset_index(drop=True)


def find_column(columns: list[str], name: str) -> str:
    """The column that `name` means: itself, a metric, the best model's metric, a parameter.

    Raises:
        InputError: no column, or several columns, end in `name`.
    """
    for whole in (name, f"metrics.{name}", f"metrics.best.{name}", f"params.{name}"):
        if whole in columns:
            return whole
    ending = [column for column in columns if column.endswith(f".{name}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise InputError(
            f"{name!r} is ambiguous", where="--sort", fix="one of " + ", ".join(ending)
        )
    from reactdist.config import nearest  # pydantic: not for every start of the command line

    bare = [column.rpartition(".")[2] for column in columns]
    raise InputError(f"no column {name!r} to sort by", where="--sort", fix=nearest(name, bare))
