"""The functions of singa.tensor.  They compute at once and leave nothing on the tape."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from ._ctensor import DTYPES, dtype_number
from ._errors import DoesNotFit, NotATensor
from ._tensor import Tensor, _new

__all__ = [
    "abs",
    "add",
    "add_column",
    "add_row",
    "average",
    "axpy",
    "bernoulli",
    "ceil",
    "concatenate",
    "contiguous",
    "copy_data_to_from",
    "copy_from_numpy",
    "div",
    "einsum",
    "eltwise_mult",
    "eq",
    "exp",
    "gaussian",
    "ge",
    "gt",
    "le",
    "log",
    "lt",
    "mult",
    "ones",
    "ones_like",
    "pow",
    "product",
    "random",
    "relu",
    "repeat",
    "reshape",
    "sigmoid",
    "sign",
    "sizeof",
    "softmax",
    "sqrt",
    "square",
    "sub",
    "sum",
    "sum_columns",
    "sum_rows",
    "tanh",
    "tensordot",
    "to_host",
    "transpose",
    "uniform",
    "zeros",
    "zeros_like",
]


# ---- making -------------------------------------------------------------------------------------------


def zeros(shape: Any, device: Any = None) -> Tensor:
    return Tensor(shape, device).set_value(0.0)


def ones(shape: Any, device: Any = None) -> Tensor:
    return Tensor(shape, device).set_value(1.0)


def random(shape: Any, device: Any = None) -> Tensor:
    """Uniform in [0, 1)."""
    return Tensor(shape, device).uniform(0.0, 1.0)


def zeros_like(t: Tensor) -> Tensor:
    return Tensor(t.shape, t.device, t.dtype).set_value(0)


def ones_like(t: Tensor) -> Tensor:
    return Tensor(t.shape, t.device, t.dtype).set_value(1)


def to_host(t: Tensor) -> Tensor:
    """A copy on the processor."""
    return t.clone().to_host()


def gaussian(mean: float, std: float, t: Tensor) -> Tensor:
    return t.gaussian(mean, std)


def uniform(low: float, high: float, t: Tensor) -> Tensor:
    return t.uniform(low, high)


def bernoulli(p: float, t: Tensor) -> Tensor:
    return t.bernoulli(p)


def product(shape: Any) -> int:
    return math.prod(shape)


def sizeof(dtype: Any) -> int:
    """Bytes of one element."""
    return jnp.dtype(DTYPES[dtype_number(dtype)]).itemsize


# ---- moving -------------------------------------------------------------------------------------------


def contiguous(tensor: Tensor) -> Tensor:
    return tensor.contiguous()


def reshape(tensor: Tensor, shape: Any) -> Tensor:
    return tensor.reshape(shape)


def transpose(t: Tensor, axes: Any = None) -> Tensor:
    return t.transpose(axes)


def copy_from_numpy(data: Any, np_array: Any) -> None:
    """Fill a raw tensor with the values of an array of as many elements."""
    data.array = jnp.asarray(np_array, DTYPES[data.data_type()]).reshape(data.shape())


def copy_data_to_from(dst: Tensor, src: Tensor, size: int, dst_offset: int = 0, src_offset: int = 0) -> None:
    """Copy `size` elements, counted in memory order."""
    if src_offset + size > src.size() or dst_offset + size > dst.size():
        raise DoesNotFit(
            f"copy_data_to_from: {size} elements from {src_offset} of {src.name}:{list(src.shape)} do not "
            f"fit to {dst_offset} of {dst.name}:{list(dst.shape)}"
        )
    part = src.array.reshape(-1)[src_offset : src_offset + size]
    dst._fill(dst.array.reshape(-1).at[dst_offset : dst_offset + size].set(part).reshape(dst.shape))


def concatenate(tensors: Any, axis: int) -> Tensor:
    """Tensors joined along an axis."""
    for t in tensors:
        if not isinstance(t, Tensor):
            raise NotATensor(f"concatenate takes a list of Tensors, got {type(t).__name__} in it")
    return _new(_concatenate, *tensors, axis=axis)


def _concatenate(*arrays: Any, axis: int) -> Any:
    return jnp.concatenate(arrays, axis)


def repeat(t: Tensor, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element, or each slice of an axis, again and again, as numpy.repeat."""
    return t.repeat(repeats, axis)


# ---- element by element -------------------------------------------------------------------------------


def abs(t: Tensor) -> Tensor:
    return _new(jnp.abs, t)


def exp(t: Tensor) -> Tensor:
    return _new(jnp.exp, t)


def ceil(t: Tensor) -> Tensor:
    return _new(jnp.ceil, t)


def log(t: Tensor) -> Tensor:
    return _new(jnp.log, t)


def sigmoid(t: Tensor) -> Tensor:
    return _new(jax.nn.sigmoid, t)


def relu(t: Tensor) -> Tensor:
    return _new(jnp.maximum, t, 0)


def sign(t: Tensor) -> Tensor:
    return _new(jnp.sign, t)


def sqrt(t: Tensor) -> Tensor:
    return _new(jnp.sqrt, t)


def square(t: Tensor) -> Tensor:
    return _new(jnp.square, t)


def tanh(t: Tensor) -> Tensor:
    return _new(jnp.tanh, t)


def lt(t: Tensor, x: Any) -> Tensor:
    return t < x


def le(t: Tensor, x: Any) -> Tensor:
    return t <= x


def gt(t: Tensor, x: Any) -> Tensor:
    return t > x


def ge(t: Tensor, x: Any) -> Tensor:
    return t >= x


def eq(t: Tensor, x: Any) -> Tensor:
    return t == x


def _into(result: Tensor, ret: Tensor | None) -> Tensor:
    if ret is None:
        return result
    ret.data.array = result.array
    return ret


def add(lhs: Any, rhs: Any, ret: Tensor | None = None) -> Tensor:
    return _into(_new(jnp.add, lhs, rhs), ret)


def sub(lhs: Any, rhs: Any, ret: Tensor | None = None) -> Tensor:
    return _into(_new(jnp.subtract, lhs, rhs), ret)


def eltwise_mult(lhs: Any, rhs: Any, ret: Tensor | None = None) -> Tensor:
    return _into(_new(jnp.multiply, lhs, rhs), ret)


def div(lhs: Any, rhs: Any, ret: Tensor | None = None) -> Tensor:
    return _into(_new(jnp.divide, lhs, rhs), ret)


def pow(t: Tensor, x: Any, out: Tensor | None = None) -> Tensor:
    return _into(_new(jnp.power, t, x), out)


def axpy(alpha: float, x: Tensor, y: Tensor) -> Tensor:
    """y += alpha * x."""
    return y._in_place(_new(_scaled_sum, x, y, alpha=alpha))


def _scaled_sum(x: Any, y: Any, alpha: Any = 1.0, beta: Any = 1.0) -> Any:
    return alpha * x + beta * y


# ---- sums and products --------------------------------------------------------------------------------


def sum(t: Tensor, axis: Any = None, out: Tensor | None = None) -> Tensor:
    """The sum over axes; of everything, with shape (1, 1), where none is given."""
    if axis is None:
        return _into(_new(jnp.sum, t, keepdims=True).reshape((1, 1)), out)
    return _into(_new(jnp.sum, t, axis=axis if isinstance(axis, int) else tuple(axis)), out)


def average(t: Tensor, axis: int | None = None) -> Any:
    """The mean of everything as a number, or along an axis as a Tensor."""
    return float(jnp.mean(t.array)) if axis is None else _new(jnp.mean, t, axis=axis)


def softmax(t: Tensor, out: Tensor | None = None) -> Tensor:
    """Of each row."""
    return _into(_new(jax.nn.softmax, t), out)


def mult(A: Tensor, B: Tensor, C: Tensor | None = None, alpha: float = 1.0, beta: float = 0.0) -> Tensor:
    """alpha * A @ B + beta * C, written into C where it is given."""
    product = _new(jnp.matmul, A, B)
    if C is None:
        return product if alpha == 1 else product * alpha
    if beta:
        return _into(_new(_scaled_sum, product, C, alpha=alpha, beta=beta), C)
    return _into(product * alpha, C)


def einsum(ops: str, *args: Tensor) -> Tensor:
    """numpy.einsum of tensors, e.g. einsum('ki,kj->kij', A, B)."""
    if len(args) != 2:
        raise DoesNotFit(f"einsum {ops!r} takes 2 tensors, got {len(args)}")
    sides = ops.replace(" ", "").split("->")
    if len(sides) != 2 or "," not in sides[0]:
        raise DoesNotFit(f"einsum: {ops!r} is not of the form 'ij,jk->ik'")
    return _new(_einsum, *args, equation=ops)


def _einsum(*arrays: Any, equation: str) -> Any:
    return jnp.einsum(equation, *arrays)


def tensordot(A: Tensor, B: Tensor, axes: Any = 2) -> Tensor:
    """numpy.tensordot."""
    return _new(jnp.tensordot, A, B, axes=axes)


def add_column(alpha: float, v: Tensor, beta: float, M: Tensor) -> Tensor:
    """M <- alpha * v + beta * M, v added to each column."""
    return M._in_place(_new(_plus_column, v, M, alpha=alpha, beta=beta))


def _plus_column(v: Any, m: Any, alpha: float, beta: float) -> Any:
    return alpha * v.reshape(-1, 1) + beta * m


def add_row(alpha: float, v: Tensor, beta: float, M: Tensor) -> Tensor:
    """M <- alpha * v + beta * M, v added to each row."""
    return M._in_place(_new(_plus_row, v, M, alpha=alpha, beta=beta))


def _plus_row(v: Any, m: Any, alpha: float, beta: float) -> Any:
    return alpha * v.reshape(1, -1) + beta * m


def sum_columns(M: Tensor) -> Tensor:
    """The columns added up: one number per row."""
    return _new(jnp.sum, M, axis=1)


def sum_rows(M: Tensor) -> Tensor:
    """The rows added up: one number per column."""
    return _new(jnp.sum, M, axis=0)
