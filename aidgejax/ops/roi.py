"""RoiAlign: boxes of an image brought to one size.

Along each axis a box is a matrix: which mean of pixels each of its bins is.  It is written in the words of a rule, so
that the gradient, which is the same matrices transposed, can be exported.
"""

import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._eager import EagerBuilder
from ._registry import only_shapes_wanted, operator


def positions(op, rois, along, size, out, *, half_pixel, sampling_ratio, spatial_scale):
    """Where the samples of each box lie on an axis, and which of them count: f[r, out, samples], bool[r, out, samples].

    along: the columns of rois that hold start and end.  Without a sampling_ratio a box has as many samples in a bin as
    it covers pixels there, up to as many as the image has.
    """
    most = sampling_ratio or -(-size // out) + 1
    start, end = (
        op.Unsqueeze(op.Sub(op.Mul(op.Gather(rois, (k,), axis=1), spatial_scale), 0.5 if half_pixel else 0.0), (2,))
        for k in along
    )
    length = op.Sub(end, start) if half_pixel else op.Max(op.Sub(end, start), 1.0)
    width = op.Div(length, float(out))  # of a bin
    count = op.Max(op.Min(op.Ceil(width), float(most)), 1.0)
    bins, sample = (
        op.CastLike(np.arange(n, dtype=np.float32).reshape(shape), rois)
        for n, shape in ((out, (1, -1, 1)), (most, (1, 1, -1)))
    )
    step = op.Div(width, float(most) if sampling_ratio else count)
    at = op.Add(op.Add(start, op.Mul(bins, width)), op.Mul(op.Add(sample, 0.5), step))
    inside = op.And(op.GreaterOrEqual(at, -1.0), op.LessOrEqual(at, float(size)))
    if not sampling_ratio:
        inside = op.And(inside, op.And(op.Less(sample, count), op.Greater(width, 0.0)))
    return op.Clip(at, 0.0, float(size - 1)), inside, float(most) if sampling_ratio else count


def matrix(op, rois, along, size, out, **how):
    """f[r, out, size]: the weights of an axis's pixels in each bin's mean, by linear interpolation."""
    at, inside, count = positions(op, rois, along, size, out, **how)
    pixels = op.CastLike(np.arange(size, dtype=np.float32), rois)
    tent = op.Max(op.Sub(1.0, op.Abs(op.Sub(op.Unsqueeze(at, (3,)), pixels))), 0.0)
    return op.Div(op.ReduceSum(op.Where(op.Unsqueeze(inside, (3,)), tent, 0.0), (2,), keepdims=0), count)


def settings(coordinate_transformation_mode, sampling_ratio, spatial_scale):
    return {
        "half_pixel": coordinate_transformation_mode == "half_pixel",
        "sampling_ratio": sampling_ratio,
        "spatial_scale": spatial_scale,
    }


def roi_align_vjp(
    op,
    x,
    rois,
    batch_indices,
    y,
    dy,
    *,
    coordinate_transformation_mode,
    mode,
    output_height,
    output_width,
    sampling_ratio,
    spatial_scale,
):
    """As the field has it: the boxes take no gradient."""
    height, width = x.shape[2:]
    if mode != "avg" or not isinstance(height, int) or not isinstance(width, int):
        raise GraphError(f"RoiAlign has a gradient for mode 'avg' on images of a known size, got mode {mode!r} on {x}")
    how = settings(coordinate_transformation_mode, sampling_ratio, spatial_scale)
    rows = matrix(op, rois, (1, 3), height, output_height, **how)
    columns = matrix(op, rois, (0, 2), width, output_width, **how)
    each = op.Einsum(dy, rows, columns, equation="rcpq,rph,rqw->rchw")
    return op.GatherGrad(each, x, batch_indices, axis=0), None, None


@operator("RoiAlign", onnx=("", 16), vjp=roi_align_vjp)
def roi_align(
    x,
    rois,
    batch_indices,
    *,
    coordinate_transformation_mode="half_pixel",
    mode="avg",
    output_height=1,
    output_width=1,
    sampling_ratio=0,
    spatial_scale=1.0,
):
    """The mean (mode avg) of samples in each bin of each box (x1, y1, x2, y2).  f[n, c, h, w], f[r, 4], i64[r] ->
    f[r, c, p, q].  ONNX RoiAlign-16.

    mode max: the largest of the pixels around the samples, each times its weight in the interpolation.  sampling_ratio:
    samples along each axis of a bin; 0: one for each pixel, in boxes that are no larger than the image."""
    if mode not in ("avg", "max") or coordinate_transformation_mode not in ("half_pixel", "output_half_pixel"):
        raise GraphError(
            f"mode is {mode!r} and coordinate_transformation_mode {coordinate_transformation_mode!r}; "
            f"expected 'avg' or 'max', and 'half_pixel' or 'output_half_pixel'"
        )
    if (
        jnp.ndim(x) != 4
        or jnp.ndim(rois) != 2
        or jnp.shape(rois)[1] != 4
        or min(output_height, output_width) < 1
        or jnp.shape(batch_indices) != jnp.shape(rois)[:1]
        or sampling_ratio < 0
    ):
        raise GraphError(
            f"x is {list(jnp.shape(x))}, rois {list(jnp.shape(rois))}, batch_indices "
            f"{list(jnp.shape(batch_indices))}, for bins of {output_height} by {output_width} with "
            f"{sampling_ratio} samples; expected [n, c, h, w], [r, 4] and [r]"
        )
    if only_shapes_wanted():
        return jnp.zeros((*jnp.shape(rois)[:1], jnp.shape(x)[1], output_height, output_width), jnp.result_type(x))
    how = settings(coordinate_transformation_mode, sampling_ratio, spatial_scale)
    (height, width), now = jnp.shape(x)[2:], EagerBuilder()
    rois = jnp.asarray(rois)
    if mode == "max":
        return largest(
            x,
            batch_indices,
            positions(now, rois, (1, 3), height, output_height, **how)[:2],
            positions(now, rois, (0, 2), width, output_width, **how)[:2],
        )
    rows = matrix(now, rois, (1, 3), height, output_height, **how)
    columns = matrix(now, rois, (0, 2), width, output_width, **how)
    return jnp.einsum("rchw,rph,rqw->rcpq", jnp.take(x, batch_indices, axis=0), rows, columns)


def largest(x, batch_indices, rows, columns):
    """The largest weighted pixel around each sample, over the samples of a bin; 0 where a bin has none."""

    def taps(at, inside, size):
        low = jnp.floor(at)
        both = jnp.stack([low, jnp.minimum(low + 1, size - 1)], -1)
        weight = jnp.stack([1 - (at - low), at - low], -1)
        flat = lambda a: jnp.reshape(a, (*a.shape[:2], -1))
        return flat(both).astype(jnp.int32), flat(weight), flat(jnp.stack([inside, inside], -1))

    (i, wi, ini), (j, wj, inj) = taps(*rows, x.shape[2]), taps(*columns, x.shape[3])
    cross = lambda a, b: (a[:, :, :, None, None], b[:, None, None])
    at_i, at_j = cross(i, j)
    image = jnp.reshape(batch_indices, (-1, 1, 1, 1, 1))
    found = jnp.moveaxis(x, 1, -1)[image, at_i, at_j]  # [r, p, samples, q, samples, c]
    weight, there = (jnp.multiply(*cross(a, b)) for a, b in ((wi, wj), (ini, inj)))
    best = jnp.max(jnp.where(there[..., None], found * weight[..., None], -jnp.inf), axis=(2, 4))
    return jnp.moveaxis(jnp.where(jnp.isneginf(best), 0, best), -1, 1).astype(x.dtype)
