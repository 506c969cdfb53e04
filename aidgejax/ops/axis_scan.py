"""Where elements go along an axis: sequences turned round, caches written to, a condition's choice, a centred window;
and running products.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._eager import EagerBuilder
from ._recurrence import scanned, unrolled
from ._registry import operator, positive_axes

# ---- sequences ----------------------------------------------------------------------------------------


def reverse_sequence_vjp(op, x, sequence_lens, y, dy, *, batch_axis, time_axis):
    return op.ReverseSequence(dy, sequence_lens, batch_axis=batch_axis, time_axis=time_axis), None


@operator("ReverseSequence", onnx=("", 10), vjp=reverse_sequence_vjp)
def reverse_sequence(x, sequence_lens, *, batch_axis=1, time_axis=0):
    """The first sequence_lens[n] steps of sequence n in reverse order, the others as they are.  t[t, n, *s], i64[n] ->
    t[t, n, *s]; the axes of time and batch are 0 and 1, either way.  ONNX ReverseSequence-10."""
    if {batch_axis, time_axis} != {0, 1}:
        raise GraphError(f"batch_axis is {batch_axis} and time_axis {time_axis}: one is 0, the other 1")
    time = jnp.arange(jnp.shape(x)[time_axis])
    lens = jnp.asarray(sequence_lens)[None, :]
    source = jnp.where(time[:, None] < lens, lens - 1 - time[:, None], time[:, None])
    rows = jnp.moveaxis(jnp.asarray(x), batch_axis, 0)
    taken = jax.vmap(lambda row, order: row[order])(rows, source.T)  # so that devices keep their rows
    return jnp.moveaxis(taken, 0, batch_axis)


# ---- caches -------------------------------------------------------------------------------------------


def tensor_scatter_vjp(op, past_cache, update, write_indices, y, dy, *, mode, axis):
    """The cache: what was not overwritten; the update: what was taken from it."""
    axis %= past_cache.rank
    d_past = op.TensorScatter(dy, op.ZerosLike(update), write_indices, mode=mode, axis=axis)
    length = op.Shape(update, start=axis, end=axis + 1)
    if write_indices is None:
        return d_past, op.Slice(dy, (0,), length, (axis,)), None
    steps = op.Add(op.Unsqueeze(write_indices, (1,)), op.Range(0, op.Squeeze(length, (0,)), 1))
    if mode == "circular":
        steps = op.Mod(steps, op.Shape(past_cache, start=axis, end=axis + 1))
    order = (0, axis, *(k for k in range(1, past_cache.rank) if k != axis))
    taken = op.GatherND(op.Transpose(dy, perm=order), op.Unsqueeze(steps, (2,)), batch_dims=1)
    return d_past, op.Transpose(taken, perm=tuple(int(k) for k in np.argsort(order))), None


@operator("TensorScatter", onnx=("", 24), vjp=tensor_scatter_vjp)
def tensor_scatter(past_cache, update, write_indices=None, *, mode="linear", axis=-2):
    """past_cache with update written over it along axis, in row n from write_indices[n] on (or from 0).  t[n, *s],
    t[n, *r], i64[n] -> t[n, *s]; mode circular goes on at the beginning.  ONNX TensorScatter-24."""
    (at,) = positive_axes((axis,), jnp.ndim(past_cache), "axis")
    if at == 0 or mode not in ("linear", "circular"):
        raise GraphError(
            f"axis is {axis} and mode {mode!r}: expected an axis other than that of the batch, and "
            f"'linear' or 'circular'"
        )
    cache, new = (jnp.moveaxis(jnp.asarray(t), at, 1) for t in (past_cache, update))
    if new.shape[1] > cache.shape[1] or (new.shape[0], *new.shape[2:]) != (cache.shape[0], *cache.shape[2:]):
        raise GraphError(
            f"an update of shape {list(jnp.shape(update))} does not fit a cache of "
            f"{list(jnp.shape(past_cache))}: only axis {at} may differ, and be shorter"
        )
    first = jnp.zeros(cache.shape[0], int) if write_indices is None else jnp.asarray(write_indices)
    steps = first[:, None] + jnp.arange(new.shape[1])
    steps = steps % cache.shape[1] if mode == "circular" else steps
    written = jax.vmap(lambda row, places, numbers: row.at[places].set(numbers))  # so that devices keep their rows
    return jnp.moveaxis(written(cache, steps, new), 1, at)


# ---- by a condition, by a size ------------------------------------------------------------------------


def compress_vjp(op, x, condition, y, dy, *, axis):
    chosen = op.Squeeze(op.NonZero(condition), (0,))
    if axis is None:
        flat = op.GatherGrad(dy, op.Reshape(x, (-1,)), chosen, axis=0)
        return op.ReshapeLike(flat, x), None
    return op.GatherGrad(dy, x, chosen, axis=axis % x.rank), None


@operator("Compress", onnx=("", 11), vjp=compress_vjp, static=("condition",))
def compress(x, condition, *, axis=None):
    """What of x, along axis or of the flattened x, the condition says; it must be a compile-time constant, for
    it decides the shape.  t[*s], bool[k] -> t[*r].  ONNX Compress-11."""
    x = jnp.reshape(x, -1) if axis is None else jnp.asarray(x)
    (at,) = positive_axes((axis or 0,), x.ndim, "axis")
    chosen = np.flatnonzero(condition)
    if chosen.size and chosen[-1] >= x.shape[at]:
        raise GraphError(f"the condition chooses element {chosen[-1]} of axis {at}, of size {x.shape[at]}")
    return jnp.take(x, chosen, at)


def center_crop_pad_vjp(op, x, shape, y, dy, *, axes):
    sizes = (
        op.Shape(x)
        if axes is None
        else op.Concat(*(op.Shape(x, start=a % x.rank, end=a % x.rank + 1) for a in axes), axis=0)
    )
    return op.CenterCropPad(dy, sizes, axes=axes), None


@operator("CenterCropPad", onnx=("", 18), vjp=center_crop_pad_vjp, static=("shape",))
def center_crop_pad(x, shape, *, axes=None):
    """The middle of x, or x in the middle of zeros, of this shape (along axes).  t[*s], i64[k] -> t[*r].  An odd
    remainder is cut, or put, at the end.  ONNX CenterCropPad-18."""
    axes = positive_axes(range(jnp.ndim(x)) if axes is None else axes, jnp.ndim(x))
    if len(axes) != len(shape):
        raise GraphError(f"{len(shape)} sizes for {len(axes)} axes: expected one each")
    config = [(0, 0, 0)] * jnp.ndim(x)
    for a, size in zip(axes, shape, strict=True):
        more = int(size) - jnp.shape(x)[a]
        before = abs(more) // 2 * (1 if more > 0 else -1)
        config[a] = (before, more - before, 0)
    return jax.lax.pad(x, jnp.zeros((), jnp.result_type(x)), config)


# ---- running products ---------------------------------------------------------------------------------


def cum_prod_vjp(op, x, axis, y, dy, *, exclusive, reverse):
    return op.CumProdGrad(dy, x, axis, exclusive=exclusive, reverse=reverse), None


@operator(
    "CumProd",
    onnx=("", 26),
    gradient_exports="yes, step by step: the axis is a number in the node",
    vjp=cum_prod_vjp,
    static=("axis",),
)
def cum_prod(x, axis, *, exclusive=0, reverse=0):
    """Running products along axis, each with its own element (unless exclusive), or from the end.  t[*s], i64[] ->
    t[*s].  ONNX CumProd-26."""
    (axis,) = positive_axes((int(np.reshape(axis, ())),), jnp.ndim(x), "axis")
    x = jnp.flip(x, axis) if reverse else jnp.asarray(x)
    if exclusive:
        config = [(1, -1, 0) if k == axis else (0, 0, 0) for k in range(x.ndim)]
        x = jax.lax.pad(x, jnp.ones((), x.dtype), config)
    y = jnp.cumprod(x, axis, dtype=x.dtype)
    return jnp.flip(y, axis) if reverse else y


def cum_prod_back(op, loop, dy, x, axis, exclusive, reverse):
    """dx[i] = (product before i) (sum over j >= i of dy[j] x[i + 1] ... x[j]): the sum is a recurrence from the end,
    and nothing is divided, so that x may be 0."""
    axis %= len(x.shape)
    order = (axis, *(k for k in range(len(x.shape)) if k != axis))
    steps = x.shape[axis]
    x, dy = op.Transpose(x, perm=order), op.Transpose(dy, perm=order)
    before = op.CumProd(x, 0, exclusive=1, reverse=reverse)

    def step(carry, now):
        (later,), (d, x) = carry, now
        here = later if exclusive else op.Add(d, later)
        return (op.Add(d, op.Mul(x, here)) if exclusive else op.Mul(x, here),), (here,)

    zero = op.ZerosLike(op.Gather(x, 0, axis=0))
    _, (sums,) = loop(op, step, (zero,), (dy, x), not reverse, steps)
    return op.Transpose(op.Mul(before, sums), perm=tuple(int(k) for k in np.argsort(order)))


def cum_prod_grad_onnx(op, dy, x, axis, *, exclusive, reverse):
    if not isinstance(axis, int):
        raise GraphError(
            "the gradient of CumProd is written step by step, which needs its axis as a number in the node"
        )
    return cum_prod_back(op, unrolled, dy, x, axis, exclusive, reverse)


@operator("CumProdGrad", decompose=cum_prod_grad_onnx, static=("axis",))
def cum_prod_grad(dy, x, axis, *, exclusive=0, reverse=0):
    """dL/dx of CumProd, also where x is 0.  f[*s], f[*s], i64[] -> f[*s]; in a file, step by step."""
    return cum_prod_back(EagerBuilder(), scanned, dy, x, int(np.reshape(axis, ())), exclusive, reverse)
