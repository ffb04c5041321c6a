"""What settings of a run must fit each other."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from reactdist.train.settings import TrainSettings


def test_every_size_of_an_elastic_group_divides_the_batch() -> None:
    sizes = {"batch_size": 12, "accumulation": 2}
    TrainSettings(**sizes, workers={"count": 3, "min_count": 1})
    with pytest.raises(ValidationError, match="cannot be split over 4 workers x 2 micro-batches"):
        TrainSettings(**sizes, workers={"count": 6, "min_count": 3})
    TrainSettings(**sizes, workers={"count": 6})
    with pytest.raises(ValidationError, match="min_count is larger"):
        TrainSettings(**sizes, workers={"count": 1, "min_count": 2})
