"""What is random: how often, how large, from which key, and when not at all."""

import jax
import numpy as np
import pytest

from aidgejax import reference
from aidgejax.errors import GraphError
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph

ONES = np.ones((64, 32), np.float32)


def graph_of(op, *rest, x=None, names=("y",), **attrs):
    g = Graph(op)
    operands = [] if x is None else [g.input("x", ("N", *x.shape[1:]), x.dtype.name)]
    for o in g.add(op, [*operands, *rest], attrs, names=names):
        g.output(o)
    return g


def draw(graph, x=None, seed=0, **mode):
    program = make_program(graph, wrt=[], seeds=[], **mode)
    return program.forward({}, {}, {} if x is None else {"x": x}, jax.random.key(seed))[0]


def dropout(ratio=0.25, training=True, **attrs):
    return graph_of("Dropout", ratio, training, x=ONES, names=("y", "mask"), **attrs)


def test_dropout_keeps_the_mean():
    found = draw(dropout(), ONES)
    assert abs(float(np.mean(found["mask"])) - 0.75) < 0.03
    assert set(np.unique(found["y"])) == {np.float32(0), np.float32(4 / 3)}
    np.testing.assert_array_equal(np.asarray(found["y"]) > 0, found["mask"])


def test_the_key_decides_and_the_seed_attribute_and_the_place_in_the_graph():
    draws = [(dropout(), 0), (dropout(), 0), (dropout(), 1), (dropout(seed=5), 0)]
    masks = [draw(g, ONES, s)["mask"] for g, s in draws]
    same = [np.array_equal(masks[0], m) for m in masks]
    assert same == [True, True, False, False]
    g = dropout()
    g.output(g.op.Dropout("x", 0.25, True, name="again"))
    found = draw(g, ONES)
    assert not np.array_equal(found["y"], found["again"])


def test_a_training_graph_becomes_an_inference_graph_that_needs_no_key():
    program = make_program(dropout(), wrt=[], seeds=[], training=False)
    outputs, _, _ = program.forward({}, {}, {"x": ONES})
    np.testing.assert_array_equal(outputs["y"], ONES)
    assert np.all(outputs["mask"])


def test_ratio_and_mode_can_be_fed():
    g = Graph("g")
    x, ratio, mode = g.input("x", ONES.shape), g.input("ratio", ()), g.input("mode", (), "bool")
    g.output(g.op.Dropout(x, ratio, mode, name="y"))
    program = make_program(g, wrt=["x"])

    @jax.jit
    def both(ratio, mode):
        outputs, saved, _ = program.forward({}, {}, {"x": ONES, "ratio": ratio, "mode": mode}, jax.random.key(1))
        return outputs["y"], program.backward({}, saved, {"y": ONES})["x"]

    y, dx = both(np.float32(0.5), True)
    np.testing.assert_array_equal(y, dx)  # x and dy are ones
    assert set(np.unique(y)) == {np.float32(0), np.float32(2)}
    y, dx = both(np.float32(0.5), False)
    assert np.all(y == 1) and np.all(dx == 1)


def test_dropout_between_images_follows_their_layout():
    g = Graph("g")
    x = g.input("x", ("N", 3, 8, 8))
    pooled = g.op.MaxPool(x, kernel_shape=(2, 2), strides=(2, 2))
    g.output(g.op.Dropout(pooled, 0.5, True, name="y"))
    images = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    program = make_program(g, wrt=["x"])
    outputs, saved, _ = program.forward({}, {}, {"x": images}, jax.random.key(0))
    found = reference.execute(program.graph, {"x": images}, given=outputs)
    dropped = outputs["y"] == 0
    kept = found[program.graph.nodes[0].outputs[0]][~dropped]
    np.testing.assert_allclose(outputs["y"][~dropped], 2 * kept, rtol=1e-6)
    dx = program.backward({}, saved, {"y": np.ones_like(outputs["y"])})["x"]
    np.testing.assert_allclose(np.sum(dx, axis=(2, 3)), 2 * np.sum(~dropped, axis=(2, 3)))


def test_numpy_draws_from_the_generator_it_is_given():
    masks = [reference.execute(dropout(), {"x": ONES}, rng=np.random.default_rng(s))["mask"] for s in (0, 0, 1)]
    assert np.array_equal(masks[0], masks[1]) and not np.array_equal(masks[0], masks[2])
    assert abs(masks[0].mean() - 0.75) < 0.03


@pytest.mark.parametrize(
    "op, attrs, mean, std",
    [
        ("RandomNormal", {"shape": (64, 64), "mean": 3.0, "scale": 2.0}, 3.0, 2.0),
        ("RandomNormalLike", {"mean": -1.0}, -1.0, 1.0),
        ("RandomUniform", {"shape": (64, 64), "low": -1.0, "high": 3.0}, 1.0, 4 / 12**0.5),
        ("RandomUniformLike", {}, 0.5, 1 / 12**0.5),
        ("Bernoulli", {}, 0.3, 0.21**0.5),
    ],
)
@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_draws_have_their_mean_and_deviation(op, attrs, mean, std, backend):
    x = None if "shape" in attrs else np.full((64, 64), 0.3, np.float32)
    g = graph_of(op, x=x, **attrs)
    found = (
        draw(g, x)
        if backend == "jax"
        else reference.execute(g, {} if x is None else {"x": x}, rng=np.random.default_rng(0))
    )
    y = np.asarray(found["y"])
    assert y.dtype == np.float32 and y.shape == (64, 64)
    assert abs(y.mean() - mean) < 0.1 * std and abs(y.std() - std) < 0.1 * std


def test_integers_where_the_dtype_says_so():
    x = np.full((8, 8), 0.5, np.float32)
    assert draw(graph_of("Bernoulli", x=x, dtype=6), x)["y"].dtype == np.int32


@pytest.mark.parametrize("ratio", [1.0, -0.1])
def test_a_ratio_outside_its_range_is_refused(ratio):
    with pytest.raises(GraphError, match=rf"\(Dropout\) .* ratio is {ratio}: expected the fraction to drop, from 0 up"):
        make_program(dropout(ratio))


def test_without_a_key_nothing_is_drawn():
    program = make_program(dropout(), wrt=[], seeds=[])
    with pytest.raises(GraphError, match=r"node 'Dropout' .*: it draws random numbers: give a key"):
        program.forward({}, {}, {"x": ONES})
