"""Functions of jax.numpy as explicit graphs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.errors import GraphError
from aidgejax.execution.run import run
from aidgejax.graph import Value
from aidgejax.passes.from_jax import as_graph

X = np.linspace(-0.9, 3, 12).reshape(3, 4).astype(np.float32)


def result(f, *arrays):
    inputs = [Value(f"in{k}", a.shape, a.dtype.name) for k, a in enumerate(arrays)]
    graph = as_graph("f", lambda *a: [f(*a)], inputs, ["out"])
    return graph, run(graph, {v.name: a for v, a in zip(inputs, arrays, strict=True)})[0]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: jnp.where(x > 1, x, -x),
        lambda x: jnp.clip(x, 0, 1) ** 2 + jnp.floor(x) % 2,
        lambda x: jax.lax.rsqrt(x + 1) * jnp.cos(x),
        lambda x: jnp.sqrt(jnp.sum(jnp.square(x))) * x,
        lambda x: jnp.max(x, axis=1),
        lambda x: x * 1 + 0,
        lambda x: jnp.sum(x).reshape((1,)),
    ],
)
def test_the_graph_computes_what_the_function_does(f):
    np.testing.assert_allclose(result(f, X)[1], f(X), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("f", [jnp.expm1, jnp.log1p])
def test_digits_near_zero_are_kept(f):
    x = np.array([1e-7, -1e-5, 3e-4, 0.5, -0.9, 6.0], np.float32)
    np.testing.assert_allclose(result(f, x)[1], f(x), rtol=1e-6)


def test_neutral_numbers_write_no_node():
    assert result(lambda x: jnp.where(x > 0, 1 * x + 0, 1 * x + 0), X)[0].count() == {"Identity": 1}


def test_a_primitive_without_a_node_is_named():
    with pytest.raises(GraphError, match="'sort'"):
        result(jnp.sort, X)
