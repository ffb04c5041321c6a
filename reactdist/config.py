"""Typed settings: frozen, documented, an unknown key is an error that suggests the nearest name.

A YAML file holds only differences from the defaults; `--set a.b=c` overrides single keys.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from reactdist.errors import InputError


class Settings(BaseModel):
    """Base of every settings class: immutable, no unknown keys, defaults are validated too."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )


S = TypeVar("S", bound=Settings)


def load(cls: type[S], path: str | Path, overrides: Sequence[str] = ()) -> S:
    """Settings of class `cls` from a YAML file of differences and `key.path=value` overrides.

    Raises:
        InputError: file missing or not YAML, a key unknown, a value impossible; names the key.
    """
    path = Path(path)
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(
            f"cannot read the config ({error.strerror})",
            where=path,
            fix="give the path of a YAML file, configs/ has some",
        ) from None
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise InputError(f"not valid YAML: {problem}", where=path, fix="mend the file") from None
    if not isinstance(values, dict):
        raise InputError("holds no mapping of settings", where=path, fix="write key: value lines")
    return parse(cls, apply_overrides(values, overrides), where=path)


def parse(cls: type[S], values: Mapping[str, Any], where: object = "") -> S:
    """Settings of class `cls` from nested plain values; errors name the first offending key."""
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        raise _one_line(cls, error, where) from None
    except InputError as error:  # from a part that checks itself (a model's settings)
        raise InputError(error.what, where=error.where or where, fix=error.fix) from None


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`values` with each `a.b=c` applied; the right side is read as YAML."""
    result = _copy(values)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise InputError(
                f"--set {override!r} is not key=value", fix="write --set train.lr=1e-4"
            )
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"--set {override!r}: the value is not YAML", fix="quote it") from None
        set_key(result, key.strip(), number_or_same(value))
    return result


def set_key(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `a.b.c` in nested dicts in place, creating the dicts on the way."""
    *parents, last = dotted.split(".")
    for parent in parents:
        child = values.setdefault(parent, {})
        if not isinstance(child, dict):
            raise InputError(f"{dotted}: {parent} is a value, not a section", fix="shorten the key")
        values = child
    values[last] = value


def number_or_same(value: Any) -> Any:
    """YAML 1.1 reads `1e-4` as text; a reader of the config means a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `{"a.b": value}`, in order."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def resolved(settings: Settings) -> dict[str, Any]:
    """Every key with its value, defaults included, as plain YAML-able values."""
    return settings.model_dump(mode="json")


def to_yaml(settings: Settings) -> str:
    """The resolved settings as a YAML document."""
    return yaml.safe_dump(resolved(settings), sort_keys=False)


def nearest(name: str, names: Sequence[str]) -> str:
    """`did you mean X?` or the names there are."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(sorted(names))


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in values.items()}


def _one_line(cls: type[Settings], error: ValidationError, where: object) -> InputError:
    first = error.errors(include_url=False)[0]
    location = [part for part in first["loc"] if isinstance(part, str)]
    dotted = ".".join(location)
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        names = _names_at(cls, location[:-1])
        return InputError(
            f"unknown key {dotted!r}",
            where=where,
            fix=nearest(location[-1], names) if names else "remove it",
        )
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (given {given!r})" if isinstance(given, str | int | float | bool) else ""
    return InputError(f"{dotted or 'settings'}: {message}{shown}", where=where, fix="correct it")


def _names_at(cls: type[Settings], path: Sequence[str]) -> list[str]:
    """Field names of the settings class found by walking `path` from `cls`."""
    current: Any = cls
    for part in path:
        fields = getattr(current, "model_fields", {})
        if part not in fields:
            return []
        annotation = fields[part].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        current = next((o for o in options if hasattr(o, "model_fields")), None)
    return list(getattr(current, "model_fields", {}))
