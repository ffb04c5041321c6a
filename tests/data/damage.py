"""Real damage to built shards."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from reactdist.data.shards import Shards


def flip_byte(file: Path, row: int, column: str) -> None:
    """Change one bit in the middle of a cell of a Parquet file, whose length stays."""
    metadata = pq.ParquetFile(file).metadata
    chunk = metadata.row_group(row).column(metadata.schema.names.index(column))
    data = bytearray(file.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 4
    file.write_bytes(data)


def damage_listener(root: Path, split: str, item: int) -> str:
    """Damage the coefficients of an item's listener in the set at `root`; its clip's key.

    Only this item of the split learns from them: in the other direction the clip speaks.
    """
    shards = Shards.open(root)
    key = shards.items(split)[item].listener
    for shard in shards.manifest.splits[split].shards:
        for row, (name, _) in enumerate(shard.clips):
            if name == key:
                flip_byte(root / shard.file, row, "coefficients")
                return key
    raise AssertionError(f"no clip {key}")
