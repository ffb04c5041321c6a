"""Where a run came from: the state of the code and the versions of what it ran on."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import TypedDict

PACKAGES = (
    "reactdist", "torch", "deepspeed", "ray", "mlflow", "optuna", "numpy", "pandas", "pyarrow",
    "numba", "tslearn", "av", "safetensors",
)  # fmt: skip
_DIFF_BYTES = 2_000_000


class GitState(TypedDict):
    """`commit` and `branch` are "" outside a checkout; `diff` is `git diff HEAD`, cut at 2 MB."""

    commit: str
    branch: str
    dirty: bool
    diff: str


def git_state(root: Path) -> GitState:
    """The commit, branch and uncommitted changes of the checkout that holds `root`.

    `dirty` counts untracked files too; their contents are not in `diff`.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return GitState(commit="", branch="", dirty=False, diff="")
    diff = _git(root, "diff", "HEAD")
    return GitState(
        commit=commit,
        branch=_git(root, "rev-parse", "--abbrev-ref", "HEAD"),
        dirty=bool(_git(root, "status", "--porcelain")),
        diff=diff[:_DIFF_BYTES],
    )


def package_versions() -> dict[str, str]:
    """Name -> installed version of python, the platform and the packages results depend on."""
    from importlib import metadata  # 20 ms that `reactdist --help` need not pay

    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def _git(root: Path, *arguments: str) -> str:
    """The output of a git command, "" when there is no git or no checkout."""
    command = ["git", "-C", str(root), "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
