"""Picking elements by index, one at a time. NumPy."""

import numpy as np

from ._definition import backward, define


@define("Gather")
def gather(x, indices, *, axis=0):
    return np.take(x, indices, axis)


@backward("Gather")
def gather_backward(x, indices, y, dy, *, axis=0):
    return gather_grad(dy, x, indices, axis=axis), None


@define("GatherGrad")
def gather_grad(dy, like, indices, *, axis=0):
    axis %= like.ndim
    dx = np.zeros(like.shape, dy.dtype)
    front, indices = np.moveaxis(dx, axis, 0), np.asarray(indices)
    for at in np.ndindex(indices.shape):
        front[indices[at]] += dy[(slice(None),) * axis + at]
    return dx


def place(at, indices, axis):
    """The element that position `at` of `indices` names."""
    named = list(at)
    named[axis] = int(indices[at])
    return tuple(named)


@define("GatherElements")
def gather_elements(x, indices, *, axis=0):
    y = np.zeros(indices.shape, x.dtype)
    for at in np.ndindex(indices.shape):
        y[at] = x[place(at, indices, axis)]
    return y


@backward("GatherElements")
def gather_elements_backward(x, indices, y, dy, *, axis=0):
    dx = np.zeros_like(x)
    for at in np.ndindex(indices.shape):
        dx[place(at, indices, axis)] += dy[at]
    return dx, None


@define("GatherND")
def gather_nd(x, indices, *, batch_dims=0):
    depth = indices.shape[-1]
    y = np.zeros(indices.shape[:-1] + x.shape[batch_dims + depth :], x.dtype)
    for at in np.ndindex(indices.shape[:-1]):
        y[at] = x[at[:batch_dims] + tuple(indices[at])]
    return y


@backward("GatherND")
def gather_nd_backward(x, indices, y, dy, *, batch_dims=0):
    dx = np.zeros_like(x)
    for at in np.ndindex(indices.shape[:-1]):
        dx[at[:batch_dims] + tuple(indices[at])] += dy[at]
    return dx, None


JOIN = {"none": lambda old, new: new, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


@define("ScatterElements")
def scatter_elements(x, indices, updates, *, axis=0, reduction="none"):
    y = x.copy()
    for at in np.ndindex(indices.shape):
        named = place(at, indices, axis)
        y[named] = JOIN[reduction](y[named], updates[at])
    return y


@backward("ScatterElements")
def scatter_elements_backward(x, indices, updates, y, dy, *, axis=0, reduction="none"):
    dx, d_updates = dy.copy(), np.zeros_like(updates)
    for at in np.ndindex(indices.shape):
        named = place(at, indices, axis)
        d_updates[at] = dy[named]
        if reduction == "none":
            dx[named] = 0
    return dx, None, d_updates


@define("ScatterND")
def scatter_nd(x, indices, updates, *, reduction="none"):
    y = x.copy()
    for at in np.ndindex(indices.shape[:-1]):
        named = tuple(indices[at])
        y[named] = JOIN[reduction](y[named], updates[at])
    return y


@backward("ScatterND")
def scatter_nd_backward(x, indices, updates, y, dy, *, reduction="none"):
    dx, d_updates = dy.copy(), np.zeros_like(updates)
    for at in np.ndindex(indices.shape[:-1]):
        d_updates[at] = dy[tuple(indices[at])]
        if reduction == "none":
            dx[tuple(indices[at])] = 0
    return dx, None, d_updates


def extreme(find, x, axis, keepdims, select_last_index):
    if select_last_index:
        found = x.shape[axis] - 1 - find(np.flip(x, axis), axis)
    else:
        found = find(x, axis)
    return np.expand_dims(found, axis) if keepdims else np.asarray(found)


@define("ArgMax")
def arg_max(x, *, axis=0, keepdims=1, select_last_index=0):
    return extreme(np.argmax, x, axis, keepdims, select_last_index)


@define("ArgMin")
def arg_min(x, *, axis=0, keepdims=1, select_last_index=0):
    return extreme(np.argmin, x, axis, keepdims, select_last_index)


@define("TopK")
def top_k(x, k, *, axis=-1, largest=1, sorted=1):
    size = x.shape[axis]
    if largest:  # the last of a stable order of the reversed axis: of equal ones the first comes first
        order = size - 1 - np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis, kind="stable")
    order = np.take(order, range(int(np.asarray(k).reshape(()))), axis)
    return np.take_along_axis(x, order, axis), order


@backward("TopK")
def top_k_backward(x, k, values, indices, d_values, d_indices, *, axis=-1):
    dx = np.zeros_like(x)
    np.put_along_axis(dx, indices, d_values, axis)
    return dx, None


@define("NonZero")
def non_zero(x):
    return np.asarray(np.nonzero(np.atleast_1d(x)), np.int64)


@define("OneHot")
def one_hot(indices, depth, values, *, axis=-1):
    depth = int(np.asarray(depth).reshape(()))
    y = np.full((*np.shape(indices), depth), values[0], values.dtype)
    for at in np.ndindex(np.shape(indices)):
        if -depth <= indices[at] < depth:
            y[(*at, int(indices[at]))] = values[1]
    return np.moveaxis(y, -1, axis)


@backward("OneHot")
def one_hot_backward(indices, depth, values, y, dy, *, axis=-1):
    hot = one_hot(indices, depth, np.array([False, True]), axis=axis)
    return None, None, np.array([dy[~hot].sum(), dy[hot].sum()], values.dtype)


@define("CumSum")
def cum_sum(x, axis, *, exclusive=0, reverse=0):
    y, axis = np.zeros_like(x), int(np.asarray(axis).reshape(()))
    source, target = np.moveaxis(x, axis, 0), np.moveaxis(y, axis, 0)
    total = np.zeros_like(source[:1].sum(axis=0))
    for k in reversed(range(len(source))) if reverse else range(len(source)):
        target[k] = total if exclusive else total + source[k]
        total = total + source[k]
    return y


@backward("CumSum")
def cum_sum_backward(x, axis, y, dy, *, exclusive=0, reverse=0):
    return cum_sum(dy, axis, exclusive=exclusive, reverse=not reverse), None
