"""Which models there are, and how a name and plain values become one.

Adding a model is one file and one line in `MODELS` (README.md of this folder).
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch import nn

from reactdist.errors import InputError
from reactdist.models.gru import CausalGRU, GRUConfig
from reactdist.models.transvae import TransVAE
from reactdist.models.transvae_config import TransVAEConfig


class ModelEntry(NamedTuple):
    """A frozen dataclass of settings and the module built from it."""

    config: type[Any]
    model: type[nn.Module]


MODELS: dict[str, ModelEntry] = {
    "transvae": ModelEntry(TransVAEConfig, TransVAE),
    "gru": ModelEntry(GRUConfig, CausalGRU),
}


def model_config(name: str, values: Mapping[str, Any]) -> Any:
    """Settings of model `name` from plain values; fields not given keep their defaults.

    Raises:
        InputError: an unknown model or key (suggests the nearest), or an impossible value.
    """
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}", fix=_nearest(name, MODELS))
    config = MODELS[name].config
    fields = [field.name for field in dataclasses.fields(config)]
    for key in values:
        if key not in fields:
            raise InputError(f"unknown key {key!r} of model {name}", fix=_nearest(key, fields))
    return config(**values)


def build_model(name: str, values: Mapping[str, Any]) -> nn.Module:
    """Model `name` with fresh weights from torch's default generator.

    Raises:
        InputError: as `model_config`.
    """
    config = model_config(name, values)
    return MODELS[name].model(config)


def config_values(config: Any) -> dict[str, Any]:
    """Every field as a plain value: `model_config(name, config_values(c)) == c`."""
    return dataclasses.asdict(config)


def _nearest(name: str, names: Iterable[str]) -> str:
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(names)
