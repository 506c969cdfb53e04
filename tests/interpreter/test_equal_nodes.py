"""Equal nodes are lowered once; nodes that differ, or draw random numbers, are not taken for one another."""

import jax
import jax.numpy as jnp
import numpy as np

import aidgejax as aj
from aidgejax.interpreter.equal_nodes import EqualNodes
from aidgejax.ops import lookup


def test_equal_layers_are_lowered_once():
    g, rng = aj.Graph("deep"), np.random.default_rng(0)
    h = g.input("x", ("N", 8, 6, 6))
    for k in range(5):
        w = g.parameter(f"w{k}", rng.normal(0, 0.1, (8, 8, 3, 3)).astype(np.float32))
        h = g.op.Conv(h, w, pads=(1, 1, 1, 1) if k < 4 else (0, 0, 0, 0))
    g.output(h)
    program = aj.make_program(aj.infer_shapes(g), training=True)
    forward = lambda params, x: program.forward(params, {}, {"x": x}, save=False)[0][h.name]
    x = rng.normal(size=(2, 8, 6, 6)).astype(np.float32)
    lowered = jax.jit(forward).lower(g.params, x)
    text = lowered.as_text()
    assert text.count("@Conv(") == 1 + 4 and text.count("@Conv_") == 1 + 1  # a function each, and its calls
    apart = forward({k: jnp.asarray(v) for k, v in g.params.items()}, x)  # nothing is traced here
    np.testing.assert_allclose(lowered.compile()(g.params, x), apart, rtol=1e-5, atol=1e-6)


def test_what_differs_is_not_shared():
    """A setting, a literal and a type; a short forward is not worth a call."""

    def computed(x, half):
        equal = EqualNodes()
        softmax = lambda x, axis: equal.forward(lookup("Softmax"), [x], {"axis": axis})
        added = equal.forward(lookup("Add"), [x, 1.0], {}) - equal.forward(lookup("Add"), [x, 2.0], {})
        return softmax(x, 0), softmax(x, 1), softmax(x, 0), softmax(half, 0), added

    x = jnp.arange(6.0).reshape(2, 3)
    traced = jax.jit(computed).trace(x, x.astype(jnp.float16))
    calls = [e for e in traced.jaxpr.eqns if e.params.get("name") == "Softmax"]
    assert len(calls) == 4 and len({id(e.params["jaxpr"]) for e in calls}) == 3
    assert [e.params.get("name") for e in traced.jaxpr.eqns].count("Add") == 0
    found = traced.lower().compile()(x, x.astype(jnp.float16))
    for got, want in zip(found, computed(x, x.astype(jnp.float16)), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-6)
