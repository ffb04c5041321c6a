"""What a metric is, to the suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from reactdist.metrics.inputs import Inputs, Item


@dataclass(frozen=True)
class Metric:
    """A metric as `suite.METRICS` lists it.

    name: key of the mean in `score`, column of the value in `score_items`.
    per_item: the item's columns by name; `name` is among them.
    prepare: what `per_item` needs to know of all items, made once a scoring from the inputs
        (None when an item stands alone); passed to `per_item` as its second argument.
    higher_is_better: which way is better.
    on_device: all values of the inputs (B,) on a torch device, where that is worth it.
    summed_over_samples: the published value is a sum over K, so `<name>_mean` is reported too.
    may_be_undefined: an item's value may be NaN; such items are counted in
        `<name>_undefined_items` and left out of the mean.
    """

    name: str
    per_item: Callable[[Item, Any], dict[str, float]]
    higher_is_better: bool
    prepare: Callable[[Inputs], Any] | None = None
    on_device: Callable[[Inputs, str], np.ndarray] | None = None
    summed_over_samples: bool = False
    may_be_undefined: bool = False
