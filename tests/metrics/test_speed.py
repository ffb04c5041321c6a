"""The speed that the page claims, measured by the command that a user runs."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_suite_is_as_fast_as_the_page_says() -> None:
    code = "from reactdist.evaluate.bench import app; app(['metrics', '--json'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)

    def ratio(name: str, ours: str = "fast") -> float:
        return rows[name]["plain"] / rows[name][ours]

    assert ratio("FRCorr") > 100
    assert ratio("FRSyn") > 100
    assert ratio("FRDist", "unpruned") > 6
    assert ratio("FRDist") > ratio("FRDist", "unpruned")
    assert ratio("whole suite", "unpruned") > 12
    assert ratio("whole suite") > 20
