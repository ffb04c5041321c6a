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


def damage(root: Path, split: str, item: int, person: str, column: str) -> str:
    """Damage a column of an item's speaker or listener in the set at `root`; its clip's key."""
    shards = Shards.open(root)
    key: str = getattr(shards.items(split)[item], person)
    for shard in shards.manifest.splits[split].shards:
        for row, (name, _) in enumerate(shard.clips):
            if name == key:
                flip_byte(root / shard.file, row, column)
                return key
    raise AssertionError(f"no clip {key}")


def damage_audio(root: Path, split: str, item: int) -> str:
    """Damage the sound of an item's speaker, which no other item of the split hears."""
    return damage(root, split, item, "speaker", "audio")
