"""The record of what was run: the only importer of mlflow (and only inside functions)."""

from reactdist.tracking.provenance import git_state, package_versions
from reactdist.tracking.registry import (
    download_model,
    register_version,
    set_alias,
    version_by_alias,
)
from reactdist.tracking.run import Run, open_run, sync_spool
from reactdist.tracking.store import prepare, tracking_uri
from reactdist.tracking.table import runs_table

__all__ = [
    "Run",
    "download_model",
    "git_state",
    "open_run",
    "package_versions",
    "prepare",
    "register_version",
    "runs_table",
    "set_alias",
    "sync_spool",
    "tracking_uri",
    "version_by_alias",
]
