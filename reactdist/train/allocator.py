"""glibc's memory allocator, made to keep what a training step frees.

By default a block above 128 KB or so goes back to the system when it is freed and comes as fresh
pages, which have to be zeroed, a moment later; and what a thread other than the main one uses, as
in a Ray worker, lies in pieces of 64 MB that come and go whole. A step on a CPU frees and takes
the same sizes over and over.
"""

from __future__ import annotations

import ctypes
import os
import platform

_KEPT_BLOCK_BYTES = 32 * 1024**2
"""Larger blocks still go back; glibc allows no more."""
_KEPT_TOP_BYTES = 2**31 - 1
_GROWTH_BYTES = 64 * 1024**2

# Names for a process that is to start, mallopt's numbers for this one (malloc.h).
_SETTINGS = {
    "MALLOC_TRIM_THRESHOLD_": (-1, _KEPT_TOP_BYTES),
    "MALLOC_TOP_PAD_": (-2, _GROWTH_BYTES),
    "MALLOC_MMAP_THRESHOLD_": (-3, _KEPT_BLOCK_BYTES),
}
_ONE_ARENA = "MALLOC_ARENA_MAX"


def worker_environment() -> dict[str, str]:
    """For a process whose training is not in its main thread; what the user has set here stays."""
    if _chosen_by_user():
        return {}
    wanted = {name: str(value) for name, (_, value) in _SETTINGS.items()}
    return {
        name: os.environ.get(name, value) for name, value in {**wanted, _ONE_ARENA: "1"}.items()
    }


def keep_freed_memory() -> None:
    """For this process; nothing where the C library is not glibc."""
    if platform.libc_ver()[0] != "glibc" or _chosen_by_user():
        return
    mallopt = ctypes.CDLL(None).mallopt
    for name, (number, value) in _SETTINGS.items():
        if name not in os.environ:
            mallopt(number, value)


def _chosen_by_user() -> bool:
    return "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
