"""How the kernels of this package are compiled: once, cached on disk, GIL released.

The cache lives beside the source, or in the user's cache folder when the source is read-only, or
where NUMBA_CACHE_DIR says. Numba writes it under temporary names and renames, so processes that
compile at the same moment at worst compile twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

# No `reassoc`, no `ninf`: sums keep their order (same numbers everywhere, vector or not) and
# infinity marks cells outside a DTW table.
FAST_MATH = frozenset({"contract", "nsz", "nnan"})


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` compiled without the GIL; cached when any folder can be written."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": set(FAST_MATH)}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available": neither the source nor HOME is writable
        return numba.njit(**options)(function)
