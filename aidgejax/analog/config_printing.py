"""How a config prints itself: its parts, and of them the fields that differ from their defaults."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from enum import Enum
from typing import Any

from .config_fields import CheckedFields

ALWAYS = ("enable", "type")
PLAIN = (int, float, str, list, tuple, Enum, type, type(None))


def default_of(field: Field) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def dataclass_fields(config: Any) -> tuple[Field, ...]:
    return fields(config)


class PrintableMixin(CheckedFields):
    """str() shows parts and models, `enable` and `type`, and the fields that are not at their default."""

    def __str__(self) -> str:
        shown = []
        for f in dataclass_fields(self):
            value = getattr(self, f.name)
            if f.name in ALWAYS or not isinstance(value, PLAIN) or value != default_of(f):
                shown.append(f"{f.name}={_text(value)}")
        inside = ", ".join(shown)
        if len(inside) > 80 or "\n" in inside:
            inside = "\n" + ",\n".join("    " + line.replace("\n", "\n    ") for line in shown) + "\n"
        return f"{type(self).__name__}({inside})"

    __repr__ = __str__


def _text(value: Any) -> str:
    if isinstance(value, type):
        return value.__name__
    return str(value) if isinstance(value, Enum | PrintableMixin) else repr(value)
