"""Picking elements by index: Gather and Scatter in their forms, ArgMax, TopK, OneHot; and CumSum.

An index may count from the end.  One that lies outside is refused where it is known when the graph is lowered;
where it is computed from data a compiled program cannot refuse it: what is gathered is then NaN (for integers the
dtype's lowest, or highest if unsigned), and what is scattered is dropped.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..dtypes import ONNX_CODES
from ..errors import GraphError
from ..graph import Value
from ._known_indices import put_back, taken
from ._registry import operator, positive_axes
from ._rows import row_by_row
from .slice_concat_pad import positions_in, sent_back


def check_indices(indices, size, where):
    """Refuse indices outside of `size` that are known already."""
    if isinstance(indices, jax.Array) or np.size(indices) == 0:
        return
    low, high = int(np.min(indices)), int(np.max(indices))
    if low < -size or high >= size:
        raise GraphError(
            f"index {low if low < -size else high} is outside {where} of size {size} ({-size} to {size - 1})"
        )


def along(x, indices, axis):
    """The index tuple of x[i, ..., indices[i, ..., j, ...], ...]; `indices` may be smaller than x on the other axes."""
    rank = jnp.ndim(x)
    (axis,) = positive_axes((axis,), rank, "axis")
    if jnp.ndim(indices) != rank:
        raise GraphError(f"indices have rank {jnp.ndim(indices)}: expected {rank}, the rank of the data")
    sizes = jnp.shape(indices)
    beyond = [k for k in range(rank) if k != axis and sizes[k] > jnp.shape(x)[k]]
    if beyond:
        raise GraphError(f"indices of shape {sizes} go beyond the data, of shape {jnp.shape(x)}, on axis {beyond[0]}")
    check_indices(indices, jnp.shape(x)[axis], f"axis {axis}")
    indices = jnp.asarray(indices)
    place = list(jnp.indices(sizes, indices.dtype, sparse=True))
    place[axis] = indices
    return tuple(place)


def _apart(axis, x, indices):
    """Does no row need another?  Indices that are known are checked, and not split."""
    return jnp.ndim(x) > 1 and axis % jnp.ndim(x) != 0 and isinstance(indices, jax.Array)


def rows(x, indices, batch_dims=0):
    """The index tuple of x[batch..., indices[..., 0], indices[..., 1], ...]."""
    rank, depth = jnp.ndim(x), jnp.shape(indices)[-1] if jnp.ndim(indices) else None
    if depth is None or batch_dims + depth > rank:
        raise GraphError(
            f"indices of shape {jnp.shape(indices)} after {batch_dims} batch axes do not address data of "
            f"rank {rank}: their last axis counts how many axes they index"
        )
    batch = jnp.indices(jnp.shape(indices)[:-1], sparse=True)[:batch_dims]
    for k in range(depth):
        check_indices(indices[..., k], jnp.shape(x)[batch_dims + k], f"axis {batch_dims + k}")
    indices = jnp.asarray(indices)
    return (*batch, *(indices[..., k] for k in range(depth)))


# ---- gathering ----------------------------------------------------------------------------------------


def gather_vjp(op, x, indices, y, dy, *, axis):
    return op.GatherGrad(dy, x, indices, axis=axis), None


@operator("Gather", onnx=("", 13), weights=("x",), index_of={"indices": ("x", "axis")}, vjp=gather_vjp)
def gather(x, indices, *, axis=0):
    """x[..., indices, ...] along axis.  t[*s], i[*q] -> t[*s[:axis], *q, *s[axis+1:]].  ONNX Gather-13."""
    (axis,) = positive_axes((axis,), jnp.ndim(x), "axis")
    check_indices(indices, jnp.shape(x)[axis], f"axis {axis}")
    found = taken(x, indices, axis)
    return jnp.take(x, jnp.asarray(indices), axis, mode="fill") if found is None else found


def _int64(op, indices):
    """ONNX's ScatterND takes no other indices; Gather does."""
    return indices if indices.dtype == "int64" else op.Cast(indices, to=ONNX_CODES["int64"])


def gather_grad_onnx(op, dy, like, indices, *, axis):
    # ScatterND works on the leading axes: the gathered ones are brought there, and back.
    known = not isinstance(indices, Value)
    gathered = np.ndim(indices) if known else indices.rank
    places = np.asarray(indices, np.int64)[..., None] if known else op.Unsqueeze(_int64(op, indices), (-1,))
    axis %= like.rank
    if known and gathered == 0 and isinstance(like.shape[axis], int):
        before, after = [0] * like.rank, [0] * like.rank
        before[axis] = int(indices) % like.shape[axis]
        after[axis] = like.shape[axis] - 1 - before[axis]
        return op.Pad(op.Unsqueeze(dy, (axis,)), (*before, *after))
    if axis == 0:
        return op.ScatterND(op.ZerosLike(like), places, dy, reduction="add")
    order = (axis, *(k for k in range(like.rank) if k != axis))
    order_dy = (*range(axis, axis + gathered), *range(axis), *range(axis + gathered, dy.rank))
    first = op.ScatterND(
        op.Transpose(op.ZerosLike(like), perm=order), places, op.Transpose(dy, perm=order_dy), reduction="add"
    )
    return op.Transpose(first, perm=tuple(int(k) for k in np.argsort(order)))


def gather_grad_vjp(op, dy, like, indices, dx, ddx, *, axis):
    return op.Gather(ddx, indices, axis=axis), None, None


@operator("GatherGrad", decompose=gather_grad_onnx, vjp=gather_grad_vjp)
def gather_grad(dy, like, indices, *, axis=0):
    """dy added where Gather took it from.  f[*s[:axis], *q, *s[axis+1:]], f[*s], i[*q] -> f[*s]."""
    (axis,) = positive_axes((axis,), jnp.ndim(like), "axis")
    found = put_back(dy, jnp.shape(like)[axis], indices, axis)
    if found is not None:
        return found
    place = (*[slice(None)] * axis, jnp.asarray(indices))  # as a NumPy int64 it would meet sizes of 32 bits
    return jnp.zeros(jnp.shape(like), jnp.result_type(dy)).at[place].add(dy)


def gather_elements_vjp(op, x, indices, y, dy, *, axis):
    return op.ScatterElements(op.ZerosLike(x), indices, dy, axis=axis % x.rank, reduction="add"), None


@operator("GatherElements", onnx=("", 13), vjp=gather_elements_vjp)
def gather_elements(x, indices, *, axis=0):
    """y[i, j] = x[indices[i, j], j] for axis 0, and so on.  t[*s], i[*r] -> t[*r].  ONNX GatherElements-13."""
    found = lambda x, indices: jnp.asarray(x).at[along(x, indices, axis)].get(mode="fill")
    return row_by_row(found, x, indices) if _apart(axis, x, indices) else found(x, indices)


def gather_nd_vjp(op, x, indices, y, dy, *, batch_dims):
    if batch_dims == 0:
        return op.ScatterND(op.ZerosLike(x), indices, dy, reduction="add"), None
    return sent_back(op, dy, x, op.GatherND(positions_in(op, x), indices, batch_dims=batch_dims)), None


@operator("GatherND", onnx=("", 13), vjp=gather_nd_vjp)
def gather_nd(x, indices, *, batch_dims=0):
    """y[b, i] = x[b, indices[b, i, 0], indices[b, i, 1], ...].  t[*b, *s], i[*b, *q, k] -> t[*b, *q, *s[k:]].
    ONNX GatherND-13."""
    found = lambda x, indices: jnp.asarray(x).at[rows(x, indices, batch_dims)].get(mode="fill")
    return row_by_row(found, x, indices) if batch_dims and isinstance(indices, jax.Array) else found(x, indices)


# ---- scattering ---------------------------------------------------------------------------------------


def scattered(x, place, updates, reduction):
    at = jnp.asarray(x).at[place]
    if reduction == "none":
        return at.set(updates)
    if reduction not in ("add", "mul", "max", "min"):
        raise GraphError(f"reduction is {reduction!r}, expected 'none', 'add', 'mul', 'max' or 'min'")
    return getattr(at, {"mul": "multiply"}.get(reduction, reduction))(updates)


def joined_shares(op, gather, scatter, x, updates, y, dy, reduction):
    """(dx, d updates) where several numbers that meet in a place are multiplied, or the largest (smallest) stays.

    gather(v): what of v lies where the updates went; scatter(v, u, reduction): v and u joined there.
    The largest (smallest) of several equal ones share evenly, as in torch; products have their slope at 0 too.
    """
    if reduction in ("max", "min"):
        stayed, arrived = (op.CastLike(op.Equal(v, at), dy) for v, at in ((x, y), (updates, gather(y))))
        each = op.Div(dy, scatter(stayed, arrived, "add"))
        return op.Mul(each, stayed), op.Mul(gather(each), arrived)
    zero_x, zero_u = op.Equal(x, 0.0), op.Equal(updates, 0.0)
    safe_x, safe_u = op.Where(zero_x, 1.0, x), op.Where(zero_u, 1.0, updates)
    zeros = scatter(op.CastLike(zero_x, dy), op.CastLike(zero_u, dy), "add")
    product = op.Mul(scatter(safe_x, safe_u, "mul"), dy)

    def share(product, zeros, zero, safe):
        others = op.Sub(zeros, op.CastLike(zero, zeros))
        return op.Where(op.Equal(others, 0.0), op.Div(product, safe), 0.0)

    return share(product, zeros, zero_x, safe_x), share(gather(product), gather(zeros), zero_u, safe_u)


def scatter_elements_vjp(op, x, indices, updates, y, dy, *, axis, reduction):
    axis %= x.rank
    gather = lambda v: op.GatherElements(v, indices, axis=axis)
    if reduction in ("none", "add"):
        kept = op.ScatterElements(dy, indices, op.ZerosLike(updates), axis=axis) if reduction == "none" else dy
        return kept, None, gather(dy)
    scatter = lambda v, u, how: op.ScatterElements(v, indices, u, axis=axis, reduction=how)
    dx, d_updates = joined_shares(op, gather, scatter, x, updates, y, dy, reduction)
    return dx, None, d_updates


@operator("ScatterElements", onnx=("", 18), formerly=("Scatter",), vjp=scatter_elements_vjp)
def scatter_elements(x, indices, updates, *, axis=0, reduction="none"):
    """x, and x[indices[i, j], j] = updates[i, j] for axis 0, and so on.  t[*s], i[*r], t[*r] -> t[*s].
    reduction: none, where an index may not come twice, or how an update joins what is there: add, mul, max, min.
    ONNX ScatterElements-18."""
    found = lambda x, indices, updates: scattered(x, along(x, indices, axis), updates, reduction)
    return row_by_row(found, x, indices, updates) if _apart(axis, x, indices) else found(x, indices, updates)


def scatter_nd_vjp(op, x, indices, updates, y, dy, *, reduction):
    gather = lambda v: op.GatherND(v, indices)
    if reduction in ("none", "add"):
        kept = op.ScatterND(dy, indices, op.ZerosLike(updates)) if reduction == "none" else dy
        return kept, None, gather(dy)
    scatter = lambda v, u, how: op.ScatterND(v, indices, u, reduction=how)
    dx, d_updates = joined_shares(op, gather, scatter, x, updates, y, dy, reduction)
    return dx, None, d_updates


@operator("ScatterND", onnx=("", 18), vjp=scatter_nd_vjp)
def scatter_nd(x, indices, updates, *, reduction="none"):
    """x, and x[indices[i, 0], indices[i, 1], ...] = updates[i].  t[*s], i[*q, k], t[*q, *s[k:]] -> t[*s].
    reduction: none, where an index may not come twice, or how an update joins what is there: add, mul, max, min.
    ONNX ScatterND-18."""
    return scattered(x, rows(x, indices), updates, reduction)


# ---- searching ----------------------------------------------------------------------------------------


def extreme(find, x, axis, keepdims, select_last_index):
    (axis,) = positive_axes((axis,), jnp.ndim(x), "axis")
    if select_last_index:
        found = jnp.shape(x)[axis] - 1 - find(jnp.flip(x, axis), axis=axis, keepdims=bool(keepdims))
    else:
        found = find(x, axis=axis, keepdims=bool(keepdims))
    return found.astype(jax.dtypes.canonicalize_dtype(np.int64))


@operator("ArgMax", onnx=("", 13))
def arg_max(x, *, axis=0, keepdims=1, select_last_index=0):
    """The index of the largest along axis; of several the first, or the last.  t[*s] -> i64[*r].  ONNX ArgMax-13."""
    return extreme(jnp.argmax, x, axis, keepdims, select_last_index)


@operator("ArgMin", onnx=("", 13))
def arg_min(x, *, axis=0, keepdims=1, select_last_index=0):
    """The index of the smallest along axis; of several the first, or the last.  t[*s] -> i64[*r].  ONNX ArgMin-13."""
    return extreme(jnp.argmin, x, axis, keepdims, select_last_index)


def top_k_vjp(op, x, k, values, indices, d_values, d_indices, *, axis):
    if d_values is None:
        return None, None
    return op.ScatterElements(op.ZerosLike(x), indices, d_values, axis=axis % x.rank), None


@operator("TopK", onnx=("", 11), vjp=top_k_vjp, static=("k",), outputs=2, residual_outputs=(1,))
def top_k(x, k, *, axis=-1, largest=1, sorted=1):
    """The k largest (or smallest) along axis, in order, and where they were; of equal ones the first comes first.
    k: one number, [k] in ONNX.  t[*s], i64[1] -> t[*r], i64[*r].  ONNX TopK-11."""
    (axis,) = positive_axes((axis,), jnp.ndim(x), "axis")
    k = int(np.reshape(k, ()))
    if not 0 <= k <= jnp.shape(x)[axis]:
        raise GraphError(f"k is {k}, expected 0 to {jnp.shape(x)[axis]}, the size of axis {axis}")
    x = jnp.moveaxis(x, axis, -1)
    # For the smallest, an order turned round: ~ is what - is, without the overflow at the lowest integer.
    turn = (lambda a: a) if largest else jnp.negative if jnp.issubdtype(x.dtype, jnp.floating) else jnp.invert
    best = lambda x: tuple(jax.lax.top_k(turn(x), k))
    values, indices = row_by_row(best, x) if x.ndim > 1 else best(x)
    indices = indices.astype(jax.dtypes.canonicalize_dtype(np.int64))
    return jnp.moveaxis(turn(values), -1, axis), jnp.moveaxis(indices, -1, axis)


@operator("NonZero", onnx=("", 13), static=("x",))
def non_zero(x):
    """The indices of what is not zero, a column for each; x must be a compile-time constant, for it decides
    the shape.  t[*s] -> i64[rank, n].  ONNX NonZero-13."""
    return np.asarray(np.nonzero(np.atleast_1d(x)), jax.dtypes.canonicalize_dtype(np.int64))


# ---- one-hot and running sums -------------------------------------------------------------------------


def one_hot_vjp(op, indices, depth, values, y, dy, *, axis):
    hot = op.OneHot(indices, depth, op.CastLike((0, 1), dy), axis=axis)
    on = op.ReduceSum(op.Mul(dy, hot))
    off = op.ReduceSum(op.Mul(dy, op.Sub(1.0, hot)))
    return None, None, op.Concat(*(op.Reshape(d, (1,)) for d in (off, on)), axis=0)


@operator("OneHot", onnx=("", 11), settings=("values",), vjp=one_hot_vjp, static=("depth",))
def one_hot(indices, depth, values, *, axis=-1):
    """values[1] where the new axis's index is the one given, values[0] elsewhere (an index outside is nowhere).
    t[*s], i64[], u[2] -> u[*s, depth].  ONNX OneHot-11."""
    (at,) = positive_axes((axis,), jnp.ndim(indices) + 1, "axis")
    depth = int(np.reshape(depth, ()))
    indices = jnp.expand_dims(indices, at)
    classes = jnp.reshape(jnp.arange(depth), [depth if k == at else 1 for k in range(indices.ndim)])
    hot = (indices == classes) | (indices + depth == classes)
    return jnp.where(hot, values[1], values[0])


def cum_sum_vjp(op, x, axis, y, dy, *, exclusive, reverse):
    return op.CumSum(dy, axis, exclusive=exclusive, reverse=0 if reverse else 1), None


@operator("CumSum", onnx=("", 11), vjp=cum_sum_vjp, static=("axis",))
def cum_sum(x, axis, *, exclusive=0, reverse=0):
    """Running sums along axis, each with its own element (unless exclusive), or from the end.  t[*s], i64[] -> t[*s].
    ONNX CumSum-11."""
    (axis,) = positive_axes((int(np.reshape(axis, ())),), jnp.ndim(x), "axis")
    if reverse:
        x = jnp.flip(x, axis)
    if exclusive:
        config = [(1, -1, 0) if k == axis else (0, 0, 0) for k in range(jnp.ndim(x))]
        x = jax.lax.pad(x, jnp.zeros((), jnp.result_type(x)), config)
    y = jnp.cumsum(x, axis, dtype=jnp.result_type(x))
    return jnp.flip(y, axis) if reverse else y
