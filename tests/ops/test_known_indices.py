"""Indices that are known while tracing: no gather, no scatter, the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.ops import lookup
from aidgejax.ops._known_indices import pattern_of, put_back, taken
from aidgejax.passes.rewrite import replace_nodes

PATTERNS = [
    np.int64(2), np.int64(-1), np.array([3]), np.array([1, 2, 3]), np.array([0, 2, 4]), np.array([4, 3, 2]),
    np.array([5, 3, 1]), np.array([[0, 1], [2, 3]]), np.array([-1, -2]), np.array([2, 2, 2]), np.arange(6).repeat(2),
    np.array([1, 1, 3, 3, 5, 5]), np.array([4, 4, 3, 3]), np.array([[1, 1], [2, 2]], np.int32),
]  # fmt: skip
OTHERS = [np.array([3, 0, 1]), np.array([[5, 0], [2, 4]])]  # in no order, none twice: put back by the inverse


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_same_as_taking_and_adding_back(axis):
    x = np.arange(6 * 6 * 6, dtype=np.float32).reshape(6, 6, 6)
    for indices in PATTERNS + OTHERS:
        want = np.take(x, indices, axis)
        if any(indices is p for p in PATTERNS):
            np.testing.assert_array_equal(taken(x, indices, axis), want)
        dy = np.random.default_rng(0).integers(-9, 9, want.shape).astype(np.float32)
        dx = np.zeros_like(x)
        np.add.at(dx, (*[slice(None)] * axis, indices), dy)
        np.testing.assert_array_equal(put_back(dy, 6, indices, axis), dx, err_msg=f"{indices}")


def test_what_has_no_pattern_is_left_to_gather():
    for indices in (np.array([0, 1, 3]), np.array([0, 0, 1]), np.array([], np.int64), jnp.arange(3), 0.5):
        assert pattern_of(indices, 6) is None
    assert put_back(np.ones((3, 2), np.float32), 6, np.array([0, 0, 4]), 0) is None
    assert put_back(np.ones((3, 2), np.float32), 6, jnp.arange(3), 0) is None


def picked():
    """The first token, three parts of a packed tensor, a permutation, every second row, an image twice as large."""
    g = aj.Graph("picked")
    op, x = g.op, g.input("x", ("N", 3, 4, 6))
    w = g.parameter("w", np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32))
    h = op.Mul(x, w)
    parts = [
        op.Gather(h, np.int64(0), axis=1),
        op.Gather(h, np.array([2]), axis=1),
        op.Gather(h, np.array([5, 0, 2]), axis=3),
        op.Gather(h, np.array([0, 2]), axis=2),
        op.Slice(h, (-1,), (-6,), (3,), (-2,)),
        op.Resize(h, None, np.array([1, 1, 2, 2], np.float32), mode="nearest", nearest_mode="floor",
                  coordinate_transformation_mode="asymmetric"),
    ]  # fmt: skip
    total = None
    for k, part in enumerate(parts):
        squares = op.ReduceSum(op.Mul(op.Mul(part, part), float(k + 1)))
        total = squares if total is None else op.Add(total, squares)
    g.output(op.Squeeze(total, name="loss"))
    return aj.infer_shapes(g)


def names_in(jaxpr, found):
    for e in jaxpr.eqns:
        found.add(e.primitive.name)
        for p in jax.tree.leaves(e.params, is_leaf=lambda v: hasattr(v, "jaxpr")):
            if hasattr(p, "jaxpr"):
                names_in(p.jaxpr, found)
    return found


def test_a_graph_of_constant_indices_has_no_scatter_and_its_gradient_is_the_slope():
    graph = picked()
    program = aj.make_program(graph)
    x = {"x": np.random.default_rng(1).normal(size=(2, 3, 4, 6)).astype(np.float32)}

    def gradient(params):
        outputs, saved, _ = program.forward(params, {}, x, None)
        return program.backward(params, saved, {"loss": jnp.ones_like(outputs["loss"])})["w"]

    names = names_in(jax.make_jaxpr(gradient)(graph.params).jaxpr, set())
    assert "pad" in names and not [n for n in names if "scatter" in n]
    dw, rng = np.asarray(gradient(graph.params)), np.random.default_rng(2)
    wide = {"x": x["x"].astype(np.float64)}
    for _ in range(3):
        v = rng.normal(size=(3, 4, 6))
        loss = [
            float(aj.NumpyProgram(program).forward({"w": graph.params["w"] + h * v}, {}, wide)[0]["loss"])
            for h in (1e-4, -1e-4)
        ]
        assert np.sum(v * dw) == pytest.approx((loss[0] - loss[1]) / 2e-4, rel=1e-5)


def test_the_gradient_of_a_strided_slice_is_written_without_a_scatter():
    """Where the batch alone is not known; equal results are test_cases.py's business."""
    graph = picked()
    backward = aj.make_program(graph).gradient
    written = replace_nodes(backward, lambda n: lookup(n.op).decompose if n.op == "SliceGrad" else None)
    assert (
        backward.count()["SliceGrad"] == 1 and written.count()["ScatterElements"] == backward.count()["ScatterElements"]
    )
    assert written.count()["Pad"] > backward.count()["Pad"]
