"""singa.autograd's operations that multiply, reduce, move, cut and join."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from ...errors import GraphError
from ._ctensor import raw
from ._elementwise import TO_FLOAT, TO_INT
from ._errors import DoesNotFit, NotATensor
from ._operation import Built, Operator, apply
from ._tensor import Tensor

__all__ = [
    "add_bias",
    "cat",
    "constant_of_shape",
    "cossim",
    "depth_to_space",
    "embedding",
    "expand",
    "flatten",
    "gather",
    "gemm",
    "matmul",
    "nonzero",
    "onehot",
    "pad",
    "reduce_mean",
    "reduce_sum",
    "reshape",
    "scatter_elements",
    "shape",
    "slice",
    "space_to_depth",
    "split",
    "squeeze",
    "tile",
    "transpose",
    "unsqueeze",
    "upsample",
]


def _ints(values: Any) -> tuple[int, ...]:
    """Sizes, axes or repeats, given as an integer, a list, an array or a Tensor."""
    return tuple(int(v) for v in np.atleast_1d(np.asarray(raw(values))))


def _indices(values: Any) -> Any:
    return values if isinstance(values, Tensor) else jnp.asarray(raw(values))


# ---- products -----------------------------------------------------------------------------------------


def _matmul(op: Any, x: Any, w: Any) -> Any:
    if x.rank < 2 or w.rank < 2 or x.shape[-1] != w.shape[-2]:
        raise GraphError(f"a product needs the last axis of {x} to be as long as the last but one of {w}")
    return op.MatMul(x, w)


def matmul(x: Tensor, w: Tensor) -> Tensor:
    """x @ w; leading axes are a batch."""
    return apply("Matmul", _matmul, x, w)


def _add_bias(op: Any, x: Any, b: Any, axis: int) -> Any:
    long = x.shape[-1] if axis == 0 else x.shape[0]
    if x.rank < 2 or axis not in (0, 1) or math.prod(b.shape) != long or max(b.shape, default=0) != long:
        raise GraphError(
            f"a bias added along axis {axis} (0 or 1) of {x} has shape [{long}] or "
            f"{[1, long] if axis == 0 else [long, 1]}; got {b}"
        )
    return op.Add(x, b if axis == 0 else op.Reshape(b, (long, *(1,) * (x.rank - 1))))


def add_bias(x: Tensor, b: Tensor, axis: int = 0) -> Tensor:
    """b, of shape (n,) or (1, n), added to every row of x; with axis=1 to every column."""
    return apply("AddBias", _add_bias, x, b, axis=int(axis))


def _gemm(op: Any, a: Any, b: Any, c: Any = None, **attributes: Any) -> Any:
    return op.Gemm(a, b, c, **attributes)


def gemm(
    A: Tensor,
    B: Tensor,
    C: Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """alpha * A' @ B' + beta * C; a prime transposes where transA, transB say so."""
    return apply(
        "Gemm",
        _gemm,
        A,
        B,
        *(() if C is None else (C,)),
        alpha=float(alpha),
        beta=float(beta),
        transA=int(transA),
        transB=int(transB),
    )


def _cossim(op: Any, a: Any, b: Any) -> Any:
    dot = lambda x, y: op.ReduceSum(op.Mul(x, y), (-1,), keepdims=0)  # noqa: E731
    return op.Div(dot(a, b), op.Sqrt(op.Mul(dot(a, a), dot(b, b))))


def cossim(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of the angle between corresponding rows."""
    return apply("CosSim", _cossim, a, b)


def _embedding(op: Any, x: Any, w: Any) -> Any:
    return op.Gather(w, op.Cast(x, to=TO_INT), axis=0)


def embedding(x: Tensor, w: Tensor) -> Tensor:
    """The rows of w that x names."""
    return apply("Embedding", _embedding, x, w)


# ---- reductions ---------------------------------------------------------------------------------------


def _reduce(op: Any, x: Any, onnx: str, axes: tuple | None, keepdims: int) -> Any:
    axes = axes or tuple(range(x.rank))
    y = getattr(op, onnx)(x, axes, keepdims=keepdims)
    everything = len({a % x.rank for a in axes}) == x.rank
    return op.Reshape(y, (1,)) if everything and not keepdims else y


def reduce_sum(x: Tensor, axes: Any = None, keepdims: int = 1) -> Tensor:
    """The sum over axes (all by default).  There are no scalars: what is left of everything is (1,)."""
    return apply(
        "ReduceSum", _reduce, x, onnx="ReduceSum", axes=None if axes is None else _ints(axes), keepdims=int(keepdims)
    )


def reduce_mean(x: Tensor, axes: Any = None, keepdims: int = 1) -> Tensor:
    """The mean over axes (all by default)."""
    return apply(
        "ReduceMean", _reduce, x, onnx="ReduceMean", axes=None if axes is None else _ints(axes), keepdims=int(keepdims)
    )


# ---- another shape ------------------------------------------------------------------------------------


def _reshape(op: Any, x: Any, shape: tuple) -> Any:
    return op.Reshape(x, shape)


def reshape(x: Tensor, shape: Any) -> Tensor:
    """The same elements in another shape; 0 copies a size, -1 takes what is left."""
    return apply("Reshape", _reshape, x, shape=_ints(shape))


def _flatten(op: Any, x: Any, axis: int) -> Any:
    return op.Flatten(x, axis=axis)


def flatten(x: Tensor, axis: int = 1) -> Tensor:
    """Two axes: those before `axis`, and those from it on."""
    return apply("Flatten", _flatten, x, axis=int(axis))


def _squeeze(op: Any, x: Any, axes: tuple) -> Any:
    return op.Squeeze(x, axes or None)


def squeeze(x: Tensor, axis: Any = ()) -> Tensor:
    """Without these axes of size 1; by default without any such."""
    return apply("Squeeze", _squeeze, x, axes=() if axis is None or np.size(axis) == 0 else _ints(axis))


def _unsqueeze(op: Any, x: Any, axes: tuple) -> Any:
    return op.Unsqueeze(x, axes)


def unsqueeze(x: Tensor, axis: Any = -1) -> Tensor:
    """With new axes of size 1."""
    return apply("Unsqueeze", _unsqueeze, x, axes=_ints(axis))


def _transpose(op: Any, x: Any, perm: tuple | None) -> Any:
    return op.Transpose(x, perm=perm)


def transpose(x: Tensor, shape: Any = None) -> Tensor:
    """The axes in the order `shape` (that is SINGA's name for them)."""
    return apply("Transpose", _transpose, x, perm=None if shape is None else _ints(shape))


def _expand(op: Any, x: Any, shape: tuple) -> Any:
    return op.Expand(x, shape)


def expand(x: Tensor, shape: Any) -> Tensor:
    """x broadcast with `shape`."""
    return apply("Expand", _expand, x, shape=_ints(shape))


def _tile(op: Any, x: Any, repeats: tuple) -> Any:
    if len(repeats) > x.rank:
        x = op.Unsqueeze(x, tuple(range(len(repeats) - x.rank)))
        return op.Tile(x, repeats)
    return op.Tile(x, (1,) * (x.rank - len(repeats)) + repeats)


def tile(x: Tensor, repeats: Any) -> Tensor:
    """x beside itself, `repeats` times along each axis."""
    return apply("Tile", _tile, x, repeats=_ints(repeats))


def _pad(op: Any, x: Any, mode: str, pads: tuple, constant: float) -> Any:
    return op.Pad(x, pads, constant if mode == "constant" else None, mode=mode)


def pad(x: Tensor, mode: str, pads: Any, constant: float = 0.0) -> Tensor:
    """More elements around x; mode: constant, reflect or edge; pads: all the starts, then all the ends."""
    return apply("Pad", _pad, x, mode=mode, pads=_ints(pads), constant=float(constant))


def _upsample(op: Any, x: Any, scales: tuple) -> Any:
    y = op.Identity(x)
    for axis, scale in enumerate(scales):
        if scale != 1:
            size = math.floor(x.shape[axis] * scale)
            y = op.Gather(
                y, np.minimum(np.floor(np.arange(size) / scale), x.shape[axis] - 1).astype(np.int64), axis=axis
            )
    return y


def upsample(x: Tensor, mode: str, scales: Any) -> Tensor:
    """x enlarged by repeating its elements; one scale per axis, of which those of batch and channels are 1."""
    if mode.lower() != "nearest":
        raise DoesNotFit(f"upsample of {x.name}: mode is {mode!r}; only 'nearest' exists")
    scales = tuple(float(s) for s in np.atleast_1d(np.asarray(raw(scales))))
    if len(scales) != x.ndim() or min(scales) < 1:
        raise DoesNotFit(
            f"upsample of {x.name}:{list(x.shape)}: scales are {scales}; expected one of at least 1 per axis"
        )
    return apply("UpSample", _upsample, x, scales=scales)


def _depth_to_space(op: Any, x: Any, blocksize: int, mode: str) -> Any:
    return op.DepthToSpace(x, blocksize=blocksize, mode=mode)


def depth_to_space(x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    """Channels laid out in blocks of blocksize x blocksize."""
    return apply("DepthToSpace", _depth_to_space, x, blocksize=int(blocksize), mode=mode)


def _space_to_depth(op: Any, x: Any, blocksize: int, mode: str) -> Any:
    if mode == "DCR":
        return op.SpaceToDepth(x, blocksize=blocksize)
    n, c, h, w = x.shape
    y = op.Reshape(x, (0, c, h // blocksize, blocksize, w // blocksize, blocksize))
    return op.Reshape(op.Transpose(y, perm=(0, 1, 3, 5, 2, 4)), (0, c * blocksize**2, h // blocksize, w // blocksize))


def space_to_depth(x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    """The inverse of depth_to_space."""
    return apply("SpaceToDepth", _space_to_depth, x, blocksize=int(blocksize), mode=mode)


# ---- parts --------------------------------------------------------------------------------------------


def _cat(op: Any, *xs: Any, axis: int) -> Any:
    return op.Concat(*xs, axis=axis)


def cat(xs: Any, axis: int = 0) -> Tensor:
    """Tensors joined along an axis."""
    if not isinstance(xs, tuple | list) or not xs:
        raise NotATensor(f"cat takes a tuple or a list of Tensors, got {type(xs).__name__}")
    return apply("Concat", _cat, *xs, axis=int(axis))


def _split(op: Any, x: Any, parts: tuple, axis: int) -> Any:
    return op.Split(x, parts, axis=axis, outputs=len(parts)) if len(parts) > 1 else op.Identity(x)


def split(x: Tensor, axis: int, parts: Any, num_output: int | None = None) -> tuple[Tensor, ...]:
    """x cut along an axis into parts of these sizes, or into num_output equal ones."""
    if parts is None or np.size(parts) == 0:
        count, left = num_output or 1, x.shape[axis] % (num_output or 1)
        if left:
            raise DoesNotFit(f"split: axis {axis} of {x.name}:{list(x.shape)} is not divisible by {count}")
        parts = (x.shape[axis] // count,) * count
    return Built("Split", _split, parts=_ints(parts), axis=int(axis))(x)


def _slice(op: Any, x: Any, starts: tuple, ends: tuple, axes: tuple | None, steps: tuple | None) -> Any:
    return op.Slice(x, starts, ends, axes, steps)


def slice(x: Tensor, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Tensor:
    """x[starts:ends:steps] along axes, as ONNX's Slice."""
    none_or_ints = lambda v: None if v is None or np.size(v) == 0 else _ints(v)  # noqa: E731
    return apply(
        "Slice",
        _slice,
        x,
        starts=none_or_ints(starts),
        ends=none_or_ints(ends),
        axes=none_or_ints(axes),
        steps=none_or_ints(steps),
    )


def _gather(op: Any, x: Any, indices: Any, axis: int) -> Any:
    return op.Gather(x, op.Cast(indices, to=TO_INT), axis=axis)


def gather(x: Tensor, axis: int, indices: Any) -> Tensor:
    """The slices of x along an axis that indices name; negative ones count from the end."""
    return apply("Gather", _gather, x, extras=(_indices(indices),), axis=int(axis))


def _scatter(op: Any, x: Any, indices: Any, updates: Any, axis: int) -> Any:
    return op.ScatterElements(x, op.Cast(indices, to=TO_INT), updates, axis=axis)


def scatter_elements(x: Tensor, indices: Tensor, updates: Tensor, axis: int = 0) -> Tensor:
    """x with the updates written where indices say, along an axis."""
    tensors = [
        v if isinstance(v, Tensor) else Tensor(data=np.asarray(v), requires_grad=False) for v in (x, indices, updates)
    ]
    return apply("ScatterElements", _scatter, *tensors, axis=int(axis))


# ---- no gradient --------------------------------------------------------------------------------------


def _shape(op: Any, x: Any) -> Any:
    return op.Cast(op.Shape(x), to=TO_INT)


def shape(x: Tensor) -> Tensor:
    """The sizes of x.  No gradient passes."""
    return apply("Shape", _shape, x, differentiable=False)


def _constant_of_shape(op: Any, x: Any, shape: tuple, value: float) -> Any:
    return op.ConstantOfShape(shape, value=np.asarray([value], np.float32))


def constant_of_shape(x: Tensor, value: float = 0) -> Tensor:
    """A tensor full of `value` whose sizes are the elements of x.  No gradient passes."""
    return apply(
        "ConstantOfShape",
        _constant_of_shape,
        x,
        differentiable=False,
        shape=_ints(x),
        value=float(np.reshape(np.asarray(raw(value)), -1)[0]),
    )


class NonZero(Operator):
    """The positions of what is not zero; their number is only known when x is."""

    def forward(self, x: Any) -> Any:
        return jnp.asarray(np.array(np.nonzero(np.asarray(x)), np.int32))

    def backward(self, dy: Any) -> Any:
        from ._errors import NotDifferentiable

        raise NotDifferentiable(f"operation {self.name} has no gradient: NonZero is not differentiable")


def nonzero(x: Tensor) -> Tensor:
    """The indices of what is not zero, a column for each.  No gradient passes."""
    return NonZero()(x)[0]


def _onehot(op: Any, indices: Any, values: Any, depth: int, axis: int) -> Any:
    return op.OneHot(op.Cast(indices, to=TO_INT), (depth,), op.Cast(values, to=TO_FLOAT), axis=axis)


def onehot(axis: int, indices: Tensor, depth: Any, values: Any) -> Tensor:
    """values[1] where the new axis's index is the one given, else values[0].  No gradient passes."""
    return apply(
        "OneHot",
        _onehot,
        indices,
        extras=(_indices(values),),
        differentiable=False,
        depth=_ints(depth)[0],
        axis=int(axis),
    )
