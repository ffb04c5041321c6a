"""All metrics of the challenge over a set of items: one table, and its means.

Items are independent once what spans them (`Metric.prepare`) is known, so they run on threads
(kernels and numpy release the GIL); a thread holds one item at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from reactdist.errors import InputError
from reactdist.metrics.acc import RealClips, acc, real_clips
from reactdist.metrics.frcorr import frcorr
from reactdist.metrics.frdist import frdist
from reactdist.metrics.frdiv import frdiv
from reactdist.metrics.frdvs import AcrossItems, across_items, frdvs
from reactdist.metrics.frsyn import frsyn
from reactdist.metrics.frvar import frvar
from reactdist.metrics.inputs import Inputs, as_clips, check_inputs, check_predictions
from reactdist.metrics.registry import Metric

if TYPE_CHECKING:
    import pandas as pd


def _frdist_on_device(inputs: Inputs, device: str) -> np.ndarray:
    from reactdist.metrics.frdist_device import frdist_on_device  # imports torch

    return frdist_on_device(inputs, device)


METRICS: tuple[Metric, ...] = (
    Metric("FRCorr", frcorr, higher_is_better=True, summed_over_samples=True),
    Metric(
        "FRDist",
        frdist,
        higher_is_better=False,
        on_device=_frdist_on_device,
        summed_over_samples=True,
    ),
    Metric("FRDiv", frdiv, higher_is_better=True, may_be_undefined=True),
    Metric("FRVar", frvar, higher_is_better=True),
    Metric("FRDvs", frdvs, higher_is_better=True, prepare=across_items, may_be_undefined=True),
    Metric("FRSyn", frsyn, higher_is_better=False, may_be_undefined=True),
    Metric("ACC", acc, higher_is_better=True, prepare=real_clips, may_be_undefined=True),
)
"""Every metric that needs attributes only; FRRea needs rendered frames (`frrea.py`)."""


def score(
    predictions: Any,
    listeners: Any,
    speakers: Any,
    neighbours: Any,
    metrics: Sequence[str] | None = None,
    *,
    binarize_au: bool = False,
    threads: int | None = None,
    device: str = "cpu",
    on_item: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Mean of every metric over the items; arguments and errors as `score_items`.

    Keys: the metrics' names; `FRCorr_mean`, `FRDist_mean` (a prediction, so that other K
    compare); `published_FRSyn`; `<metric>_undefined_items` for FRDiv, FRDvs, FRSyn, ACC.
    """
    table = score_items(
        predictions,
        listeners,
        speakers,
        neighbours,
        metrics,
        binarize_au=binarize_au,
        threads=threads,
        device=device,
        on_item=on_item,
    )
    return reduce_items(table, num_samples=int(as_clips(predictions).shape[1]))


def score_items(
    predictions: Any,
    listeners: Any,
    speakers: Any,
    neighbours: Any,
    metrics: Sequence[str] | None = None,
    *,
    rows: Sequence[int] | np.ndarray | None = None,
    across: AcrossItems | None = None,
    real: RealClips | None = None,
    binarize_au: bool = False,
    threads: int | None = None,
    device: str = "cpu",
    on_item: Callable[[], None] | None = None,
) -> pd.DataFrame:
    """A row an item: column `item` and a float64 column a metric, NaN where it is undefined.

    Args:
        predictions: (N, K, T, 25) attributes, float16/32/64, ndarray, memmap or `Clips` reader.
        listeners: (N, T, 25) real reactions.  speakers: (N, T, 25).
        neighbours: (N, N) bool; [i, j]: the listener of item j is appropriate for item i.
        metrics: names to compute, default all of `METRICS`.
        rows: (B,) for a block of a larger set: `predictions` is (B, K, T, 25), the items `rows`
            of the N; the others are whole. FRDvs then compares the items of the block, unless
        across: `summarise(...)` of every block, added up, is given.
        real: what ACC needs of the truth, `centre_truth(...)`, where many blocks share it.
        binarize_au: action units of the predictions become 0 or 1 at 0.5 first.
        threads: default OMP_NUM_THREADS, else the processors this process may use.
        device: where DTW runs: "cpu", or a torch device such as "cuda" (all pairs at once, within
            1e-4 of the CPU's result; the rest is a few milliseconds an item and stays here).
        on_item: called after every item (a progress bar).

    Raises:
        InputError: shapes that do not fit, NaN, an unknown metric, an item without neighbour.
    """
    import pandas as pd

    chosen = choose(metrics)
    inputs = check_inputs(
        predictions, listeners, speakers, neighbours, rows=rows, binarize_au=binarize_au
    )
    whole = _prepare(chosen, inputs, {"FRDvs": across, "ACC": real})
    there = {
        metric.name: metric.on_device(inputs, device)
        for metric in chosen
        if metric.on_device and device != "cpu"
    }

    def work(block_row: int) -> dict[str, float]:
        item = inputs.item(block_row)
        values: dict[str, float] = {"item": item.row}
        for metric in chosen:
            if metric.name in there:
                values[metric.name] = float(there[metric.name][block_row])
            else:
                values.update(metric.per_item(item, whole[metric.name]))
        if on_item is not None:
            on_item()
        return values

    return pd.DataFrame(_map(work, range(len(inputs)), threads or default_threads()))


def summarise(
    predictions: Any, *, frames: int | None = None, binarize_au: bool = False
) -> AcrossItems:
    """What FRDvs needs of a block of predictions (B,K,T,25); add the blocks up with `+`.

    frames: the first frames only, where the truth is a frame shorter than the predictions.
    """
    inputs = check_predictions(predictions, frames=frames, binarize_au=binarize_au)
    return across_items(inputs)


def centre_truth(listeners: Any, neighbours: Any, *, frames: int | None = None) -> RealClips:
    """What ACC needs of the truth: made once, where `score_items` is called block by block.

    listeners (N,T,25), neighbours (N,N); frames: the first frames only.
    """
    listeners = as_clips(listeners)
    nothing = np.broadcast_to(np.float32(0), (listeners.shape[0], 1, *listeners.shape[1:]))
    inputs = check_inputs(nothing, listeners, listeners, neighbours)
    return real_clips(
        replace(inputs, num_frames=min(inputs.num_frames, frames or inputs.num_frames))
    )


def reduce_items(table: pd.DataFrame, num_samples: int) -> dict[str, float]:
    """The means of a `score_items` table over the items where each metric is defined.

    Every float column is a metric; others (`item`, a session's name) are left out.
    """
    result: dict[str, float] = {}
    for name in table.select_dtypes("float").columns:
        values = table[name].to_numpy()
        defined = values[~np.isnan(values)]
        result[name] = float(defined.mean()) if len(defined) else float("nan")
        metric = _BY_NAME.get(name)
        if metric and metric.summed_over_samples:
            result[f"{name}_mean"] = result[name] / num_samples
        if metric and metric.may_be_undefined:
            result[f"{name}_undefined_items"] = float(len(values) - len(defined))
    return result


def choose(names: Sequence[str] | None) -> tuple[Metric, ...]:
    """The metrics of these names in the suite's order; all for None."""
    if names is None:
        return METRICS
    unknown = sorted(set(names) - set(_BY_NAME))
    if unknown:
        raise InputError(f"unknown metric {unknown[0]!r}", fix="known: " + ", ".join(_BY_NAME))
    return tuple(metric for metric in METRICS if metric.name in names)


def default_threads() -> int:
    """OMP_NUM_THREADS where set (Ray sets it to a task's CPUs), else the usable processors."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) else len(os.sched_getaffinity(0))


def _prepare(
    metrics: Iterable[Metric], inputs: Inputs, given: Mapping[str, AcrossItems | RealClips | None]
) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for metric in metrics:
        known = given.get(metric.name)
        if known is None:
            whole[metric.name] = metric.prepare(inputs) if metric.prepare else None
        elif known.num_frames != inputs.num_frames:
            raise InputError(
                f"what {metric.name} was given is of {known.num_frames} frames, "
                f"{inputs.num_frames} are scored",
                fix=f"make it with frames={inputs.num_frames}",
            )
        else:
            whole[metric.name] = known
    return whole


def _map(
    work: Callable[[int], dict[str, float]], items: Sequence[int], threads: int
) -> list[dict[str, float]]:
    if threads == 1 or len(items) == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        return list(pool.map(work, items))


_BY_NAME = {metric.name: metric for metric in METRICS}
