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
    run_id: str | None
    filter: str | None
    name: str
    alias: str
    metric: str | None
    frames: int | None
    samples: int
    gate: Path | None
    overrides: Sequence[str]
    force: bool
    reason: str


def run(request: Request, tracking: str | None) -> None:
    """Choose, check, print every check with its numbers, register and move the alias."""
    from reactdist.promote.candidates import find_candidate, shards_of_best
    from reactdist.promote.gate import gate
    from reactdist.promote.promote import promote
    from reactdist.tracking import git_state, prepare, tracking_uri

    screen = console()
    overrides = [*request.overrides, *([f"objective={request.metric}"] if request.metric else [])]
    settings = (
        load(GateSettings, request.gate, overrides) if request.gate else _from_overrides(overrides)
    )
    uri = tracking_uri(tracking)
    prepare(uri)
    shards = Shards.open(
        request.shards or shards_of_best(uri, request.experiment, request.filter, request.run_id)
    )
    candidate = find_candidate(
        uri,
        request.experiment,
        shards,
        settings,
        model_name=request.name,
        alias=request.alias,
        run_id=request.run_id,
        filter=request.filter,
        frames=request.frames,
        num_samples=request.samples,
        say=lambda message: screen.print(message, highlight=False),
    )
    checks = gate(candidate.evidence, settings)
    print_checks(screen, checks)
    done = promote(
        uri,
        request.name,
        run_id=candidate.run_id,
        model_folder=candidate.folder,
        checks=checks,
        alias=request.alias,
        reason=request.reason,
        force=request.force,
        tags={"reactdist.data_fingerprint": shards.fingerprint, "reactdist.run": candidate.name},
        git=git_state(Path(__file__).parent),
    )
    if done.record is None:
        screen.print(f"{request.name}@{request.alias} already is version {done.version}")
        return
    before = f", version {done.previous} is `previous` now" if done.previous else ""
    screen.print(
        f"promoted {candidate.name}: models:/{request.name}@{request.alias} is version "
        f"{done.version}{before}",
        highlight=False,
    )


def print_checks(screen: Console, checks: Sequence[Check]) -> None:
    """One line a check."""
    for check in checks:
        mark = "[green]pass[/]" if check.passed else "[red]FAIL[/]"
        screen.print(f"{mark} {check.name}: {check.detail}", highlight=False)


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
