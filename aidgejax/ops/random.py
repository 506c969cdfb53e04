"""Operators that draw random numbers.  JAX draws from the key it is given; what is drawn is an output, so that the
gradient, and the NumPy backend, can take it from there."""

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._registry import operator
from .cast import dtype_of

DRAW = "float32"  # masks are drawn in this precision, whatever that of the data, so that it does not change them


def its_key(key, seed):
    """The key a node draws from: the caller's, and the node's own seed."""
    if key is None:
        raise GraphError("it draws random numbers: give a key, e.g. jax.random.key(0)")
    return key if seed is None else jax.random.fold_in(key, np.float32(seed).view(np.uint32))


# ---- dropout ------------------------------------------------------------------------------------------


def is_known(x):
    return not isinstance(x, jax.core.Tracer)


def dropout_vjp(op, data, ratio, training_mode, output, mask, dy, d_mask):
    if training_mode is None or training_mode is False:
        return dy, None, None
    ratio = 0.5 if ratio is None else ratio
    scale = 1 / (1 - ratio) if isinstance(ratio, float | int) else op.CastLike(op.Reciprocal(op.Sub(1.0, ratio)), dy)
    dx = op.Where(mask, op.Mul(dy, scale), 0.0)
    return dx if training_mode is True else op.Where(training_mode, dx, dy), None, None


@operator(
    "Dropout",
    onnx=("", 13),
    settings=("ratio",),
    vjp=dropout_vjp,
    layout="same",
    random=True,
    outputs=2,
    residual_outputs=(1,),
)
def dropout(data, ratio=None, training_mode=None, *, seed=None, key=None):
    """data / (1 - ratio) where the mask is true, else 0; the mask is false at random, with probability ratio.

    f[*s], f[], bool[] -> f[*s], bool[*s].  Without training_mode (its default) it is the identity and its mask all
    true; ratio: 0.5 by default.  With images inside a program of layout "NHWC" the mask falls differently than in
    one of "NCHW".  ONNX Dropout-13.
    """
    ratio, training_mode = 0.5 if ratio is None else ratio, False if training_mode is None else training_mode
    if is_known(ratio) and not 0 <= ratio < 1:
        raise GraphError(f"ratio is {float(ratio)}: expected the fraction to drop, from 0 up to but not including 1")
    whole = jnp.ones(jnp.shape(data), bool)
    if is_known(training_mode) and (not training_mode or is_known(ratio) and ratio == 0):
        return data, whole
    mask = jax.random.uniform(its_key(key, seed), jnp.shape(data), DRAW) >= ratio
    scale = 1 / (1 - ratio) if is_known(ratio) else jnp.reciprocal(1 - ratio)
    dropped = jnp.where(mask, data * jnp.asarray(scale, jnp.result_type(data)), 0)
    if is_known(training_mode):
        return dropped, mask
    return jnp.where(training_mode, dropped, data), mask | ~training_mode


# ---- plain draws --------------------------------------------------------------------------------------


def nothing(op, x, y, dy):
    return (None,)


def normal(key, seed, shape, dtype, mean, scale):
    return mean + scale * jax.random.normal(its_key(key, seed), shape, dtype)


def uniform(key, seed, shape, dtype, low, high):
    return jax.random.uniform(its_key(key, seed), shape, dtype, low, high)


def dtype_like(x, code):
    return jnp.result_type(x) if code is None else dtype_of(code)


@operator("RandomNormal", onnx=("", 1), random=True)
def random_normal(*, shape, dtype=1, mean=0.0, scale=1.0, seed=None, key=None):
    """Draws from the normal distribution.  -> f[*shape].  dtype: ONNX's number of it.  ONNX RandomNormal-1."""
    return normal(key, seed, shape, dtype_of(dtype), mean, scale)


@operator("RandomNormalLike", onnx=("", 1), random=True, vjp=nothing)
def random_normal_like(x, *, dtype=None, mean=0.0, scale=1.0, seed=None, key=None):
    """Draws from the normal distribution.  t[*s] -> f[*s].  dtype: x's unless given.  ONNX RandomNormalLike-1."""
    return normal(key, seed, jnp.shape(x), dtype_like(x, dtype), mean, scale)


@operator("RandomUniform", onnx=("", 1), random=True)
def random_uniform(*, shape, dtype=1, low=0.0, high=1.0, seed=None, key=None):
    """Draws from [low, high).  -> f[*shape].  dtype: ONNX's number of it.  ONNX RandomUniform-1."""
    return uniform(key, seed, shape, dtype_of(dtype), low, high)


@operator("RandomUniformLike", onnx=("", 1), random=True, vjp=nothing)
def random_uniform_like(x, *, dtype=None, low=0.0, high=1.0, seed=None, key=None):
    """Draws from [low, high).  t[*s] -> f[*s].  dtype: x's unless given.  ONNX RandomUniformLike-1."""
    return uniform(key, seed, jnp.shape(x), dtype_like(x, dtype), low, high)


@operator("Bernoulli", onnx=("", 15), random=True, vjp=nothing)
def bernoulli(x, *, dtype=None, seed=None, key=None):
    """1 with probability x, else 0; no gradient passes.  f[*s] -> t[*s].  ONNX Bernoulli-15.

    dtype: ONNX's number of it; x's unless given."""
    drawn = jax.random.uniform(its_key(key, seed), jnp.shape(x), DRAW) < x
    return drawn.astype(dtype_like(x, dtype))


@operator("Multinomial", onnx=("", 7), random=True, vjp=nothing)
def multinomial(x, *, dtype=6, sample_size=1, seed=None, key=None):
    """Draws sample_size classes for every row; x: the logarithms of their weights.  f[b, c] -> i[b, n].

    dtype: ONNX's number of int32 or int64.  No gradient passes.  ONNX Multinomial-7."""
    if jnp.ndim(x) != 2 or sample_size < 1 or dtype not in (6, 7):
        raise GraphError(
            f"x is of rank {jnp.ndim(x)}, sample_size {sample_size} and dtype {dtype}; expected a matrix, "
            f"1 or more, and 6 (int32) or 7 (int64)"
        )
    drawn = jax.random.categorical(its_key(key, seed), x[:, None, :], shape=(jnp.shape(x)[0], sample_size))
    return drawn.astype(dtype_of(dtype))
