"""Fillers: the first values of weights.  (key, shape, ...) -> array of that shape.

    weights = he_normal(jax.random.key(0), (16, 3, 5, 5))
    bias = constant(None, (16,), 0.01)

A weight is (out, in, *kernel), as Conv's and Gemm's (transB=1) are: fan_in = in * prod(kernel), and fan_out =
out * prod(kernel).  With order="io" it is (in, out, *kernel), as MatMul's and ConvTranspose's are.
fan says which of them a variance is divided by: "fan_in", "fan_out" or their "average".
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import jax
import jax.numpy as jnp

from ..errors import GraphError, SettingError

FANS = ("fan_in", "fan_out", "average")
ORDERS = ("oi", "io")


def constant(key: Any, shape: Any, value: float = 0.0, dtype: str = "float32") -> Any:
    """`value` everywhere; the key is not looked at."""
    return jnp.full(shape, value, dtype)


def normal(key: Any, shape: Any, mean: float = 0.0, std: float = 1.0, dtype: str = "float32") -> Any:
    """Normal(mean, variance std**2)."""
    return _normal("normal", key, shape, mean, std, dtype)


def uniform(key: Any, shape: Any, low: float = 0.0, high: float = 1.0, dtype: str = "float32") -> Any:
    """Uniform in [low, high); of integers, with an integer dtype, in [low, high] with both ends."""
    if not low <= high:
        raise SettingError(f"uniform: low is {low!r} and high is {high!r}; expected low <= high")
    if jnp.issubdtype(jnp.dtype(dtype), jnp.integer):
        return jax.random.randint(key, shape, low, high + 1, dtype)
    return jax.random.uniform(key, shape, _floating("uniform", dtype), low, high)


def xavier_uniform(
    key: Any, shape: Any, scaling: float = 1.0, fan: str = "fan_in", order: str = "oi", dtype: str = "float32"
) -> Any:
    """Uniform in scaling * (-sqrt(3 / n), sqrt(3 / n)), whose variance is scaling**2 / n; n is the fan.

    Source: aidge_core xavier_uniform_filler.  Glorot & Bengio 2010, eq. 16, is fan="average" (`glorot_uniform`).
    """
    n = _fan("xavier_uniform", shape, fan, order)
    return _uniform("xavier_uniform", key, shape, scaling * math.sqrt(3 / n), dtype)


def xavier_normal(
    key: Any, shape: Any, scaling: float = 1.0, fan: str = "fan_in", order: str = "oi", dtype: str = "float32"
) -> Any:
    """Normal(0, variance scaling**2 / n); n is the fan.  Source: aidge_core xavier_normal_filler."""
    n = _fan("xavier_normal", shape, fan, order)
    return _normal("xavier_normal", key, shape, 0.0, scaling * math.sqrt(1 / n), dtype)


def glorot_uniform(key: Any, shape: Any, scaling: float = 1.0, order: str = "oi", dtype: str = "float32") -> Any:
    """Uniform in scaling * (-sqrt(6 / (fan_in + fan_out)), ...).  Source: singa.initializer; Glorot & Bengio 2010."""
    n = _fan("glorot_uniform", shape, "average", order)
    return _uniform("glorot_uniform", key, shape, scaling * math.sqrt(3 / n), dtype)


def glorot_normal(key: Any, shape: Any, scaling: float = 1.0, order: str = "oi", dtype: str = "float32") -> Any:
    """Normal(0, variance scaling**2 * 2 / (fan_in + fan_out)).  Source: singa.initializer."""
    n = _fan("glorot_normal", shape, "average", order)
    return _normal("glorot_normal", key, shape, 0.0, scaling * math.sqrt(1 / n), dtype)


def he_normal(
    key: Any,
    shape: Any,
    mean_norm: float = 0.0,
    scaling: float = 1.0,
    fan: str = "fan_in",
    order: str = "oi",
    dtype: str = "float32",
) -> Any:
    """scaling * Normal(mean_norm / n, variance 2 / n), for weights before a ReLU; n is the fan.

    Raises GraphError for fewer than two axes: a bias has no fan.
    Source: aidge_core he_filler; He et al. 2015, eq. 10.
    """
    n = _fan("he_normal", shape, fan, order)
    return _normal("he_normal", key, shape, scaling * mean_norm / n, scaling * math.sqrt(2 / n), dtype)


def he_uniform(
    key: Any, shape: Any, scaling: float = 1.0, fan: str = "fan_in", order: str = "oi", dtype: str = "float32"
) -> Any:
    """Uniform in scaling * (-sqrt(6 / n), sqrt(6 / n)): the variance of he_normal.  Source: singa.initializer."""
    n = _fan("he_uniform", shape, fan, order)
    return _uniform("he_uniform", key, shape, scaling * math.sqrt(6 / n), dtype)


def lecun_normal(key: Any, shape: Any, scaling: float = 1.0, order: str = "oi", dtype: str = "float32") -> Any:
    """Normal(0, variance scaling**2 / fan_in), not truncated.  Source: singa.initializer; LeCun et al. 1998."""
    n = _fan("lecun_normal", shape, "fan_in", order)
    return _normal("lecun_normal", key, shape, 0.0, scaling * math.sqrt(1 / n), dtype)


def lecun_uniform(key: Any, shape: Any, scaling: float = 1.0, order: str = "oi", dtype: str = "float32") -> Any:
    """Uniform in scaling * (-sqrt(3 / fan_in), sqrt(3 / fan_in)).  Source: singa.initializer."""
    n = _fan("lecun_uniform", shape, "fan_in", order)
    return _uniform("lecun_uniform", key, shape, scaling * math.sqrt(3 / n), dtype)


def ibp_normal(key: Any, shape: Any, scaling: float = 1.0, order: str = "oi", dtype: str = "float32") -> Any:
    """Normal(0, std scaling * sqrt(2 pi) / fan_in), for training with interval bounds.

    Source: aidge_core ibp_normal_filler; Shi et al. 2021.
    """
    n = _fan("ibp_normal", shape, "fan_in", order)
    return _normal("ibp_normal", key, shape, 0.0, scaling * math.sqrt(2 * math.pi) / n, dtype)


def orthogonal(key: Any, shape: Any, scaling: float = 1.0, dtype: str = "float32") -> Any:
    """scaling * a random orthogonal matrix [shape[0], rest]: orthonormal rows, or columns where rows are more.

    Source: Saxe et al. 2014; the sign of each column is chosen so that all such matrices are equally likely.
    """
    _needs_two_axes("orthogonal", shape)
    _check("orthogonal", "scaling", scaling)
    rows, columns = shape[0], math.prod(shape[1:])
    drawn = jax.random.normal(key, (max(rows, columns), min(rows, columns)), "float32")
    q, r = jnp.linalg.qr(drawn)
    q = q * jnp.where(jnp.diagonal(r) < 0, -1.0, 1.0)
    return (scaling * (q if rows >= columns else q.T)).reshape(shape).astype(_floating("orthogonal", dtype))


# ---- inside -------------------------------------------------------------------------------------------


def _normal(name: Any, key: Any, shape: Any, mean: Any, std: Any, dtype: Any) -> Any:
    _check(name, "std", std, least=0)
    return mean + std * jax.random.normal(key, shape, _floating(name, dtype))


def _uniform(name: Any, key: Any, shape: Any, bound: Any, dtype: Any) -> Any:
    _check(name, "the bound", bound, least=0)
    return jax.random.uniform(key, shape, _floating(name, dtype), -bound, bound)


def _fan(name: Any, shape: Any, fan: Any, order: Any) -> Any:
    """The number that a variance is divided by."""
    _needs_two_axes(name, shape)
    if fan not in FANS:
        raise SettingError(f"{name}: fan is {fan!r}; expected one of {', '.join(map(repr, FANS))}")
    if order not in ORDERS:
        raise SettingError(
            f"{name}: order is {order!r}; expected 'oi' for (out, in, *kernel) or 'io' for (in, out, *kernel)"
        )
    outputs, inputs = shape[:2] if order == "oi" else shape[1::-1]
    kernel = math.prod(shape[2:])
    fans = {"fan_in": inputs * kernel, "fan_out": outputs * kernel, "average": (inputs + outputs) * kernel / 2}
    return max(fans[fan], 1)


def _needs_two_axes(name: Any, shape: Any) -> Any:
    if len(shape) < 2:
        raise GraphError(
            f"{name} needs a weight of 2 or more axes, got shape {tuple(shape)}; fill a bias with `constant`"
        )


def _floating(name: Any, dtype: Any) -> Any:
    if not jnp.issubdtype(jnp.dtype(dtype), jnp.floating):
        raise SettingError(f"{name}: dtype is {jnp.dtype(dtype).name}; expected a floating-point dtype")
    return dtype


def _check(name: Any, what: Any, value: Any, least: Any = -math.inf) -> None:
    known = isinstance(value, numbers.Real) and math.isfinite(value) and value >= least
    if not isinstance(value, jax.Array) and not known:
        low = "" if least == -math.inf else f" of at least {least}"
        raise SettingError(f"{name}: {what} is {value!r}; expected a finite number{low}")
