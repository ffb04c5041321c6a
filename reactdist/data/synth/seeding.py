"""Random generators named by what they are for, so that no order of work changes a number."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """The generator of one purpose, e.g. `generator(seed, "person", 12)`.

    Equal arguments give equal streams in any process; different ones independent streams.
    """
    words = [zlib.crc32(n.encode()) if isinstance(n, str) else n for n in names]
    return np.random.default_rng([seed, *words])
