"""The append-only record of promotions: who, when, from, to, numbers, reason, code.

Each entry is a JSON artifact of its own, never written again, in one MLflow run a model name
(experiment `promotions`), and is repeated in short as tags on the model version.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from reactdist.promote.gate import Check
from reactdist.tracking.artifacts import add_artifact, read_artifacts
from reactdist.tracking.provenance import GitState, git_state

EXPERIMENT = "promotions"
Action = Literal["promote", "rollback"]


@dataclass(frozen=True)
class PromotionRecord:
    """One change of an alias."""

    who: str
    when: str
    """UTC, ISO 8601."""
    action: Action
    name: str
    """Registered model."""
    alias: str
    from_version: str
    """"" when the alias was not set."""
    to_version: str
    run_id: str
    """Run of the version that the alias means now."""
    forced: bool
    reason: str
    checks: Sequence[dict[str, Any]]
    """Each check of the gate: name, passed, detail, numbers."""
    git_commit: str
    git_dirty: bool
    early_tests: Sequence[str] = ()
    """Runs that evaluated these weights on the test split before this promotion."""


def new_record(
    action: Action,
    *,
    name: str,
    alias: str,
    from_version: str,
    to_version: str,
    run_id: str,
    forced: bool = False,
    reason: str = "",
    checks: Sequence[Check] = (),
    git: GitState | None = None,
    early_tests: Sequence[str] = (),
) -> PromotionRecord:
    """A record of now, by the user of this process, with the code of the working folder."""
    state = git if git is not None else git_state(Path.cwd())
    return PromotionRecord(
        who=_user(),
        when=datetime.now(UTC).isoformat(timespec="milliseconds"),
        action=action,
        name=name,
        alias=alias,
        from_version=from_version,
        to_version=to_version,
        run_id=run_id,
        forced=forced,
        reason=reason,
        checks=[asdict(check) for check in checks],
        git_commit=state["commit"],
        git_dirty=state["dirty"],
        early_tests=list(early_tests),
    )


def append(uri: str, record: PromotionRecord) -> None:
    """Add a record to the log of its model name."""
    stamp = record.when.replace(":", "").replace("-", "").replace("+0000", "Z")
    name = f"{stamp}-{record.action}-{record.alias}-v{record.to_version}.json"
    text = json.dumps(asdict(record), indent=2)
    add_artifact(uri, EXPERIMENT, f"promotions of {record.name}", f"records/{name}", text)


def history(uri: str, name: str) -> list[PromotionRecord]:
    """All records of a model name, oldest first."""
    texts = read_artifacts(uri, EXPERIMENT, f"promotions of {name}", "records")
    records = [PromotionRecord(**json.loads(text)) for text in texts]
    return sorted(records, key=lambda record: record.when)


def tags_of(record: PromotionRecord) -> dict[str, str]:
    """The record in short, for the model version's page."""
    passed = sum(check["passed"] for check in record.checks)
    return {
        "reactdist.promoted_by": record.who,
        "reactdist.promoted_at": record.when,
        "reactdist.promoted_from": record.from_version or "none",
        "reactdist.promotion_checks": f"{passed} of {len(record.checks)} passed",
        "reactdist.promotion_forced": str(record.forced).lower(),
        "reactdist.promotion_reason": record.reason,
        "reactdist.promotion_early_tests": str(len(record.early_tests)),
        "reactdist.git_commit": record.git_commit + ("+changes" if record.git_dirty else ""),
    }


def rollback_tags(record: PromotionRecord) -> dict[str, str]:
    """A rollback in short, for the page of the version that it left."""
    return {
        "reactdist.rolled_back_by": record.who,
        "reactdist.rolled_back_at": record.when,
        "reactdist.rolled_back_to": record.to_version,
        "reactdist.rollback_reason": record.reason,
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run a user id that has no name.
        return "unknown"
