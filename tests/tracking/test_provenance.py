"""Git state and versions, held against git itself."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

from reactdist.tracking import git_state, package_versions


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_git_state_follows_the_checkout(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "a.txt").write_text("one\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    clean = git_state(tmp_path)
    assert clean["commit"] == git(tmp_path, "rev-parse", "HEAD")
    assert (clean["branch"], clean["dirty"], clean["diff"]) == ("trunk", False, "")
    (tmp_path / "b.txt").write_text("new\n")
    assert git_state(tmp_path)["dirty"]
    (tmp_path / "a.txt").write_text("two\n")
    state = git_state(tmp_path / ".")
    assert "-one\n+two" in state["diff"]


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {"commit": "", "branch": "", "dirty": False, "diff": ""}
    assert git_state(tmp_path / "missing")["commit"] == ""


def test_versions_are_the_installed_ones() -> None:
    versions = package_versions()
    assert versions["torch"] == metadata.version("torch")
    assert versions["python"].startswith("3.")
    assert all(versions.values())
