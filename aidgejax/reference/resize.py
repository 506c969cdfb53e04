"""Resize, one output element after the other along each axis, as the ONNX specification describes it."""

import math

import numpy as np

from ._definition import define


def coordinate(k, size, scale, new, start, end, transform):
    width = scale * size
    if transform == "align_corners":
        return 0.0 if width == 1 else k * (size - 1) / (width - 1)
    if transform == "asymmetric":
        return k / scale
    if transform == "tf_crop_and_resize":
        first = start * (size - 1)
        return first + ((end - start) * (size - 1) / 2 if width == 1 else k * (end - start) * (size - 1) / (width - 1))
    if transform == "pytorch_half_pixel" and width == 1:
        return -0.5
    shift = size / 2 * (1 - new / width) if transform == "half_pixel_symmetric" else 0.0
    return shift + (k + 0.5) / scale - 0.5


def round_to_nearest(x, how):
    down = math.floor(x)
    part = x - down
    if how == "floor" or part == 0:
        return down
    if how == "ceil":
        return down + 1
    return down + (part > 0.5 or (part == 0.5 and how == "round_prefer_ceil"))


def weight(mode, distance, a):
    d = abs(distance)
    if mode == "linear":
        return max(0.0, 1 - d)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def samples(x, size, scale, mode, nearest_mode, a, antialias, exclude_outside):
    """[(index, weight)] whose sum is the value at x."""
    if mode == "nearest":
        return [(min(max(round_to_nearest(x, nearest_mode), 0), size - 1), 1.0)]
    shrink = min(1.0, scale) if antialias else 1.0
    reach = {"linear": 1, "cubic": 2}[mode] / shrink
    near = range(math.ceil(x - reach), math.floor(x + reach) + 1)
    found = [(i, weight(mode, (i - x) * shrink, a)) for i in near]
    if antialias:
        total = sum(w for _, w in found)
        found = [(i, w / total) for i, w in found]
    if exclude_outside:
        found = [(i, w) for i, w in found if 0 <= i < size]
        total = sum(w for _, w in found)
        found = [(i, w / total) for i, w in found]
    return [(min(max(i, 0), size - 1), w) for i, w in found]


def lines(shape, roi, scales, sizes, axes, policy, mode, nearest_mode, a, antialias, exclude_outside, transform):
    """Per axis: (axis, per new element its samples, or None where it lies outside)."""
    axes = [k % len(shape) for k in (range(len(shape)) if axes is None else axes)]
    n = len(axes)
    crop = transform == "tf_crop_and_resize"
    if sizes is not None and np.size(sizes):
        factors = [int(sizes[k]) / shape[axis] for k, axis in enumerate(axes)]
        news = [int(v) for v in sizes]
        if policy != "stretch":
            factor = min(factors) if policy == "not_larger" else max(factors)
            factors, news = [factor] * n, [int(factor * shape[axis] + 0.5) for axis in axes]
    else:
        factors = [float(s) for s in scales]
        news = [
            math.floor(np.float32(shape[axis]) * np.float32((roi[k + n] - roi[k] if crop else 1) * factors[k]))
            for k, axis in enumerate(axes)
        ]
    for k, axis in enumerate(axes):
        start, end = (float(roi[k]), float(roi[k + n])) if crop else (0.0, 1.0)
        size, found = shape[axis], []
        for j in range(news[k]):
            x = coordinate(j, size, factors[k], news[k], start, end, transform)
            outside = crop and (x < 0 or x > size - 1)
            found.append(
                None if outside else samples(x, size, factors[k], mode, nearest_mode, a, antialias, exclude_outside)
            )
        yield axis, found


@define("Resize")
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
    y = x
    for axis, found in lines(
        x.shape,
        roi,
        scales,
        sizes,
        axes,
        keep_aspect_ratio_policy,
        mode,
        nearest_mode,
        cubic_coeff_a,
        antialias,
        exclude_outside,
        coordinate_transformation_mode,
    ):
        parts = [
            np.full(np.take(y, 0, axis).shape, extrapolation_value, x.dtype)
            if f is None
            else sum(np.take(y, i, axis) * x.dtype.type(w) for i, w in f)
            for f in found
        ]
        y = np.stack(parts, axis)
    return y.astype(x.dtype)


@define("ResizeGrad")
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
    for axis, found in lines(
        like.shape,
        roi,
        scales,
        sizes,
        axes,
        keep_aspect_ratio_policy,
        mode,
        nearest_mode,
        cubic_coeff_a,
        antialias,
        exclude_outside,
        coordinate_transformation_mode,
    ):
        dx = np.zeros([like.shape[axis] if a == axis else n for a, n in enumerate(dy.shape)], dy.dtype)
        to, source = np.moveaxis(dx, axis, 0), np.moveaxis(dy, axis, 0)
        for j, f in enumerate(found):
            for i, w in f or ():
                to[i] += source[j] * dy.dtype.type(w)
        dy = dx
    return dy
