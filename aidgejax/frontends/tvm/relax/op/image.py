"""relax.op.image: pictures resized and sampled."""

from __future__ import annotations

from typing import Any

from .....graph import Value
from ...errors import RelaxValueError
from ..expr import Call, astype, relax_operator
from ._call import target_shape

METHODS = {"nearest_neighbor": "nearest", "linear": "linear", "cubic": "cubic"}
ROUNDING = {"round": "round_prefer_floor", "": "round_prefer_floor", "floor": "floor", "ceil": "ceil"}


def _known(what: str, value: str, known: Any) -> str:
    if value not in known:
        raise RelaxValueError(f"{what} is {value!r}; expected one of {', '.join(k for k in known if k)}")
    return value


@relax_operator
def resize2d(
    data: Any,
    size: Any,
    roi: Any = None,
    layout: str = "NCHW",
    method: str = "linear",
    coordinate_transformation_mode: str = "half_pixel",
    rounding_method: str = "round",
    cubic_alpha: float = -0.75,
    cubic_exclude: int = 0,
    extrapolation_value: float = 0.0,
    out_dtype: str | None = None,
) -> Call:
    """The image with another height and width, (height, width) or one number for both."""
    _known("layout", layout, ("NCHW", "NHWC"))
    _known("method", method, METHODS)
    rounding = ROUNDING.get(rounding_method, rounding_method)
    wanted = target_shape(size)
    height, width = wanted * 2 if len(wanted) == 1 else wanted

    def write(op: Any, x: Any) -> Value:
        batch, channels = (x.shape[0], x.shape[1] if layout == "NCHW" else x.shape[3])
        if not (isinstance(batch, int) and isinstance(channels, int)):
            raise RelaxValueError(f"relax.image.resize2d needs sizes that are numbers, got {x}")
        sizes = (batch, channels, height, width)
        first = x if layout == "NCHW" else op.Transpose(x, perm=(0, 3, 1, 2))
        y = op.Resize(
            first,
            None,
            None,
            sizes,
            mode=METHODS[method],
            coordinate_transformation_mode=coordinate_transformation_mode,
            nearest_mode=rounding,
            cubic_coeff_a=float(cubic_alpha),
            exclude_outside=int(cubic_exclude),
            extrapolation_value=float(extrapolation_value),
        )
        return y if layout == "NCHW" else op.Transpose(y, perm=(0, 2, 3, 1))

    call = Call("relax.image.resize2d", (data,), write)
    return call if out_dtype in (None, "") else astype(call, out_dtype)


@relax_operator
def grid_sample(
    data: Any,
    grid: Any,
    method: str = "bilinear",
    layout: str = "NCHW",
    padding_mode: str = "zeros",
    align_corners: bool = False,
) -> Call:
    """The image at the places that grid [batch, 2, height, width] names: x, then y, from -1 to 1."""
    _known("layout", layout, ("NCHW",))
    modes = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
    _known("method", method, modes)

    def write(op: Any, x: Any, places: Any) -> Value:
        last = op.Transpose(places, perm=(0, 2, 3, 1))
        return op.GridSample(
            x, last, mode=modes[method], padding_mode=padding_mode, align_corners=int(bool(align_corners))
        )

    return Call("relax.image.grid_sample", (data, grid), write)


@relax_operator
def affine_grid(data: Any, size: Any, align_corners: bool = True) -> Call:
    """The grid [batch, 2, height, width] of an affine map [batch, 2, 3], for grid_sample."""
    wanted = target_shape(size)
    height, width = wanted * 2 if len(wanted) == 1 else wanted

    def write(op: Any, theta: Any) -> Value:
        if not isinstance(theta.shape[0], int):
            raise RelaxValueError(f"relax.image.affine_grid needs a batch that is a number, got {theta}")
        grid = op.AffineGrid(theta, (theta.shape[0], 1, height, width), align_corners=int(align_corners))
        return op.Transpose(grid, perm=(0, 3, 1, 2))

    return Call("relax.image.affine_grid", (data,), write)
