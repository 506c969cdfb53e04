"""Aidge's names for ways to round, to pad and to interpolate; operators take them, or their names as strings."""

from __future__ import annotations

import enum
from typing import Any


class RoundingMode(enum.Enum):
    """Of Round, and of averages of integers."""

    DOWN = 0
    UP = 1
    TOWARD_ZERO = 2
    AWAY_FROM_ZERO = 3
    HALF_DOWN = 4
    HALF_UP = 5
    HALF_TOWARD_ZERO = 6
    HALF_AWAY_FROM_ZERO = 7
    HALF_TO_EVEN = 8
    HALF_TO_ODD = 9


class PaddingMode(enum.Enum):
    """Of Pad and Resize."""

    CONSTANT = 0
    EDGE = 1
    REFLECT = 2
    WRAP = 3
    CONSTANT_LOWEST = 4


class CoordinateTransformation(enum.Enum):
    """Of Resize: which place of the input a place of the output stands for."""

    HALF_PIXEL = 0
    HALF_PIXEL_SYMMETRIC = 1
    PYTORCH_HALF_PIXEL = 2
    ALIGN_CORNERS = 3
    ASYMMETRIC = 4
    TF_HALF_PIXEL_FOR_NN = 5
    TF_CROP_AND_RESIZE = 6


class Mode(enum.Enum):
    """Of Resize: what is taken between two elements."""

    CUBIC = 0
    LINEAR = 1
    ROUND_PREFER_FLOOR = 2
    ROUND_PREFER_CEIL = 3
    FLOOR = 4
    CEIL = 5


class Interpolation:
    """The two, and their members, under one name, as in Aidge."""

    CoordinateTransformation = CoordinateTransformation
    Mode = Mode


class Direction(enum.Enum):
    """Of BitShift."""

    LEFT = 0
    RIGHT = 1


class Reduction(enum.Enum):
    """Of Scatter: what becomes of several updates of one element."""

    NONE = 0
    ADD = 1
    MUL = 2
    MAX = 3
    MIN = 4


class aspect_ratio(enum.Enum):  # noqa: N801  (Aidge's name)
    """Of Resize, where sizes are given for some axes."""

    STRETCH = 0
    NOT_LARGER = 1
    NOT_SMALLER = 2


for _member in (*CoordinateTransformation, *Mode):
    setattr(Interpolation, _member.name, _member)


# Attributes that are members of these; Pad's mode and Resize's padding mode are PaddingModes.
OF_ATTRIBUTE: dict[str, type[enum.Enum]] = {
    "rounding_mode": RoundingMode,
    "direction": Direction,
    "reduction": Reduction,
    "coord_transfo_mode": CoordinateTransformation,
    "interpolation_mode": Mode,
    "aspect_ratio": aspect_ratio,
    "Pad.mode": PaddingMode,
    "Resize.padding_mode": PaddingMode,
}
ENUMS: dict[str, type[enum.Enum]] = {e.__name__: e for e in OF_ATTRIBUTE.values()}


def enum_member(kind: str, attribute: str, value: Any) -> Any:
    """The member that a string names, in either case, where the attribute of this operator is one; else the value."""
    known = OF_ATTRIBUTE.get(f"{kind}.{attribute}") or OF_ATTRIBUTE.get(attribute)
    if known is None or not isinstance(value, str):
        return value
    return known.__members__.get(value.upper(), value)
