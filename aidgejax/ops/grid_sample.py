"""GridSample: an image read at given places, in 1, 2 or 3 dimensions; AffineGrid: places that a matrix gives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._registry import SPATIAL_NUMBERS, only_shapes_wanted, operator

MODES = ("linear", "nearest", "cubic")
PADDINGS = ("zeros", "border", "reflection")
COEFFICIENT = -0.75  # of the cubic kernel, as ONNX fixes it


def check(x_shape, grid_shape, mode, padding_mode):
    d = len(x_shape) - 2
    if d not in (1, 2, 3) or len(grid_shape) != d + 2 or grid_shape[-1] != d or grid_shape[0] != x_shape[0]:
        raise GraphError(
            f"GridSample needs an image [n, c, *d] and a grid [n, *out, number of d], got "
            f"{list(x_shape)} and {list(grid_shape)}"
        )
    if mode not in MODES or padding_mode not in PADDINGS:
        raise GraphError(
            f"mode {mode!r} and padding_mode {padding_mode!r}; expected one of {', '.join(MODES)} and one "
            f"of {', '.join(PADDINGS)}"
        )


def reflected(x, low, high):
    """x thrown back at the borders until it lies between them."""
    span = high - low
    if span == 0:
        return x * 0 + low
    part = jnp.mod(x - low, 2 * span)
    return low + jnp.where(part > span, 2 * span - part, part)


def located(grid, size, mode, padding_mode, align_corners):
    """Coordinates in pixels of one axis, from -1 ... 1."""
    x = (grid + 1) / 2 * (size - 1) if align_corners else ((grid + 1) * size - 1) / 2
    x = jnp.round(x) if mode == "nearest" else x
    low, high = borders(size, align_corners)
    outside = (x < low) | (x > high)
    if padding_mode == "border":
        return jnp.where(outside, jnp.clip(x, 0, size - 1), x)
    return jnp.where(outside, reflected(x, low, high), x) if padding_mode == "reflection" else x


def borders(size, align_corners):
    return (0.0, size - 1.0) if align_corners else (-0.5, size - 0.5)


def taps(mode):
    """(offset from the pixel below, weight of the distance t to it) of every pixel that counts."""
    a = COEFFICIENT
    if mode == "nearest":
        return ((0, lambda t: t * 0 + 1),)
    if mode == "linear":
        return ((0, lambda t: 1 - t), (1, lambda t: t))
    return (
        (-1, lambda t: a * (((t + 1) - 5) * (t + 1) + 8) * (t + 1) - 4 * a),
        (0, lambda t: ((a + 2) * t - (a + 3)) * t * t + 1),
        (1, lambda t: ((a + 2) * (1 - t) - (a + 3)) * (1 - t) * (1 - t) + 1),
        (2, lambda t: a * (((2 - t) - 5) * (2 - t) + 8) * (2 - t) - 4 * a),
    )


def slope(offset, t, mode):
    """d weight / d t of a tap."""
    a = COEFFICIENT
    if mode == "linear":
        return t * 0 + (1 if offset else -1)
    far = lambda d: a * (3 * d * d - 10 * d + 8)
    near = lambda d: 3 * (a + 2) * d * d - 2 * (a + 3) * d
    return {-1: lambda: far(t + 1), 0: lambda: near(t), 1: lambda: -near(1 - t), 2: lambda: -far(2 - t)}[offset]()


def pixel(i, size, padding_mode, align_corners):
    """(index inside, whether the pixel counts)"""
    inside = (i >= 0) & (i <= size - 1)
    if padding_mode == "reflection":
        i = reflected(i, *borders(size, align_corners))
    return jnp.clip(i, 0, size - 1).astype("int32"), inside | (padding_mode != "zeros")


def neighbourhood(x, grid, mode, padding_mode, align_corners):
    """Per combination of taps: (flat index i[n, q], per axis its weight f[n, q], per axis its slope or None)."""
    sizes = jnp.shape(x)[2:]
    places = grid.reshape(grid.shape[0], -1, len(sizes))
    per_axis = []
    for axis, size in enumerate(sizes):
        at = located(places[..., len(sizes) - 1 - axis], size, mode, padding_mode, align_corners)
        below = jnp.floor(at)
        found = []
        for offset, weight in taps(mode):
            index, counts = pixel(below + offset, size, padding_mode, align_corners)
            t = at - below
            found.append(
                (
                    index,
                    jnp.where(counts, weight(t), 0),
                    None if mode == "nearest" else jnp.where(counts, slope(offset, t, mode), 0),
                )
            )
        per_axis.append(found)
    for chosen in itertools.product(*per_axis):
        flat = 0
        for (index, _, _), size in zip(chosen, sizes, strict=True):
            flat = flat * size + index
        yield flat, [w for _, w, _ in chosen], [s for _, _, s in chosen]


def product(factors):
    result = factors[0]
    for f in factors[1:]:
        result = result * f
    return result


def grid_sample_vjp(op, x, grid, y, dy, *, mode, padding_mode, align_corners):
    return op.GridSampleGrad(dy, x, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners, outputs=2)


@operator("GridSample", onnx=("", 20), gradient_exports=SPATIAL_NUMBERS, vjp=grid_sample_vjp)
def grid_sample(x, grid, *, mode="linear", padding_mode="zeros", align_corners=0):
    """x read at grid, coordinates from -1 to 1, last axis first.  f[n, c, *d], f[n, *out, #d] -> f[n, c, *out].

    Between pixels: linear, cubic (coefficient -0.75) or the nearest (halves to even).  ONNX GridSample-20."""
    check(jnp.shape(x), jnp.shape(grid), mode, padding_mode)
    flat = x.reshape(*x.shape[:2], -1)
    total = 0
    for index, weights, _ in neighbourhood(x, grid.astype(x.dtype), mode, padding_mode, align_corners):
        total = total + jnp.take_along_axis(flat, index[:, None], 2) * product(weights)[:, None]
    return total.reshape(*x.shape[:2], *grid.shape[1:-1]).astype(x.dtype)


def span_of(at, size, align_corners):
    """d coordinate / d grid, where padding does not bend it."""
    return (size - 1) / 2 if align_corners else size / 2


def bent(grid, size, padding_mode, align_corners):
    """d place / d coordinate: 0 where a border stops it, -1 where it was thrown back an odd number of times."""
    x = (grid + 1) / 2 * (size - 1) if align_corners else ((grid + 1) * size - 1) / 2
    low, high = borders(size, align_corners)
    outside = (x < low) | (x > high)
    if padding_mode == "border":
        return jnp.where(outside, 0, 1)
    if padding_mode == "reflection" and high > low:
        return jnp.where(outside & (jnp.mod(x - low, 2 * (high - low)) > high - low), -1, 1)
    return jnp.where(outside & (padding_mode == "reflection"), 0, 1)


def grid_sample_grad_onnx(op, dy, x, grid, *, mode, padding_mode, align_corners):
    return decomposed(op, dy, x, grid, mode, padding_mode, align_corners)


@operator("GridSampleGrad", decompose=grid_sample_grad_onnx, outputs=2)
def grid_sample_grad(dy, x, grid, *, mode="linear", padding_mode="zeros", align_corners=0):
    """dy sent back to the pixels and to the grid.  f[n, c, *out], f[n, c, *d], f[n, *out, #d] -> like x, like grid."""
    check(jnp.shape(x), jnp.shape(grid), mode, padding_mode)
    sizes = x.shape[2:]
    flat, back = x.reshape(*x.shape[:2], -1), dy.reshape(*dy.shape[:2], -1)
    places = grid.astype(x.dtype).reshape(grid.shape[0], -1, len(sizes))
    dx = jnp.zeros_like(flat)
    moves = [jnp.zeros(places.shape[:2], x.dtype) for _ in sizes]
    rows, channels = jnp.arange(x.shape[0])[:, None, None], jnp.arange(x.shape[1])[None, :, None]
    for index, weights, slopes in neighbourhood(x, grid.astype(x.dtype), mode, padding_mode, align_corners):
        dx = dx.at[rows, channels, index[:, None]].add(product(weights)[:, None] * back)
        if mode != "nearest":
            read = jnp.sum(jnp.take_along_axis(flat, index[:, None], 2) * back, axis=1)
            for a in range(len(sizes)):
                moves[a] = moves[a] + read * product([slopes[b] if b == a else weights[b] for b in range(len(sizes))])
    for a, size in enumerate(sizes):
        moves[a] = (
            moves[a]
            * bent(places[..., len(sizes) - 1 - a], size, padding_mode, align_corners)
            * span_of(None, size, align_corners)
        )
    return dx.reshape(x.shape), jnp.stack(moves[::-1], -1).reshape(grid.shape).astype(grid.dtype)


# ---- the gradient in standard operators -----------------------------------------------------------------


def decomposed(op, dy, x, grid, mode, padding_mode, align_corners):
    """The same with GatherElements and ScatterElements; spatial sizes must be known."""
    sizes = x.shape[2:]
    if not all(isinstance(s, int) for s in sizes):
        raise GraphError("the gradient of GridSample needs the image's size to be decomposed into standard operators")
    d = len(sizes)
    places = op.Reshape(grid, (0, -1, d))
    flat, back = op.Reshape(x, (0, 0, -1)), op.Reshape(dy, (0, 0, -1))
    one = lambda v: op.CastLike(v, x)
    axes, bends = [], []
    for a, size in enumerate(sizes):
        g = op.CastLike(op.Gather(places, np.asarray(d - 1 - a), axis=2), x)
        at = op.Add(op.Mul(g, one(span_of(None, size, align_corners))), one((size - 1) / 2))
        at = op.Round(at) if mode == "nearest" else at
        low, high = borders(size, align_corners)
        outside = op.Or(op.Less(at, one(low)), op.Greater(at, one(high)))
        bend = op.CastLike(op.Equal(at, at), x)
        if padding_mode == "border":
            bend = op.Where(outside, one(0.0), bend)
            at = op.Where(outside, op.Clip(at, one(0.0), one(size - 1.0)), at)
        elif padding_mode == "reflection":
            thrown, back_again = _reflected(op, at, low, high, one)
            bend = op.Where(op.And(outside, back_again), one(-1.0 if high > low else 0.0), bend)
            at = op.Where(outside, thrown, at)
        bends.append(op.Mul(bend, one(span_of(None, size, align_corners))))
        below = op.Floor(at)
        axes.append(
            [
                _tap(op, below, offset, op.Sub(at, below), size, mode, padding_mode, align_corners, one)
                for offset, _ in taps(mode)
            ]
        )
    dx, moves = op.ZerosLike(flat), [None] * d
    like = op.Mul(op.ZerosLike(back), one(0.0))
    for chosen in itertools.product(*axes):
        index = chosen[0][0]
        for (i, _, _), size in zip(chosen[1:], sizes[1:], strict=True):
            index = op.Add(op.Mul(index, one(float(size))), i)
        index = op.Cast(op.Add(like, op.Unsqueeze(index, (1,))), to=7)
        weight = chosen[0][1]
        for _, w, _ in chosen[1:]:
            weight = op.Mul(weight, w)
        dx = op.ScatterElements(dx, index, op.Mul(op.Unsqueeze(weight, (1,)), back), axis=2, reduction="add")
        if mode != "nearest":
            read = op.ReduceSum(op.Mul(op.GatherElements(flat, index, axis=2), back), (1,), keepdims=0)
            for a in range(d):
                share = read
                for b in range(d):
                    share = op.Mul(share, chosen[b][2] if a == b else chosen[b][1])
                moves[a] = share if moves[a] is None else op.Add(moves[a], share)
    if mode == "nearest":
        return op.ReshapeLike(dx, x), op.ZerosLike(grid)
    columns = [op.Unsqueeze(op.Mul(moves[a], bends[a]), (2,)) for a in reversed(range(d))]
    return op.ReshapeLike(dx, x), op.CastLike(op.ReshapeLike(op.Concat(*columns, axis=2), grid), grid)


def _reflected(op, x, low, high, one):
    """(x thrown back, whether it runs backwards there)"""
    span = high - low
    if span == 0:
        return op.Add(op.Mul(x, one(0.0)), one(low)), op.Equal(x, x)
    away = op.Sub(x, one(low))
    part = op.Sub(away, op.Mul(op.Floor(op.Div(away, one(2 * span))), one(2 * span)))
    turned = op.Greater(part, one(span))
    return op.Add(op.Where(turned, op.Sub(one(2 * span), part), part), one(low)), turned


def _tap(op, below, offset, t, size, mode, padding_mode, align_corners, one):
    """(index, weight, slope) of one tap along one axis; weights as polynomials of t."""
    i = op.Add(below, one(float(offset)))
    inside = op.And(op.GreaterOrEqual(i, one(0.0)), op.LessOrEqual(i, one(size - 1.0)))
    if padding_mode == "reflection":
        i, _ = _reflected(op, i, *borders(size, align_corners), one)
    i = op.Floor(op.Clip(i, one(0.0), one(size - 1.0)))
    a = COEFFICIENT
    weight = {
        "nearest": {0: (1,)},
        "linear": {0: (1, -1), 1: (0, 1)},
        "cubic": {-1: (0, a, -2 * a, a), 0: (1, 0, -(a + 3), a + 2), 1: (0, -a, 2 * a + 3, -(a + 2)), 2: (0, 0, a, -a)},
    }[mode][offset]
    slope_of = tuple(k * c for k, c in enumerate(weight))[1:] or (0,)
    found = [_polynomial(op, c, t, one) for c in (weight, slope_of)]
    if padding_mode == "zeros":
        found = [op.Where(inside, v, one(0.0)) for v in found]
    return i, *found


def _polynomial(op, coefficients, t, one):
    total = op.Add(op.Mul(t, one(0.0)), one(float(coefficients[-1])))
    for c in reversed(coefficients[:-1]):
        total = op.Add(op.Mul(total, t), one(float(c)))
    return total


# ---- places given by a matrix -------------------------------------------------------------------------


def places(sizes, align_corners):
    """(x, y[, z], 1) of every position of an image of these sizes, in float64: [*sizes, d + 1]."""
    axes = [np.linspace(-1, 1, n) if align_corners else (2 * np.arange(n) + 1) / n - 1 for n in sizes]
    if align_corners:  # a single position lies at the first corner
        axes = [np.full(1, -1.0) if n == 1 else a for n, a in zip(sizes, axes, strict=True)]
    grids = np.meshgrid(*axes, indexing="ij")
    return np.stack([*grids[::-1], np.ones(tuple(sizes))], axis=-1)


def affine_grid_vjp(op, theta, size, y, dy, *, align_corners):
    return op.AffineGridGrad(dy, align_corners=align_corners), None


@operator("AffineGrid", onnx=("", 20), gradient_exports=SPATIAL_NUMBERS, vjp=affine_grid_vjp, static=("size",))
def affine_grid(theta, size, *, align_corners=0):
    """theta (x, y, 1) for every position of an image, -1 to 1 along each axis.  f[n, 2, 3], i64[4] -> f[n, h, w, 2], or
    f[n, 3, 4], i64[5] -> f[n, d, h, w, 3]; size: that of the image, [n, c, *s].  ONNX AffineGrid-20."""
    sizes = [int(n) for n in size[2:]]
    d = len(sizes)
    if d not in (2, 3) or jnp.shape(theta) != (int(size[0]), d, d + 1):
        raise GraphError(
            f"theta has shape {list(jnp.shape(theta))} for an image of {[int(n) for n in size]}: expected "
            f"[n, 2, 3] for [n, c, h, w], [n, 3, 4] for [n, c, d, h, w]"
        )
    if only_shapes_wanted():
        return jnp.zeros((int(size[0]), *sizes, d), jnp.result_type(theta))
    at = jnp.asarray(places(sizes, align_corners), jnp.result_type(theta))
    return jnp.einsum("...k,nik->n...i", at, theta, precision=jax.lax.Precision.HIGHEST)


def affine_grid_grad_onnx(op, dy, *, align_corners):
    sizes = dy.shape[1:-1]
    if not all(isinstance(n, int) for n in sizes):
        raise GraphError(
            f"AffineGridGrad can be decomposed into standard operators only where the image"
            f"'s sizes are numbers, got {dy}"
        )
    at = places(sizes, align_corners).reshape(-1, len(sizes) + 1)
    return op.Einsum(op.Reshape(dy, (0, -1, len(sizes))), op.CastLike(at, dy), equation="npi,pk->nik")


@operator("AffineGridGrad", decompose=affine_grid_grad_onnx)
def affine_grid_grad(dy, *, align_corners=0):
    """dL/d theta of AffineGrid: dy (x, y, 1)^T summed over positions.  f[n, h, w, 2] -> f[n, 2, 3]."""
    if only_shapes_wanted():
        return jnp.zeros((dy.shape[0], dy.shape[-1], dy.shape[-1] + 1), dy.dtype)
    at = jnp.asarray(places(dy.shape[1:-1], align_corners), dy.dtype)
    return jnp.einsum("n...i,...k->nik", dy, at, precision=jax.lax.Precision.HIGHEST)
