"""A run read back from a real store, by id, by the beginning of its id, by name."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from reactdist.errors import InputError
from reactdist.tracking import open_run
from reactdist.tracking.facts import FINGERPRINT_TAG, read_run


def test_a_run_comes_back_as_it_was_logged(uri: str, tmp_path: Path) -> None:
    items = pd.DataFrame({"item": [0, 1], "session": ["a", "b"], "FRCorr": [0.1, float("nan")]})
    items.to_parquet(tmp_path / "items.parquet")
    run = open_run(uri, "e", "first", key="k", params={"w": 8}, tags={FINGERPRINT_TAG: "abc"})
    run.log_metrics({"loss": 2.0}, 0)
    run.log_metrics({"loss": 1.0, "system/cpu": 50.0}, 1)
    run.log_file(tmp_path / "items.parquet", "predictions")
    run.finish()
    bare = open_run(uri, "e", "second", key="l")
    bare.finish()

    for reference in (run.run_id, run.run_id[:8], "first"):
        facts = read_run(uri, reference)
        assert facts.run_id == run.run_id
        assert dict(facts.curves) == {"loss": [(0, 2.0), (1, 1.0)]}
        assert (facts.params, facts.fingerprint) == ({"w": "8"}, "abc")
        assert facts.items is not None
        pd.testing.assert_frame_equal(facts.items, items)
    assert read_run(uri, "second").items is None


def test_references_that_mean_nothing_or_too_much(uri: str) -> None:
    for key in "ab":
        open_run(uri, "e", "twin", key=key).finish()
    with pytest.raises(InputError, match="no run 'nobody'"):
        read_run(uri, "nobody")
    with pytest.raises(InputError, match="2 runs are called 'twin' - give an id"):
        read_run(uri, "twin")
