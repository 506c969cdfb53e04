"""A config as plain values, for checkpoints: dictionaries, lists, numbers and strings, and back."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import Any

from . import config, config_enums, config_io, config_pre_post, config_weights, presets
from .compensation import BaseDriftCompensation
from .metadata import KINDS, plain_model, read_model
from .noise_model import BaseNoiseModel

CONFIGS = {
    name: kind
    for module in (config, config_io, config_pre_post, config_weights, presets)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__")
}
MODELS = BaseNoiseModel | BaseDriftCompensation


class _Foreign(Exception):
    """A class that a script has derived: it cannot be found again by its name."""


def config_text(found: Any) -> dict[str, Any] | None:
    """The config as plain values; None where one of its classes is not aidgejax's own."""
    try:
        return _plain(found)
    except _Foreign:
        return None


def config_of(text: dict[str, Any]) -> Any:
    """The config of what `config_text` gave.  KeyError, TypeError or ValueError for anything else."""
    return _read(text)


def config_like(found: Any) -> Any:
    """The config of aidgejax with the numbers of `found`, an object whose classes and fields have the same names.

    Such as aihwkit's own checkpoints hold.  TypeError for a class that is not here; fields that are not are left out.
    """
    return _translated(found)


def _translated(value: Any) -> Any:
    kind = type(value)
    if isinstance(value, Enum):
        return getattr(config_enums, kind.__name__)[value.name]
    if isinstance(value, list | tuple):
        return kind(_translated(v) for v in value)
    if isinstance(value, dict):
        return {k: _translated(v) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    made: Any
    if kind.__name__ in CONFIGS:
        made = CONFIGS[kind.__name__]()
        known = {f.name for f in fields(made)}
    elif kind.__name__ in KINDS:
        made = object.__new__(KINDS[kind.__name__])
        known = set(vars(value)) - {"scale_ratio"}  # None in any case
    else:
        raise TypeError(f"a {kind.__name__} is not known here")
    for name, v in vars(value).items():
        if name in known and not isinstance(v, type):
            setattr(made, name, _translated(v))
    return made


def _plain(value: Any) -> Any:
    kind = type(value)
    if isinstance(value, Enum):
        return {"enum": [kind.__name__, value.name]}
    if CONFIGS.get(kind.__name__) is kind:
        held = {f.name: getattr(value, f.name) for f in fields(value)}
        return {
            "config": kind.__name__,
            "fields": {k: _plain(v) for k, v in held.items() if not isinstance(v, type)},
        }
    if isinstance(value, MODELS):
        if KINDS.get(kind.__name__) is not kind:
            raise _Foreign
        return {"model": plain_model(value)}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "item"):
        return value.item()
    raise _Foreign


def _read(text: Any) -> Any:
    if isinstance(text, list):
        return [_read(v) for v in text]
    if not isinstance(text, dict):
        return text
    if "enum" in text:
        kind, name = text["enum"]
        return getattr(config_enums, kind)[name]
    if "model" in text:
        return read_model(text["model"])
    return CONFIGS[text["config"]](**{k: _read(v) for k, v in text["fields"].items()})
