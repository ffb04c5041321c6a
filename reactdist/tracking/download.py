"""Reading one artifact of a run."""

from __future__ import annotations

from pathlib import Path

from reactdist.errors import InputError
from reactdist.tracking.store import quiet


def download_artifact(uri: str, run_id: str, path: str) -> Path:
    """A local copy of the artifact `path` (`folder/name`) of a run; read it, never write to it.

    Raises:
        InputError: no such run or artifact.
    """
    import mlflow

    quiet()
    try:
        got = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path=path, tracking_uri=uri
        )
    except Exception as error:  # every artifact store has exceptions of its own
        first_line = str(error).strip().partition("\n")[0]
        raise InputError(
            f"has no artifact {path!r} ({first_line})",
            where=f"run {run_id}",
            fix="use a run that came to an evaluation",
        ) from error
    return Path(got)
