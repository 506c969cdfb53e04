"""Operators that move elements without changing them: reshape, transpose, repeat, blocks."""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from ..errors import GraphError
from ._registry import operator, positive_axes
from .materialize import materialize

# ---- nothing moves ------------------------------------------------------------------------------------


def identity_vjp(op, x, y, dy):
    return (dy,)


@operator("Identity", onnx=("", 14), vjp=identity_vjp, layout="same", straight_through="passes")
def identity(x):
    """x.  t[*s] -> t[*s].  ONNX Identity-14."""
    return x


def barrier_onnx(op, x, after=None):
    return op.Identity(x)


@operator("Barrier", decompose=barrier_onnx, layout="stored")
def barrier(x, after=None):
    """x, of which a compiler may assume nothing, once `after` is there.  t[*s], u[*r] -> t[*s].

    What is computed from it is not merged with the same computation elsewhere: recomputation relies on it."""
    waited = () if after is None else (after,)
    return materialize(lambda *arrays: lax.optimization_barrier(arrays)[0], x, *waited)


def zeros_like_onnx(op, x):
    return op.Expand(op.CastLike(0.0, x), op.Shape(x))


def zeros_like_vjp(op, x, y, dy):
    return (None,)


@operator("ZerosLike", decompose=zeros_like_onnx, vjp=zeros_like_vjp, layout="same")
def zeros_like(x):
    """0 everywhere.  t[*s] -> t[*s]."""
    return jnp.zeros_like(x)


# ---- other shape, same order --------------------------------------------------------------------------


def reshape_vjp(op, x, shape, y, dy):
    return op.ReshapeLike(dy, x), None


@operator("Reshape", straight_through="passes", onnx=("", 14), vjp=reshape_vjp, static=("shape",))
def reshape(x, shape, *, allowzero=0):
    """x with other sizes; -1 is what is left over, 0 keeps a size (unless allowzero).  t[*s], i64[r] -> t[*r].
    ONNX Reshape-14."""
    target, sizes = [int(d) for d in shape], jnp.shape(x)
    if not allowzero:
        beyond = [k for k, d in enumerate(target) if d == 0 and k >= len(sizes)]
        if beyond:
            raise GraphError(
                f"shape {target} keeps the size of axis {beyond[0]}, and the input has "
                f"{len(sizes)} axes; set allowzero=1 if a size of 0 is meant"
            )
        target = [sizes[k] if d == 0 else d for k, d in enumerate(target)]
    count, known = math.prod(sizes), math.prod(d for d in target if d != -1)
    fits = count == known if -1 not in target else target.count(-1) == 1 and known and count % known == 0
    if not fits or min(target, default=0) < -1:
        raise GraphError(f"{count} elements do not make a tensor of shape {[int(d) for d in shape]}")
    return jnp.reshape(x, target)


def reshape_like_onnx(op, x, like):
    return op.Reshape(x, op.Shape(like), allowzero=1)


def reshape_like_vjp(op, x, like, y, dy):
    return op.ReshapeLike(dy, x), None


@operator("ReshapeLike", decompose=reshape_like_onnx, vjp=reshape_like_vjp)
def reshape_like(x, like):
    """x in the shape of `like`.  t[*s], u[*r] -> t[*r]."""
    return jnp.reshape(x, jnp.shape(like))


def flatten_vjp(op, x, y, dy):
    return (op.ReshapeLike(dy, x),)


@operator("Flatten", onnx=("", 13), vjp=flatten_vjp, straight_through="passes")
def flatten(x, *, axis=1):
    """x as a matrix: the axes before `axis`, and the others.  t[*s] -> t[prod(s[:axis]), prod(s[axis:])].
    ONNX Flatten-13."""
    sizes = jnp.shape(x)
    if not -len(sizes) <= axis <= len(sizes):
        raise GraphError(
            f"axis {axis} is outside {-len(sizes)} to {len(sizes)}, the places where a tensor of rank "
            f"{len(sizes)} can be parted"
        )
    at = axis if axis >= 0 else axis + len(sizes)
    return jnp.reshape(x, (math.prod(sizes[:at]), math.prod(sizes[at:])))


def squeeze_vjp(op, x, axes, y, dy):
    return op.ReshapeLike(dy, x) if axes is None else op.Unsqueeze(dy, axes), None


@operator("Squeeze", straight_through="passes", onnx=("", 13), vjp=squeeze_vjp, static=("axes",))
def squeeze(x, axes=None):
    """x without these axes of size 1 (without all of them where none are given).  t[*s], i64[k] -> t[*r].
    ONNX Squeeze-13."""
    sizes = jnp.shape(x)
    if axes is None:
        return jnp.squeeze(x)
    gone = positive_axes((int(a) for a in np.ravel(axes)), len(sizes))
    wide = [a for a in gone if sizes[a] != 1]
    if wide:
        raise GraphError(f"axis {wide[0]} has size {sizes[wide[0]]}: only an axis of size 1 can be squeezed out")
    return jnp.reshape(x, [d for k, d in enumerate(sizes) if k not in gone])


def unsqueeze_vjp(op, x, axes, y, dy):
    return op.Squeeze(dy, axes), None


@operator("Unsqueeze", straight_through="passes", onnx=("", 13), vjp=unsqueeze_vjp, static=("axes",))
def unsqueeze(x, axes):
    """x with axes of size 1 that the result has at these places.  t[*s], i64[k] -> t[*r].  ONNX Unsqueeze-13."""
    axes = [int(a) for a in np.ravel(axes)]
    rank = jnp.ndim(x) + len(axes)
    new = positive_axes(axes, rank)
    if len(set(new)) < len(new):
        raise GraphError(f"axes {axes} name an axis twice, in a result of rank {rank}")
    return jnp.expand_dims(x, new)


# ---- other order --------------------------------------------------------------------------------------


def transpose_vjp(op, x, y, dy, *, perm):
    return (op.Transpose(dy) if perm is None else op.Transpose(dy, perm=tuple(int(k) for k in np.argsort(perm))),)


@operator("Transpose", onnx=("", 13), vjp=transpose_vjp, straight_through="passes")
def transpose(x, *, perm=None):
    """Axis k of the result is axis perm[k] of x; without perm the order is reversed.  t[*s] -> t[*s[perm]].
    ONNX Transpose-13."""
    rank = jnp.ndim(x)
    if perm is not None and sorted(perm) != list(range(rank)):
        raise GraphError(f"perm is {list(perm)}, expected an order of the axes 0 to {rank - 1}")
    return jnp.transpose(x, perm)


def depth_to_space_vjp(op, x, y, dy, *, blocksize, mode):
    if mode == "DCR":
        return (op.SpaceToDepth(dy, blocksize=blocksize),)
    return (blocks_in_crd(op, dy, blocksize, x.shape[1]),)


def blocks_in_crd(op, image, blocksize, channels):
    """SpaceToDepth with channels in the order (c, b, b), which only the newest opset has as an attribute."""
    order = np.arange(channels).reshape(blocksize**2, -1).T.ravel()
    return op.Gather(op.SpaceToDepth(image, blocksize=blocksize), order, axis=1)


@operator("DepthToSpace", onnx=("", 13), vjp=depth_to_space_vjp)
def depth_to_space(x, *, blocksize, mode="DCR"):
    """Channels laid out as blocks of pixels.  t[n, c*b*b, h, w] -> t[n, c, h*b, w*b]; mode DCR: channels are
    (b, b, c), CRD: (c, b, b).  ONNX DepthToSpace-13."""
    n, c, h, w = image_sizes(x)
    b = blocksize
    if c % (b * b):
        raise GraphError(f"{c} channels cannot be laid out as blocks of {b} by {b} pixels")
    if mode not in ("DCR", "CRD"):
        raise GraphError(f"mode is {mode!r}, expected 'DCR' or 'CRD'")
    split, order = (
        ((n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2))
        if mode == "DCR"
        else ((n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3))
    )
    return jnp.reshape(jnp.transpose(jnp.reshape(x, split), order), (n, c // (b * b), h * b, w * b))


def space_to_depth_vjp(op, x, y, dy, *, blocksize, mode):
    return (op.DepthToSpace(dy, blocksize=blocksize, mode=mode),)


def space_to_depth_onnx(op, x, *, blocksize, mode):
    if mode == "DCR":
        return op.SpaceToDepth(x, blocksize=blocksize)
    return blocks_in_crd(op, x, blocksize, x.shape[1] * blocksize**2)


@operator("SpaceToDepth", onnx=("", 13), vjp=space_to_depth_vjp, decompose=space_to_depth_onnx)
def space_to_depth(x, *, blocksize, mode="DCR"):
    """Blocks of pixels laid out as channels.  t[n, c, h*b, w*b] -> t[n, c*b*b, h, w]; mode DCR: channels are
    (b, b, c), CRD: (c, b, b).  ONNX SpaceToDepth-13, with the mode of 28."""
    n, c, h, w = image_sizes(x)
    b = blocksize
    if h % b or w % b:
        raise GraphError(f"an image of {h} by {w} pixels is not made of blocks of {b} by {b}")
    if mode not in ("DCR", "CRD"):
        raise GraphError(f"mode is {mode!r}, expected 'DCR' or 'CRD'")
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    blocks = jnp.transpose(jnp.reshape(x, (n, c, h // b, b, w // b, b)), order)
    return jnp.reshape(blocks, (n, c * b * b, h // b, w // b))


def image_sizes(x):
    if jnp.ndim(x) != 4:
        raise GraphError(f"expected images [n, c, h, w], got a tensor of rank {jnp.ndim(x)}")
    return jnp.shape(x)


# ---- repeated, or blanked -----------------------------------------------------------------------------


def expand_vjp(op, x, shape, y, dy):
    return op.SumLike(dy, x), None


@operator("Expand", onnx=("", 13), vjp=expand_vjp, static=("shape",))
def expand(x, shape):
    """x broadcast together with a tensor of this shape.  t[*s], i64[r] -> t[broadcast].  ONNX Expand-13."""
    return jnp.broadcast_to(x, broadcast_shape(jnp.shape(x), tuple(int(d) for d in shape)))


def broadcast_shape(one, other):
    """The shape that tensors of these shapes have after broadcasting."""
    if any(d != e and 1 not in (d, e) for d, e in zip(reversed(one), reversed(other), strict=False)):
        raise GraphError(
            f"shapes {list(one)} and {list(other)} do not broadcast: counted from the back, sizes are "
            f"equal or one of them is 1"
        )
    return jnp.broadcast_shapes(one, other)


def expand_like_onnx(op, x, like):
    return op.Expand(x, op.Shape(like))


def expand_like_vjp(op, x, like, y, dy):
    return op.SumLike(dy, x), None


@operator("ExpandLike", decompose=expand_like_onnx, vjp=expand_like_vjp)
def expand_like(x, like):
    """x broadcast to the shape of `like`.  t[*s], u[*r] -> t[*r]."""
    return jnp.broadcast_to(x, jnp.shape(like))


def tile_vjp(op, x, repeats, y, dy):
    # dy seen as [repeats[0], s[0], repeats[1], s[1], ...]: the copies lie on the even axes.
    pairs = op.Concat(op.Unsqueeze(repeats, (1,)), op.Unsqueeze(op.Shape(x), (1,)), axis=1)
    copies = op.Reshape(dy, op.Reshape(pairs, (-1,)), allowzero=1)
    return op.ReduceSum(copies, tuple(range(0, 2 * x.rank, 2)), keepdims=0), None


@operator("Tile", onnx=("", 13), vjp=tile_vjp, static=("repeats",))
def tile(x, repeats):
    """x, repeats[k] times along axis k.  t[*s], i64[rank] -> t[*(s * repeats)].  ONNX Tile-13."""
    if len(repeats) != jnp.ndim(x):
        raise GraphError(f"{len(repeats)} repeats for a tensor of rank {jnp.ndim(x)}: expected one per axis")
    return jnp.tile(x, tuple(int(r) for r in repeats))


def trilu_vjp(op, x, k, y, dy, *, upper):
    return op.Trilu(dy, k, upper=upper), None


@operator("Trilu", onnx=("", 14), vjp=trilu_vjp, static=("k",))
def trilu(x, k=None, *, upper=1):
    """The upper (or lower) triangle of each matrix, from diagonal k on; 0 elsewhere.  t[*s, n, m] -> t[*s, n, m].
    ONNX Trilu-14."""
    k = 0 if k is None else int(np.reshape(k, ()))
    return jnp.triu(x, k) if upper else jnp.tril(x, k)
