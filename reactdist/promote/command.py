"""`reactdist promote` and `reactdist rollback`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from reactdist.config import load, parse
from reactdist.data.shards import Shards
from reactdist.promote.gate import Check
from reactdist.promote.settings import GateSettings
from reactdist.terminal import console


@dataclass(frozen=True)
class Request:
    """What a user asked to be put forward."""

    shards: str | None
    """None: those the best run was trained on."""
    experiment: str
    run: str | None
    filter: str | None
    name: str
    alias: str
    metric: str | None
    gate: Path | None
    overrides: Sequence[str]
    force: bool
    reason: str


def run(request: Request, tracking: str | None) -> None:
    """Choose, check, print every check with its numbers, register and move the alias."""
    from reactdist.promote.candidates import find_candidate, of_this_data, shards_of, trained_runs
    from reactdist.promote.gate import gate
    from reactdist.promote.promote import check_reason, promote
    from reactdist.tracking import git_state, prepare, tracking_uri
    from reactdist.tracking.facts import FINGERPRINT_TAG

    check_reason(request.force, request.reason)  # before minutes are spent on drawing
    screen = console()
    overrides = [*request.overrides, *([f"objective={request.metric}"] if request.metric else [])]
    settings = (
        load(GateSettings, request.gate, overrides) if request.gate else _from_overrides(overrides)
    )
    uri = tracking_uri(tracking)
    prepare(uri)
    runs = trained_runs(uri, request.experiment, request.filter, request.run)
    shards = Shards.open(request.shards or shards_of(uri, runs[0]))
    candidate = find_candidate(
        uri,
        runs if request.run else of_this_data(runs, shards, request.experiment, screen.print),
        shards,
        settings,
        model_name=request.name,
        alias=request.alias,
        say=screen.print,
    )
    checks = gate(candidate.evidence, settings)
    print_checks(screen, checks)
    done = promote(
        uri,
        request.name,
        run_id=candidate.run.run_id,
        model_folder=candidate.folder,
        checks=checks,
        alias=request.alias,
        reason=request.reason,
        force=request.force,
        tags={FINGERPRINT_TAG: candidate.run.fingerprint, "reactdist.run": candidate.run.name},
        git=git_state(Path(__file__).parent),
    )
    if done.record is None:
        screen.print(f"{request.name}@{request.alias} already is version {done.version}")
        return
    if done.record.early_tests:
        screen.print(
            f"recorded: its test split was looked at before, in {len(done.record.early_tests)} "
            f"evaluation(s) ({', '.join(run[:8] for run in done.record.early_tests)})"
        )
    before = f", version {done.previous} is `previous` now" if done.previous else ""
    screen.print(
        f"promoted {candidate.run.name}: models:/{request.name}@{request.alias} is version "
        f"{done.version}{before}",
        highlight=False,
    )


def print_checks(screen: Console, checks: Sequence[Check]) -> None:
    """One line a check."""
    for check in checks:
        mark = "[green]pass[/]" if check.passed else "[red]FAIL[/]"
        # A line stays a line in a file, whatever its length.
        screen.print(f"{mark} {check.name}: {check.detail}", highlight=False, soft_wrap=True)


def roll_back(name: str, alias: str, reason: str, tracking: str | None) -> None:
    """Let the alias mean what it meant before."""
    from reactdist.promote.promote import rollback
    from reactdist.tracking import git_state, prepare, tracking_uri

    uri = tracking_uri(tracking)
    prepare(uri)
    done = rollback(uri, name, reason=reason, alias=alias, git=git_state(Path(__file__).parent))
    console().print(
        f"models:/{name}@{alias} is version {done.version} again (was {done.previous})",
        highlight=False,
    )


def _from_overrides(overrides: Sequence[str]) -> GateSettings:
    from reactdist.config import apply_overrides

    return parse(GateSettings, apply_overrides({}, overrides), where="--set")
