"""The process pool: one item cannot take the others down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reactdist.data.pool import run_all


def square_or_die(number: int) -> int:
    if number == 3:
        os.abort()
    return number * number


def square_or_raise(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number * number


def test_an_item_that_kills_its_process_is_the_only_one_lost() -> None:
    results = run_all(
        square_or_die, range(12), workers=2, what="squares", crashed=lambda number: -number
    )
    assert sorted(results) == sorted([-3, *(n * n for n in range(12) if n != 3)])


def test_errors_pass_through() -> None:
    with pytest.raises(ValueError, match="three"):
        list(run_all(square_or_raise, range(12), workers=2, what="squares", crashed=abs))


SCRIPT = """
import operator
from reactdist.data.pool import run_all
from reactdist.errors import InputError
try:
    print(list(run_all(operator.neg, [1, 2], workers=2, what="x", crashed=operator.neg)))
except InputError as error:
    print(error.line())
    raise SystemExit(error.exit_code)
"""


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert "__main__" in done.stdout
