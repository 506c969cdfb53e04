"""Resizing and sampling of images."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import GraphViewError
from .definition import define, ints

INTERPOLATION = {
    "round_prefer_floor": {"mode": "nearest", "nearest_mode": "round_prefer_floor"},
    "round_prefer_ceil": {"mode": "nearest", "nearest_mode": "round_prefer_ceil"},
    "floor": {"mode": "nearest", "nearest_mode": "floor"},
    "ceil": {"mode": "nearest", "nearest_mode": "ceil"},
    "linear": {"mode": "linear"},
    "cubic": {"mode": "cubic"},
}
GRID_MODES = {"bilinear": "linear", "bicubic": "cubic"}


@define("Resize")
def resize(
    c: Any,
    data_input: Any,
    roi_: Any = None,
    scales: Any = None,
    sizes: Any = None,
    *,
    roi: Any = (),
    scale: Any = (),
    size: Any = (),
    axes: Any = (),
    coord_transfo_mode: Any = "half_pixel",
    interpolation_mode: Any = "round_prefer_floor",
    cubic_interpolation_coefficient_a: float = -0.75,
    extrapolation_value: float = 0.0,
    padding_mode: Any = "edge",
    aspect_ratio: Any = "stretch",
    antialias: bool = False,
    exclude_outside: bool = False,
) -> Any:
    how = getattr(interpolation_mode, "name", str(interpolation_mode)).lower()
    if how not in INTERPOLATION:
        raise GraphViewError(
            f"Resize has no interpolation_mode {interpolation_mode!r}; it has {', '.join(INTERPOLATION)}"
        )
    if roi_ is None and len(roi):
        roi_ = c.constant("roi", np.asarray(roi, np.float32))
    if scales is None and len(scale):
        scales = c.constant("scales", np.asarray(scale, np.float32))
    if sizes is None and len(size):
        sizes = ints(size)
    attrs: dict[str, Any] = {
        "coordinate_transformation_mode": getattr(coord_transfo_mode, "name", str(coord_transfo_mode)).lower(),
        "cubic_coeff_a": cubic_interpolation_coefficient_a,
        "extrapolation_value": extrapolation_value,
        "antialias": int(antialias),
        "exclude_outside": int(exclude_outside),
        "keep_aspect_ratio_policy": getattr(aspect_ratio, "name", str(aspect_ratio)).lower(),
        **INTERPOLATION[how],
    }
    if len(axes):
        attrs["axes"] = ints(axes)
    return c.named("Resize", data_input, roi_, scales, sizes, **attrs)


@define("GridSample")
def grid_sample(c: Any, data_input: Any, grid_field: Any, *, mode: Any, padding_mode: Any, align_corners: bool) -> Any:
    how = getattr(mode, "name", str(mode)).lower()
    edges = getattr(padding_mode, "name", str(padding_mode)).lower()
    settings = {"mode": GRID_MODES.get(how, how), "padding_mode": edges, "align_corners": int(align_corners)}
    return c.named("GridSample", data_input, grid_field, **settings)
