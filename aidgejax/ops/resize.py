"""Resize: every axis is resized by a matrix of its own, so the gradient is the same matrices transposed.

The matrices follow from sizes alone; they are computed in NumPy when the program is traced.
"""

import math

import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._known_indices import taken
from ._registry import only_shapes_wanted, operator, positive_axes

TRANSFORMS = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
NEAREST = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
POLICIES = ("stretch", "not_larger", "not_smaller")
STATIC = ("roi", "scales", "sizes")


def plan(
    shape, roi, scales, sizes, *, axes, coordinate_transformation_mode, keep_aspect_ratio_policy, mode, nearest_mode
):
    """Per axis that is resized: (axis, scale, new size, roi start, roi end)."""
    for what, got, known in (
        ("mode", mode, ("nearest", "linear", "cubic")),
        ("nearest_mode", nearest_mode, NEAREST),
        ("coordinate_transformation_mode", coordinate_transformation_mode, TRANSFORMS),
        ("keep_aspect_ratio_policy", keep_aspect_ratio_policy, POLICIES),
    ):
        if got not in known:
            raise GraphError(f"{what} is {got!r}; expected one of {', '.join(known)}")
    axes = positive_axes(range(len(shape)) if axes is None else axes, len(shape))
    scales, sizes, roi = (None if v is None or not np.size(v) else np.ravel(v) for v in (scales, sizes, roi))
    if (scales is None) == (sizes is None):
        raise GraphError(f"Resize needs either scales or sizes, got {'neither' if scales is None else 'both'}")
    given = scales if sizes is None else sizes
    if len(given) != len(axes):
        raise GraphError(f"{'scales' if sizes is None else 'sizes'} has {len(given)} numbers for {len(axes)} axes")
    crops = coordinate_transformation_mode == "tf_crop_and_resize"
    if crops and (roi is None or len(roi) != 2 * len(axes)):
        raise GraphError(
            f"tf_crop_and_resize needs a roi of {2 * len(axes)} numbers, got {'none' if roi is None else len(roi)}"
        )
    starts = np.asarray(roi[: len(axes)] if crops else [0.0] * len(axes), np.float64)
    ends = np.asarray(roi[len(axes) :] if crops else [1.0] * len(axes), np.float64)
    old = np.array([shape[a] for a in axes])
    if sizes is None:
        scales = scales.astype(np.float64)
        # ONNX Runtime multiplies in float32, where 10 * 1.3 is 13; with the float64 of 1.3 it would be 12.
        new = np.floor(old.astype(np.float32) * ((ends - starts) * scales).astype(np.float32)).astype(int)
    else:
        new, scales = sizes.astype(int), sizes / old
        if keep_aspect_ratio_policy != "stretch":
            scales = np.full(len(axes), (np.min if keep_aspect_ratio_policy == "not_larger" else np.max)(scales))
            new = np.floor(scales * old + 0.5).astype(int)
    if np.any(scales <= 0) or np.any(new < 1):
        raise GraphError(
            f"axes {list(axes)} of sizes {old.tolist()} would become {new.tolist()}; expected 1 or more each"
        )
    return list(zip(axes, scales.tolist(), new.tolist(), starts.tolist(), ends.tolist(), strict=True))


def sources(size, scale, new, start, end, transform):
    """Where each new element lies in the old coordinates.  -> f64[new]"""
    at, width = np.arange(new, dtype=np.float64), scale * size
    if transform == "align_corners":
        return at * 0 if width == 1 else at * (size - 1) / (width - 1)
    if transform == "asymmetric":
        return at / scale
    if transform == "tf_crop_and_resize":
        if width == 1:
            return at * 0 + (end - start) * (size - 1) / 2 + start * (size - 1)
        return at * (end - start) * (size - 1) / (width - 1) + start * (size - 1)
    if transform == "pytorch_half_pixel" and width == 1:
        return at * 0 - 0.5
    found = (at + 0.5) / scale - 0.5
    return found + size / 2 * (1 - new / width) if transform == "half_pixel_symmetric" else found


def kernel_of(mode, coefficient):
    """(weight by distance, how far it reaches)"""
    if mode == "linear":
        return lambda d: np.maximum(1 - d, 0), 1

    def cubic(d):
        near = ((coefficient + 2) * d - (coefficient + 3)) * d * d + 1
        far = ((coefficient * d - 5 * coefficient) * d + 8 * coefficient) * d - 4 * coefficient
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    return cubic, 2


def matrix(size, scale, new, start, end, attrs):
    """(f64[new, size], which rows lie outside)"""
    at = sources(size, scale, new, start, end, attrs["coordinate_transformation_mode"])
    outside = np.zeros(new, bool)
    if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize":
        outside = (at < 0) | (at > size - 1)
    found = np.zeros((new, size))
    if attrs["mode"] == "nearest":
        index = np.clip(NEAREST[attrs["nearest_mode"]](at), 0, size - 1).astype(int)
        found[np.arange(new), index] = 1
    else:
        weight, reach = kernel_of(attrs["mode"], attrs["cubic_coeff_a"])
        shrink = min(scale, 1.0) if attrs["antialias"] else 1.0
        radius = math.ceil(reach / shrink) + 1
        for row, x in enumerate(at):
            index = np.arange(math.floor(x) - radius, math.floor(x) + radius + 2)
            w = weight(np.abs(index - x) * shrink)
            w = w / w.sum() if attrs["antialias"] else w
            if attrs["exclude_outside"]:
                w = np.where((index >= 0) & (index < size), w, 0)
                w = w / w.sum()
            np.add.at(found[row], np.clip(index, 0, size - 1), w)
    found[outside] = 0
    return found, outside


def apply(m, x, axis):
    """x with `axis` multiplied by the matrix m f64[new, old]."""
    m = jnp.asarray(m.astype(np.float32 if x.dtype != np.float64 else np.float64)).astype(x.dtype)
    return jnp.moveaxis(jnp.tensordot(m, x, axes=([1], [axis])), 0, axis)


def steps_of(shape, roi, scales, sizes, attrs):
    return plan(
        shape,
        roi,
        scales,
        sizes,
        **{
            k: attrs[k]
            for k in ("axes", "coordinate_transformation_mode", "keep_aspect_ratio_policy", "mode", "nearest_mode")
        },
    )


def new_shape(shape, roi, scales, sizes, attrs):
    """What Resize makes of a shape."""
    found = list(shape)
    for axis, _, new, _, _ in steps_of(shape, roi, scales, sizes, attrs):
        found[axis] = new
    return found


def matrices(shape, roi, scales, sizes, attrs):
    """[(axis, matrix, outside)] of the axes that change."""
    steps = steps_of(shape, roi, scales, sizes, attrs)
    found = [(axis, *matrix(shape[axis], scale, new, start, end, attrs)) for axis, scale, new, start, end in steps]
    return [(a, m, o) for a, m, o in found if o.any() or not np.array_equal(m, np.eye(len(m)))]


def resize_vjp(op, x, roi, scales, sizes, y, dy, **attrs):
    attrs.pop("extrapolation_value")
    attrs = {k: v for k, v in attrs.items() if v is not None}
    return op.ResizeGrad(dy, x, roi, scales, sizes, **attrs), None, None, None


def resize_limits(attributes):
    return {"scales": 1 << 8, "sizes": 1 << 14}


@operator(
    "Resize",
    onnx=("", 19),
    settings=("roi", "scales"),
    limits=resize_limits,
    formerly=("Upsample",),
    gradient_exports="yes, unless a keep_aspect_ratio_policy decides the sizes",
    vjp=resize_vjp,
    static=STATIC,
)
def resize(
    x,
    roi=None,
    scales=None,
    sizes=None,
    *,
    antialias=0,
    axes=None,
    coordinate_transformation_mode="half_pixel",
    cubic_coeff_a=-0.75,
    exclude_outside=0,
    extrapolation_value=0.0,
    keep_aspect_ratio_policy="stretch",
    mode="nearest",
    nearest_mode="round_prefer_floor",
):
    """Each axis multiplied by an interpolation matrix.  f[*s], f[2k], f[k], i64[k] -> f[*r], r = floor(s * scales).

    mode: nearest, linear or cubic; antialias widens the kernel where the image shrinks.  ONNX Resize-19."""
    attrs = dict(
        antialias=antialias,
        axes=axes,
        coordinate_transformation_mode=coordinate_transformation_mode,
        cubic_coeff_a=cubic_coeff_a,
        exclude_outside=exclude_outside,
        keep_aspect_ratio_policy=keep_aspect_ratio_policy,
        mode=mode,
        nearest_mode=nearest_mode,
    )
    x = jnp.asarray(x)
    if only_shapes_wanted():
        return jnp.zeros(new_shape(x.shape, roi, scales, sizes, attrs), x.dtype)
    for axis, m, outside in matrices(jnp.shape(x), roi, scales, sizes, attrs):
        if mode == "nearest":
            nearest = np.argmax(m, axis=1)
            found = taken(x, nearest, axis)
            x = jnp.take(x, nearest, axis=axis) if found is None else found
        else:
            x = apply(m, x, axis)
        if outside.any():
            mask = outside.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
            x = jnp.where(mask, jnp.asarray(extrapolation_value, x.dtype), x)
    return x


def resize_grad_onnx(op, dy, like, roi, scales, sizes, *, axes, keep_aspect_ratio_policy, **attrs):
    """The matrix of an axis is what Resize makes of the identity matrix."""
    if keep_aspect_ratio_policy != "stretch":
        raise GraphError(
            f"the gradient of Resize with keep_aspect_ratio_policy {keep_aspect_ratio_policy!r} cannot be "
            f"decomposed into standard operators; give scales"
        )
    attrs = {k: v for k, v in attrs.items() if v is not None}
    axes = positive_axes(range(like.rank) if axes is None else axes, like.rank)
    for k, axis in enumerate(axes):
        size = op.Shape(like, start=axis, end=axis + 1)
        square = op.EyeLike(op.Expand(op.CastLike(0.0, like), op.Concat(size, size, axis=0)))
        whole = [np.asarray(v) if isinstance(v, tuple) else v for v in (roi, scales, sizes)]
        part = [
            None if v is None else op.Gather(v, np.asarray(i), axis=0)
            for v, i in zip(whole, ([k, k + len(axes)], [k], [k]), strict=True)
        ]
        m = op.Resize(square, *part, axes=(1,), **attrs)  # [size, new]
        order = [a for a in range(like.rank) if a != axis] + [axis]
        turned = op.MatMul(op.Transpose(dy, perm=tuple(order)), op.Transpose(m, perm=(1, 0)))
        dy = op.Transpose(turned, perm=tuple(int(a) for a in np.argsort(order)))
    return dy


@operator("ResizeGrad", decompose=resize_grad_onnx, static=STATIC)
def resize_grad(
    dy,
    like,
    roi=None,
    scales=None,
    sizes=None,
    *,
    antialias=0,
    axes=None,
    coordinate_transformation_mode="half_pixel",
    cubic_coeff_a=-0.75,
    exclude_outside=0,
    keep_aspect_ratio_policy="stretch",
    mode="nearest",
    nearest_mode="round_prefer_floor",
):
    """dy with each axis multiplied by the transposed matrix of Resize.  f[*r], f[*s] -> f[*s]."""
    attrs = dict(
        antialias=antialias,
        axes=axes,
        coordinate_transformation_mode=coordinate_transformation_mode,
        cubic_coeff_a=cubic_coeff_a,
        exclude_outside=exclude_outside,
        keep_aspect_ratio_policy=keep_aspect_ratio_policy,
        mode=mode,
        nearest_mode=nearest_mode,
    )
    if only_shapes_wanted():
        return jnp.zeros(jnp.shape(like), dy.dtype)
    for axis, m, _ in matrices(jnp.shape(like), roi, scales, sizes, attrs):
        dy = apply(m.T, dy, axis)
    return dy
