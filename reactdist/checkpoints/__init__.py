"""What a checkpoint and an exported model are, and how they are written, found and verified."""

from reactdist.checkpoints.export import export_model, load_exported
from reactdist.checkpoints.folder import (
    Checkpoint,
    find_checkpoints,
    latest_valid,
    verify,
    write_checkpoint,
)
from reactdist.checkpoints.keep import to_remove

__all__ = [
    "Checkpoint",
    "export_model",
    "find_checkpoints",
    "latest_valid",
    "load_exported",
    "to_remove",
    "verify",
    "write_checkpoint",
]
