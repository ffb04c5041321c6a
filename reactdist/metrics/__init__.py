"""The metrics of REACT 2024, exact and fast; README.md explains each and how to add one."""

from reactdist.metrics.acc import RealClips
from reactdist.metrics.frdvs import AcrossItems
from reactdist.metrics.suite import (
    METRICS,
    centre_truth,
    reduce_items,
    score,
    score_items,
    summarise,
)

__all__ = [
    "METRICS",
    "AcrossItems",
    "RealClips",
    "centre_truth",
    "reduce_items",
    "score",
    "score_items",
    "summarise",
]
