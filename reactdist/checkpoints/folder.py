"""A checkpoint is a folder whose manifest, written last, lists every file with its sha256.

Layout of `step-00000120/`:
    model.safetensors       float32 weights by parameter name, consolidated over all ranks
    optimizer.safetensors   `<slot>/<parameter name>` float32 (exp_avg, exp_avg_sq) and scalars
    ema.safetensors         averaged weights, when the run keeps them
    state.json              step, items consumed, world size, metrics, what else the loop needs
    config.yaml             the resolved settings of the run
    manifest.json           {"files": {name: sha256}, ...}

A folder is made under another name and renamed when whole; a name without a valid manifest is
never picked. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from reactdist.checkpoints.keep import keep_mark
from reactdist.checkpoints.storage import storage_errors
from reactdist.errors import DataError

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
_PREFIX = "step-"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk: its folder and the optimizer step it was taken after."""

    path: Path
    step: int

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Tensors of `model`, `optimizer` or `ema`; empty when the file is not part of it."""
        file = self.path / f"{name}.safetensors"
        return load_file(str(file)) if file.exists() else {}

    @property
    def state(self) -> dict[str, Any]:
        """The contents of state.json."""
        loaded: dict[str, Any] = json.loads((self.path / "state.json").read_text())
        return loaded


def write_checkpoint(
    root: Path,
    step: int,
    *,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    config_yaml: str,
) -> Checkpoint:
    """Write `root/step-XXXXXXXX` so that it exists whole or not at all.

    Args:
        tensors: file name without suffix -> parameter name -> CPU tensor.
        state: plain values for state.json.

    Raises:
        StorageError: the storage is full, read-only or gone; nothing half-written stays.
    """
    final = checkpoint_of(root, step)
    partial = root / f".{final.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        with storage_errors("checkpoint", final):
            partial.mkdir(parents=True)
            for name, values in tensors.items():
                contiguous = {k: v.detach().contiguous() for k, v in values.items()}
                save_file(contiguous, str(partial / f"{name}.safetensors"))
            (partial / "state.json").write_text(json.dumps({"step": step, **state}, indent=1))
            (partial / "config.yaml").write_text(config_yaml)
            files = {p.name: _sha256(p) for p in sorted(partial.iterdir())}
            manifest = {"format": FORMAT_VERSION, "step": step, "files": files}
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
            _sync_folder(partial)
            if final.exists():  # the same step, written by an earlier attempt
                keep_mark(final, partial)
                shutil.rmtree(final)
            partial.rename(final)
            _sync_folder(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Checkpoint(final, step)


def checkpoint_of(root: Path, step: int) -> Path:
    """Where the checkpoint of an optimizer step lies, or would."""
    return root / f"{_PREFIX}{step:08d}"


def find_checkpoints(root: Path) -> list[Checkpoint]:
    """Folders that look like checkpoints under `root`, oldest first; not yet verified."""
    found = []
    for path in root.glob(f"{_PREFIX}*") if root.is_dir() else ():
        digits = path.name.removeprefix(_PREFIX)
        if digits.isdigit() and (path / MANIFEST).exists():
            found.append(Checkpoint(path, int(digits)))
    return sorted(found, key=lambda c: c.step)


def verify(path: Path) -> None:
    """Check every file of a checkpoint or exported model against its manifest.

    Raises:
        DataError: naming the first file that is missing or whose bytes changed.
    """
    try:
        files = json.loads((path / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError("manifest missing or unreadable", where=path / MANIFEST) from None
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            raise DataError("file of the checkpoint is missing", where=file)
        if _sha256(file) != expected:
            raise DataError("bytes differ from the manifest (truncated or damaged)", where=file)


def latest_valid(
    root: Path, warn: Callable[[str], None] = lambda message: None
) -> Checkpoint | None:
    """The newest checkpoint that verifies; each damaged one passed over is named to `warn`."""
    for checkpoint in reversed(find_checkpoints(root)):
        try:
            verify(checkpoint.path)
        except DataError as error:
            warn(f"{error.line()}; the checkpoint before is used")
            continue
        return checkpoint
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make names and contents durable before the rename that declares them whole."""
    for path in [*folder.glob("*.*"), folder]:
        if path.is_dir() and path != folder:
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
