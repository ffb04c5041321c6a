"""Text artifacts that are only ever added to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from reactdist.errors import InputError
from reactdist.tracking.run import KEY_TAG, KIND_TAG, find_run
from reactdist.tracking.store import client, experiment_id


def add_artifact(uri: str, experiment: str, key: str, path: str, text: str) -> None:
    """Store `text` as artifact `path` of the run of identity `key`, made when it is not there.

    Unlike a training run's artifacts this is sent at once, and raises when MLflow is away.

    Raises:
        InputError: the artifact exists already.
    """
    mlflow = client(uri)
    experiment_number = experiment_id(uri, experiment, create=True)
    run = find_run(uri, experiment_number, key)
    if run is None:
        run = mlflow.create_run(
            experiment_number, tags={KEY_TAG: key, KIND_TAG: "record"}, run_name=key
        )
        mlflow.set_terminated(run.info.run_id)
    folder = path.rpartition("/")[0]
    if any(file.path == path for file in mlflow.list_artifacts(run.info.run_id, folder or None)):
        raise InputError("is there already and never changes", where=path)
    mlflow.log_text(run.info.run_id, text, path)


def read_artifacts(uri: str, experiment: str, key: str, folder: str) -> list[str]:
    """The texts in an artifact folder of the run of identity `key`, by name; [] without one."""
    mlflow = client(uri)
    found = mlflow.get_experiment_by_name(experiment)
    run = None if found is None else find_run(uri, found.experiment_id, key)
    if run is None:
        return []
    files = [f.path for f in mlflow.list_artifacts(run.info.run_id, folder) if not f.is_dir]
    with tempfile.TemporaryDirectory(prefix="reactdist-artifacts-") as scratch:
        got = [mlflow.download_artifacts(run.info.run_id, path, scratch) for path in sorted(files)]
        return [Path(path).read_text() for path in got]
