"""The hash of what a clip was made from."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> tuple[str, int]:
    """sha256 and bytes of a file, or of a folder's files in order of name, end to end."""
    hasher, size = hashlib.sha256(), 0
    for file in [path] if path.is_file() else sorted(path.iterdir()):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                hasher.update(block)
                size += len(block)
    return hasher.hexdigest(), size
