"""Names of aihwkit that are out of scope: they can be imported, and say so when they are made or called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..exceptions import ConfigError


class NotSimulated:
    """The base of every class that aidgejax has no counterpart of.  ConfigError when one is made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ConfigError(
            f"{type(self).__module__}.{type(self).__name__} is not there: in-memory training on pulsed devices, IR "
            f"drop over time, the original's own quantization and its C++ tiles are not simulated; take "
            f"InferenceRPUConfig or TorchInferenceRPUConfig for hardware-aware training"
        )


def lookup(module: str, names: str) -> Callable[[str], type]:
    """A module's __getattr__ for these names, separated by blanks: a class for each, made once."""
    wanted = set(names.split())
    made: dict[str, type] = {}

    def found(name: str) -> type:
        if name not in wanted:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        if name not in made:
            made[name] = type(name, (NotSimulated,), {"__module__": module, "__doc__": NotSimulated.__doc__})
        return made[name]

    return found
