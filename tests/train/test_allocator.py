"""Freed memory stays in the process: counted in pages that the system had to hand out."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from reactdist.train.allocator import worker_environment

STEPS, MEGABYTES = 4, range(1, 31)
"""Steps that hold blocks of these sizes at the same time, as a forward pass holds activations."""
PAGES = STEPS * sum(MEGABYTES) * 2**20 // 4096
STEP = f"""
import resource, sys, threading
import torch
from reactdist.train.allocator import keep_freed_memory

def step():
    blocks = [torch.ones(size * 2**18) for size in {list(MEGABYTES)}]

def steps():
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({STEPS}):
        step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

if "keep" in sys.argv:
    keep_freed_memory()
thread = threading.Thread(target=steps)
if "thread" in sys.argv:
    thread.start()
    thread.join()
else:
    steps()
"""


def pages(*how: str, **environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", STEP, *how],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is glibc's")
def test_a_step_takes_its_memory_from_the_process() -> None:
    kept = pages("keep")
    assert kept < 0.05 * PAGES
    assert pages() > 3 * kept


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is glibc's")
def test_so_does_a_step_in_a_thread_of_a_worker() -> None:
    kept = pages("thread", **worker_environment())
    assert kept < 0.05 * PAGES
    assert pages("thread") > 3 * kept


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "3")
    assert worker_environment()["MALLOC_ARENA_MAX"] == "3"
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=3")
    assert worker_environment() == {}
