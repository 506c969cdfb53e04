"""Operators that cut and join: Concat, Split, Slice, Pad, and the gradients of the last two.

All of them take images channels-last as well, where a neighbour left them so (`layout`).
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ..graph import Value
from ._registry import operator, positive_axes


def lying(axis, rank, layout):
    """Where the axis `axis` of the graph's tensor is in this layout."""
    return axis if layout == "NCHW" or axis == 0 else rank - 1 if axis == 1 else axis - 1


def sent_back(op, dy, x, positions):
    """The gradient of whatever moves elements of x, in standard operators: each dy is added where it came from.

    positions: an int64 tensor shaped as dy, the place in the flattened x.
    """
    room = op.Reshape(op.ZerosLike(x), (-1,))
    full = op.ScatterElements(room, op.Reshape(positions, (-1,)), op.Reshape(dy, (-1,)), axis=0, reduction="add")
    return op.ReshapeLike(full, x)


def positions_in(op, x):
    """0, 1, 2, ... in the shape of x."""
    return op.ReshapeLike(op.Range(0, op.Size(x), 1), x)


# ---- joining and parting ------------------------------------------------------------------------------


def sizes_along(op, xs, axis):
    """The sizes of several tensors along an axis, as a split: known numbers, or computed from their shapes."""
    known = [x.shape[axis] if x.shape else None for x in xs]
    if all(isinstance(d, int) for d in known):
        return tuple(known)
    end = None if axis == -1 else axis + 1
    return op.Concat(*(op.Shape(x, start=axis, **({} if end is None else {"end": end})) for x in xs), axis=0)


def concat_vjp(op, *args, axis):
    *xs, _, dy = args
    if len(xs) == 1:
        return (dy,)
    return op.Split(dy, sizes_along(op, xs, axis), axis=axis, outputs=len(xs))


@operator("Concat", onnx=("", 13), vjp=concat_vjp, layout="same")
def concat(*xs, axis, layout="NCHW"):
    """Tensors one after another along `axis`.  t[*s], t[*r], ... -> t[*s + r along axis].  ONNX Concat-13."""
    if not xs:
        raise GraphError("Concat got no inputs, expected one or more")
    rank = jnp.ndim(xs[0])
    (at,) = positive_axes((axis,), rank, "axis")
    at = lying(at, rank, layout)
    other = {jnp.shape(x)[:at] + jnp.shape(x)[at + 1 :] for x in xs if jnp.ndim(x) == rank}
    if len(other) != 1 or {jnp.ndim(x) for x in xs} != {rank}:
        shapes = ", ".join(str(list(in_graph(jnp.shape(x), layout))) for x in xs)
        raise GraphError(f"shapes {shapes} differ, expected equal ones but for axis {axis}")
    return jnp.concatenate(xs, at)


def split_vjp(op, x, split, *args, axis, num_outputs):
    parts, d_parts = args[: len(args) // 2], args[len(args) // 2 :]
    if any(p is None for p in parts):  # what the node does not name has a size all the same
        again = op.Split(x, split, axis=axis, num_outputs=num_outputs, outputs=len(parts))
        parts = again if len(parts) > 1 else (again,)
    shares = [op.ZerosLike(p) if d is None else d for p, d in zip(parts, d_parts, strict=True)]
    return op.Concat(*shares, axis=axis), None


@operator("Split", onnx=("", 18), vjp=split_vjp, static=("split",), layout="same", outputs=None)
def split(x, split=None, *, axis=0, num_outputs=None, layout="NCHW"):
    """x cut into pieces along `axis`, of the sizes `split`, or num_outputs equal ones (the last may be smaller).
    t[*s], i64[k] -> t[...], ...  ONNX Split-18."""
    rank = jnp.ndim(x)
    (at,) = positive_axes((axis,), rank, "axis")
    at = lying(at, rank, layout)
    size = jnp.shape(x)[at]
    if (split is None) == (num_outputs is None):
        raise GraphError(
            f"Split needs either the input `split` or the attribute `num_outputs`, got "
            f"{'neither' if split is None else 'both'}"
        )
    if split is None:
        chunk = -(-size // num_outputs)
        sizes = [min(chunk, size - k * chunk) for k in range(num_outputs)]
        if sizes[-1] < 0:
            raise GraphError(f"axis {axis} of size {size} makes no {num_outputs} pieces of size {chunk}")
    else:
        sizes = [int(d) for d in split]
        if sum(sizes) != size or min(sizes, default=0) < 0:
            raise GraphError(f"split is {sizes}, expected sizes that add up to {size}, the size of axis {axis}")
    ends = np.cumsum(sizes)
    return tuple(jax.lax.slice_in_dim(x, int(e) - d, int(e), axis=at) for d, e in zip(sizes, ends, strict=True))


# ---- Slice --------------------------------------------------------------------------------------------


def picked(sizes, starts, ends, axes, steps):
    """Per axis of a tensor of these sizes, the range of indices that Slice takes."""
    starts, ends = ([int(k) for k in np.ravel(v)] for v in (starts, ends))
    axes = positive_axes((int(a) for a in (range(len(starts)) if axes is None else np.ravel(axes))), len(sizes))
    steps = [1] * len(starts) if steps is None else [int(k) for k in np.ravel(steps)]
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise GraphError(
            f"Slice got {len(starts)} starts, {len(ends)} ends, {len(axes)} axes and {len(steps)} steps; "
            f"expected as many of each"
        )
    if 0 in steps:
        raise GraphError(f"steps are {steps}, expected none of them to be 0")
    found = [range(d) for d in sizes]
    for a, start, end, step in zip(axes, starts, ends, steps, strict=True):
        # Python's slices clamp what is out of range as ONNX says.
        found[a] = range(*slice(start, end, step).indices(sizes[a]))
    return found


def in_layout(ranges, layout):
    """Per axis of the storage layout, from per axis of the graph."""
    return ranges if layout == "NCHW" else [ranges[0], *ranges[2:], ranges[1]]


def in_graph(sizes, layout):
    """The sizes in the graph's layout, from those in storage layout."""
    return tuple(sizes) if layout == "NCHW" else (sizes[0], sizes[-1], *sizes[1:-1])


def slice_vjp(op, x, starts, ends, axes, steps, y, dy):
    return op.SliceGrad(dy, x, starts, ends, axes, steps), None, None, None, None


@operator("Slice", onnx=("", 13), vjp=slice_vjp, static=("starts", "ends", "axes", "steps"), layout="same")
def slice_(x, starts, ends, axes=None, steps=None, *, layout="NCHW"):
    """x[start:end:step] along each of axes; out of range is clamped.  t[*s], i64[k], i64[k], i64[k], i64[k] -> t[*r].
    ONNX Slice-13."""
    ranges = in_layout(picked(in_graph(jnp.shape(x), layout), starts, ends, axes, steps), layout)
    return x[tuple(slice(r.start, r.stop if r.stop >= 0 else None, r.step) for r in ranges)]


def slice_grad_onnx(op, dy, like, starts, ends, axes, steps):
    ranges = ranges_of_known(like, starts, ends, axes, steps)
    if ranges is None or not all(len(r) for r in ranges.values()) or not _can_spread(like, ranges):
        taken = op.Slice(positions_in(op, like), starts, ends, axes, steps)
        return sent_back(op, dy, like, taken)
    flipped = tuple(a for a, r in ranges.items() if r.step < 0)
    if flipped:
        count = len(flipped)
        dy = op.Slice(dy, (-1,) * count, tuple(-len(ranges[a]) - 1 for a in flipped), flipped, (-1,) * count)
    before, after = [0] * like.rank, [0] * like.rank
    for a, r in sorted(ranges.items()):
        before[a], after[a] = min(r), like.shape[a] - 1 - max(r)
        if abs(r.step) > 1 and len(r) > 1:
            dy = _spread(op, dy, a, len(r), abs(r.step), _sizes_behind(like, ranges, a))
    return op.Pad(dy, (*before, *after)) if any(before + after) else dy


def _sizes_behind(like, ranges, axis):
    """The sizes of what Slice took behind this axis, one that is not known as -1."""
    sizes = (len(ranges[a]) if a in ranges else like.shape[a] for a in range(axis + 1, like.rank))
    return [n if isinstance(n, int) else -1 for n in sizes]


def _can_spread(like, ranges):
    apart = [a for a, r in ranges.items() if abs(r.step) > 1 and len(r) > 1]
    return all(_sizes_behind(like, ranges, a).count(-1) <= 1 for a in apart)


def _spread(op, x, axis, count, step, behind):
    """x with step - 1 zeros between neighbours along axis: columns of which the first is x, in a row."""
    pads = [0] * (axis + 1) + [0] + [0] * len(behind)
    columns = op.Pad(op.Unsqueeze(x, (axis + 1,)), (*pads, *pads[: axis + 1], step - 1, *pads[axis + 2 :]))
    whole = op.Reshape(columns, (*[0] * axis, count * step, *behind))
    return op.Slice(whole, (0,), ((count - 1) * step + 1,), (axis,))


def ranges_of_known(x, starts, ends, axes, steps):
    """{axis: the indices that Slice takes}; None where they are not numbers, or the axis' size is not."""
    if x.shape is None or not all(v is None or isinstance(v, tuple) for v in (starts, ends, axes, steps)):
        return None
    at = positive_axes(range(len(starts)) if axes is None else axes, x.rank)
    if not all(isinstance(x.shape[a], int) for a in at):
        return None
    return dict(zip(at, picked([x.shape[a] for a in at], starts, ends, None, steps), strict=True))


def slice_grad_vjp(op, dy, like, starts, ends, axes, steps, dx, ddx):
    return op.Slice(ddx, starts, ends, axes, steps), None, None, None, None, None


@operator(
    "SliceGrad",
    decompose=slice_grad_onnx,
    vjp=slice_grad_vjp,
    layout="same",
    static=("starts", "ends", "axes", "steps"),
)
def slice_grad(dy, like, starts, ends, axes=None, steps=None, *, layout="NCHW"):
    """dy where Slice took it from, 0 elsewhere.  f[*r], f[*s], i64[k], i64[k], i64[k], i64[k] -> f[*s]."""
    ranges = in_layout(picked(in_graph(jnp.shape(like), layout), starts, ends, axes, steps), layout)
    dy = jnp.flip(dy, [k for k, r in enumerate(ranges) if r.step < 0])
    config = []
    for r, size in zip(ranges, jnp.shape(like), strict=True):
        low, high = (min(r), max(r)) if len(r) else (0, -1)
        config.append((low, size - 1 - high, abs(r.step) - 1))
    return jax.lax.pad(dy, jnp.zeros((), jnp.result_type(dy)), config)


# ---- Pad ----------------------------------------------------------------------------------------------


def paddings(sizes, pads, axes, mode):
    """Per axis of a tensor of these sizes, (before, after); negative ones cut."""
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise GraphError(f"mode is {mode!r}, expected 'constant', 'reflect', 'edge' or 'wrap'")
    axes = positive_axes((int(a) for a in (range(len(sizes)) if axes is None else np.ravel(axes))), len(sizes))
    if len(pads) != 2 * len(axes):
        raise GraphError(
            f"{len(pads)} pads for {len(axes)} axes: expected two per axis, all that come before, then "
            f"all that come after"
        )
    found = [(0, 0)] * len(sizes)
    for k, a in enumerate(axes):
        before, after = found[a] = int(pads[k]), int(pads[len(axes) + k])
        left = sizes[a] + min(before, 0) + min(after, 0)
        if left < 0 or left == 0 and mode != "constant" and max(before, after) > 0:
            raise GraphError(
                f"pads {before} and {after} leave nothing of axis {a} of size {sizes[a]}"
                + (f" for mode {mode!r} to repeat" if mode != "constant" else "")
            )
    return found


def pad_onnx(op, x, pads, constant_value, axes, *, mode, border_gradient):
    return op.Pad(x, pads, constant_value, axes, mode=mode)


def pad_vjp(op, x, pads, constant_value, axes, y, dy, *, mode, border_gradient):
    dx = op.PadGrad(dy, x, pads, axes, mode=mode if border_gradient else "constant")
    if mode != "constant" or not isinstance(constant_value, Value):
        return dx, None, None, None
    outside = op.Sub(dy, op.Pad(dx, pads, 0.0, axes))
    return dx, None, op.SumLike(outside, constant_value), None


def pad_limits(attributes):
    return {} if attributes.get("mode", "constant") == "constant" else {"pads": 1 << 12}  # constant: one operation


@operator(
    "Pad",
    onnx=("", 19),
    settings=("constant_value",),
    limits=pad_limits,
    vjp=pad_vjp,
    decompose=pad_onnx,
    static=("pads", "axes"),
    layout="same",
)
def pad(x, pads, constant_value=None, axes=None, *, mode="constant", border_gradient=1, layout="NCHW"):
    """x with more elements around it, or fewer where a pad is negative; mode: constant, reflect (without repeating
    the border), edge (the border again and again), wrap.  t[*s], i64[2k], t[], i64[k] -> t[*r].  ONNX Pad-19.
    What is cut off is not there for the other modes to repeat.  border_gradient: 0 takes what is repeated for
    constants, which pass no gradient on (SINGA's pools)."""
    widths = in_layout(paddings(in_graph(jnp.shape(x), layout), pads, axes, mode), layout)
    if mode == "constant":
        value = jnp.reshape(jnp.asarray(0 if constant_value is None else constant_value), ())
        return jax.lax.pad(x, value.astype(jnp.result_type(x)), [(b, a, 0) for b, a in widths])
    kept = x[tuple(slice(max(0, -b), d - max(0, -a)) for d, (b, a) in zip(jnp.shape(x), widths, strict=True))]
    return jnp.pad(kept, [(max(0, b), max(0, a)) for b, a in widths], mode)


def pad_grad_onnx(op, dy, like, pads, axes, *, mode):
    if mode != "constant":
        return sent_back(op, dy, like, op.Pad(positions_in(op, like), pads, None, axes, mode=mode))
    # What was added is cut off; what was cut off comes back as zeros.
    added, cut = op.Max(pads, 0), op.Max(op.Neg(pads), 0)
    count = like.rank if axes is None else len(axes) if isinstance(axes, tuple) else axes.shape[0]
    sizes = op.Shape(dy) if axes is None else op.Gather(op.Shape(dy), axes)
    ends = op.Sub(sizes, op.Slice(added, (count,), (2 * count,)))
    return op.Pad(op.Slice(dy, op.Slice(added, (0,), (count,)), ends, axes), cut, 0.0, axes)


def pad_grad_vjp(op, dy, like, pads, axes, dx, ddx, *, mode):
    return op.Pad(ddx, pads, 0.0 if mode == "constant" else None, axes, mode=mode), None, None, None


@operator("PadGrad", decompose=pad_grad_onnx, vjp=pad_grad_vjp, static=("pads", "axes"), layout="same")
def pad_grad(dy, like, pads, axes=None, *, mode="constant", layout="NCHW"):
    """The gradient of Pad: for each element of `like`, the sum of dy over its copies.
    f[*r], f[*s], i64[2k], i64[k] -> f[*s]."""
    widths = in_layout(paddings(in_graph(jnp.shape(like), layout), pads, axes, mode), layout)
    if mode == "constant":
        return jax.lax.pad(dy, jnp.zeros((), jnp.result_type(dy)), [(-b, -a, 0) for b, a in widths])
    for axis, (before, after) in enumerate(widths):
        if before or after:
            dy = folded_back(dy, axis, jnp.shape(like)[axis], before, after, mode)
    return dy


def folded_back(dy, axis, size, before, after, mode):
    """dy added up along one axis to where `mode` copied it from: a sum of slices, no scatter."""
    kept = np.arange(max(0, -before), size - max(0, -after))
    source = np.pad(kept, (max(0, before), max(0, after)), mode)
    total = 0
    for first, last, step in stretches(source.tolist()):
        piece = jax.lax.slice_in_dim(dy, first, last + 1, axis=axis)
        piece = jnp.sum(piece, axis, keepdims=True) if step == 0 else jnp.flip(piece, axis) if step < 0 else piece
        low, high = sorted((source[first], source[last]))
        config = [(int(low), int(size - 1 - high), 0) if k == axis else (0, 0, 0) for k in range(jnp.ndim(dy))]
        total += jax.lax.pad(piece, jnp.zeros((), jnp.result_type(dy)), config)
    return total


def stretches(numbers):
    """[(first, last, step)]: where the numbers go on in steps of 1, 0 or -1."""
    found, first = [], 0
    while first < len(numbers):
        last, step = first, 1
        if first + 1 < len(numbers) and abs(numbers[first + 1] - numbers[first]) <= 1:
            step = numbers[first + 1] - numbers[first]
            while last + 1 < len(numbers) and numbers[last + 1] - numbers[last] == step:
                last += 1
        found.append((first, last, step))
        first = last + 1
    return found
