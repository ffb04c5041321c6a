"""A DeepSpeed JSON that a user brings: read, checked key by key, merged with our own.

What the typed settings decide must agree with them; what would bypass them is refused with the
setting to use; the rest is DeepSpeed's. Pure values: DeepSpeed takes seconds to import, and this
is checked in the driver.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reactdist.config import nearest

# DeepSpeed 0.19.8. A test holds the sections against DeepSpeed's own field names.
PASSED = (
    "zero_optimization", "fp16", "bf16", "communication_data_type", "prescale_gradients",
    "gradient_predivide_factor", "data_types", "comms_logger", "flops_profiler",
    "wall_clock_breakdown", "memory_breakdown", "dump_state", "disable_allgather",
)  # fmt: skip
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "zero_optimization": (
        "stage", "contiguous_gradients", "reduce_scatter", "reduce_bucket_size",
        "use_multi_rank_bucket_allreduce", "allgather_partitions", "allgather_bucket_size",
        "overlap_comm", "sub_group_size", "stage3_prefetch_bucket_size",
        "stage3_param_persistence_threshold", "stage3_model_persistence_threshold",
        "stage3_max_live_parameters", "stage3_max_reuse_distance",
        "stage3_module_granularity_threshold", "stage3_use_all_reduce_for_fetch_params",
        "stage3_allgather_sequential", "round_robin_gradients", "ignore_unused_parameters",
        "memory_efficient_linear", "log_trace_cache_warnings", "enable_sanity_checks",
    ),
    "fp16": ("enabled",),
    "bf16": ("enabled",),
}  # fmt: skip
REFUSED = {
    "optimizer": "set optimizer.lr and optimizer.weight_decay",
    "scheduler": "set optimizer.schedule and optimizer.warmup_steps",
    "activation_checkpointing": "set model.checkpoint_video",
    "torch_autocast": "set engine.precision",
    "amp": "set engine.precision",
    "zero_optimization.offload_optimizer": "checkpoints are not tested with it",
    "zero_optimization.offload_param": "checkpoints are not tested with it",
}
AUTO = "auto"
"""Hugging Face's word for `as the program decides`: agrees with everything."""


def read_json(value: Any) -> dict[str, Any]:
    """The content of a DeepSpeed JSON, given as its path or as what it holds.

    Raises:
        ValueError: no such file, or it holds no JSON object.
    """
    if isinstance(value, Mapping):
        return dict(value)
    try:
        loaded = json.loads(Path(value).read_text())
    except OSError as error:
        raise ValueError(f"cannot read {value} ({error.strerror})") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{value} is not valid JSON ({error})") from None
    if not isinstance(loaded, dict):
        raise ValueError(f"{value} holds no JSON object")
    return loaded


def check_json(given: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Nothing if `given` can be merged with what the typed settings say.

    Args:
        given: content of the user's JSON.
        own: "key" or "section.key" -> value that the typed settings decide.

    Raises:
        ValueError: a key that is refused, unknown (names the nearest) or disagrees.
    """
    top = [key.split(".")[0] for key in own]
    for key, value in given.items():
        _check_key(key, [*PASSED, *top], key)
        names = SECTIONS.get(key)
        if names is not None and not isinstance(value, Mapping):
            raise ValueError(f"{key} must be a section, not {value!r}")
        for name in value if names is not None else ():
            _check_key(name, names or (), f"{key}.{name}")
    for key, expected in own.items():
        section, _, name = key.rpartition(".")
        found = (given.get(section, {}) if section else given).get(name, AUTO)
        if found not in (AUTO, expected):
            raise ValueError(f"{key} is {found!r}, the other settings make it {expected!r}")


def merged(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Our configuration with the user's additions; both say the same where they overlap."""
    result = dict(own)
    for key, value in given.items():
        if isinstance(value, Mapping) and (isinstance(result.get(key), dict) or key not in result):
            result[key] = merged(result.get(key, {}), value)
        else:
            result.setdefault(key, value)
    return {key: value for key, value in result.items() if value != AUTO}


def _check_key(name: str, known: Sequence[str], shown: str) -> None:
    if shown in REFUSED:
        raise ValueError(f"{shown} may not be given; {REFUSED[shown]}")
    if name not in known:
        raise ValueError(f"{shown} is not a key that may be given; {nearest(name, known)}")
