"""Aidge's names for ways to round, to pad and to interpolate; operators take them, or their names as strings."""

from __future__ import annotations

import enum


class RoundingMode(enum.Enum):
    """Of Round, and of averages of integers."""

    TOWARD_ZERO = 0
    AWAY_FROM_ZERO = 1
    DOWN = 2
    UP = 3
    HALF_TOWARD_ZERO = 6
    HALF_AWAY_FROM_ZERO = 7
    HALF_DOWN = 8
    HALF_UP = 9
    HALF_TO_EVEN = 10
    HALF_TO_ODD = 11


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


class InterpolationMode(enum.Enum):
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
    Mode = InterpolationMode


for _member in (*CoordinateTransformation, *InterpolationMode):
    setattr(Interpolation, _member.name, _member)
