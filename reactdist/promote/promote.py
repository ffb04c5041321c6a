"""Put a checked model forward, and take it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactdist.checkpoints.export import load_config
from reactdist.checkpoints.folder import checkpoint_of
from reactdist.checkpoints.keep import protect
from reactdist.errors import GateNotMet, InputError
from reactdist.promote.gate import Check
from reactdist.promote.record import (
    PromotionRecord,
    append,
    new_record,
    rollback_tags,
    tags_of,
)
from reactdist.tracking.facts import resolve_run
from reactdist.tracking.garbage import CHECKPOINT_TAG
from reactdist.tracking.provenance import GitState
from reactdist.tracking.registry import (
    Version,
    download_model,
    early_tests,
    find_version,
    register_version,
    resolve_version,
    set_alias,
    set_version_tags,
    version_by_alias,
    withdraw_version,
)

CHAMPION = "champion"
PREVIOUS = "previous"


@dataclass(frozen=True)
class Promotion:
    """What an alias means now."""

    version: str
    previous: str
    """Version that it meant before, "" when it was not set."""
    record: PromotionRecord | None
    """None when the alias already meant this version."""


def promote(
    uri: str,
    name: str,
    *,
    run_id: str,
    model_folder: Path,
    checks: Sequence[Check],
    alias: str = CHAMPION,
    reason: str = "",
    force: bool = False,
    tags: Mapping[str, Any] | None = None,
    git: GitState | None = None,
) -> Promotion:
    """Register the exported model of a run and let `alias` mean it; the former is `previous`.

    Asking again after a crash half-way finishes the work; nothing is registered twice. When the
    record cannot be written, a version made for it is taken back.

    Args:
        checks: result of `gate`; all must have passed unless `force`, which needs a reason.
        tags: further tags of the version (data fingerprint, numbers).

    Raises:
        GateNotMet: a check failed; nothing was changed.
        InputError: forced without a reason; files or run missing.
        StorageError: artifact store or registry failed; nothing is registered.
    """
    failed = [check for check in checks if not check.passed]
    check_reason(force, reason)
    if failed and not force:
        first = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise GateNotMet(
            f"not promoted, {first.name} failed: {first.detail}{more}",
            where=f"run {run_id}",
            fix="promote a better run, or --force --reason TEXT",
        )
    former = version_by_alias(uri, name, alias)
    before = former.version if former else ""
    there = find_version(uri, name, run_id, model_folder)
    if there is not None and there.version == before:
        return Promotion(before, before, None)
    looked = early_tests(uri, model_folder)
    # Before the registry is touched: from here on no clean-up takes the checkpoint away.
    _protect_checkpoint(uri, run_id, model_folder, name)
    number = register_version(
        uri, name, run_id, model_folder, tags=tags, description=_description(reason, checks)
    )
    record = new_record(
        "promote",
        name=name,
        alias=alias,
        from_version=before,
        to_version=number,
        run_id=run_id,
        forced=force and bool(failed),
        reason=reason,
        checks=checks,
        git=git,
        early_tests=looked,
    )
    try:
        set_version_tags(uri, name, number, tags_of(record))
        append(uri, record)
    except BaseException:  # Ctrl-C too
        if there is None:
            # Whatever broke may break this too; then the same command finds the version again.
            with suppress(Exception):
                withdraw_version(uri, name, number)
        raise
    _move(uri, record, former)
    return Promotion(number, before, record)


def check_reason(force: bool, reason: str) -> None:
    """Refuse to force a promotion that nobody could understand later (InputError)."""
    if force and not reason.strip():
        raise InputError("--force needs a reason", where="promotion", fix="add --reason TEXT")


def rollback(
    uri: str, name: str, *, reason: str = "", alias: str = CHAMPION, git: GitState | None = None
) -> Promotion:
    """Let `alias` mean what it meant before; doing it twice ends where it began.

    Raises:
        InputError: no such model, nothing to go back to, or its files are gone.
    """
    present = resolve_version(uri, f"models:/{name}@{alias}")
    before = version_by_alias(uri, name, _previous_of(alias))
    if before is None:
        raise InputError(
            f"there is no {_previous_of(alias)} version to go back to",
            where=f"models:/{name}",
            fix="promote another run",
        )
    download_model(uri, before.uri)
    record = new_record(
        "rollback",
        name=name,
        alias=alias,
        from_version=present.version,
        to_version=before.version,
        run_id=before.run_id,
        reason=reason,
        git=git,
    )
    append(uri, record)
    set_version_tags(uri, name, present.version, rollback_tags(record))
    _move(uri, record, present)
    return Promotion(before.version, present.version, record)


def _protect_checkpoint(uri: str, run_id: str, model_folder: Path, name: str) -> None:
    """Mark the checkpoint that the exported model is of, where this machine sees it."""
    folder = resolve_run(uri, run_id).data.tags.get(CHECKPOINT_TAG)
    step = load_config(model_folder).get("step")
    if folder is None or step is None:
        return  # published weights have neither
    checkpoint = checkpoint_of(Path(folder), int(step))
    if checkpoint.is_dir():
        protect(checkpoint, f"promoted as {name} from run {run_id}")


def _move(uri: str, record: PromotionRecord, former: Version | None) -> None:
    # Called when the record is written: an alias that moved without one could not be explained,
    # a record whose move failed is followed by the next attempt's.
    if former is not None:
        set_alias(uri, record.name, _previous_of(record.alias), former.version)
    set_alias(uri, record.name, record.alias, record.to_version)


def _previous_of(alias: str) -> str:
    return PREVIOUS if alias == CHAMPION else f"{PREVIOUS}-{alias}"


def _description(reason: str, checks: Sequence[Check]) -> str:
    lines = [reason, ""] if reason else []
    # The page shows it as Markdown, where an interval in brackets would be a link.
    lines += [f"- {'pass' if c.passed else 'FAIL'}: {c.name}: `{c.detail}`" for c in checks]
    return "\n".join(lines)
