"""An exported model: `model.safetensors` + `config.yaml`, loadable with torch alone.

config.yaml: {model: {name, ...settings}, mean_face: [58 floats], shards: address, ...}: all that is
needed to run the model and to turn its coefficients back into the release's own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from reactdist.checkpoints.folder import MANIFEST
from reactdist.checkpoints.storage import storage_errors
from reactdist.errors import DataError, InputError
from reactdist.models.registry import build_model

WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"


def export_model(
    folder: Path, weights: Mapping[str, Tensor], model: Mapping[str, Any], **facts: Any
) -> Path:
    """Write an exported model, whole or not at all.

    Args:
        weights: parameter name -> CPU float32 tensor.
        model: {"name": registered model, **its settings}.
        facts: further plain values for config.yaml (mean_face, data fingerprint, run id, ...).

    Raises:
        StorageError: the storage is full, read-only or gone; nothing half-written stays.
    """
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with storage_errors("exported model", folder):
            partial.mkdir(parents=True)
            save_file(
                {k: v.detach().contiguous() for k, v in weights.items()}, str(partial / WEIGHTS)
            )
            document = {"model": dict(model), **facts}
            (partial / CONFIG).write_text(yaml.safe_dump(document, sort_keys=False))
            files = {
                name: hashlib.sha256((partial / name).read_bytes()).hexdigest()
                for name in (WEIGHTS, CONFIG)
            }
            (partial / MANIFEST).write_text(json.dumps({"files": files}, indent=1))
            if folder.exists():
                shutil.rmtree(folder)
            os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def load_config(folder: Path) -> dict[str, Any]:
    """config.yaml of an exported model."""
    try:
        document = yaml.safe_load((folder / CONFIG).read_text())
    except (OSError, yaml.YAMLError):
        raise InputError(
            f"no readable {CONFIG}", where=folder, fix="give a folder made by an export"
        ) from None
    if not isinstance(document, dict) or "name" not in (document.get("model") or {}):
        raise DataError("names no model", where=folder / CONFIG, fix="export the model again")
    return document


def trained_on(folder: Path) -> str:
    """Address of the shards that an exported model, or a checkpoint, was trained on.

    Raises:
        InputError: its settings name none.
    """
    config = load_config(folder)
    shards = config.get("shards") or (config.get("data") or {}).get("shards")
    if not shards:
        raise InputError(
            "does not say which shards it was trained on", where=folder, fix="give --shards"
        )
    return str(shards)


def load_exported(folder: str | Path, device: str | torch.device = "cpu") -> nn.Module:
    """The exported model in evaluation mode.

    Raises:
        InputError, DataError: folder, weights or settings missing, damaged or not matching.
    """
    folder = Path(folder)
    values = dict(load_config(folder)["model"])
    model = build_model(values.pop("name"), values)
    try:
        weights = load_file(str(folder / WEIGHTS), device=str(device))
    except (OSError, SafetensorError) as error:
        raise DataError(f"weights cannot be read ({error})", where=folder / WEIGHTS) from None
    try:
        model.to(device).load_state_dict(weights)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:300]
        raise DataError(f"weights do not fit the settings: {problem}", where=folder) from None
    return model.eval()
