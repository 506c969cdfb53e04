"""Frozen bodies and statistics, and networks exported for inference put back into training mode."""

import jax
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.errors import GraphError


def network(dropout=0.0):
    """Conv, BatchNormalization twice, Dropout, Gemm; as an exporter writes it for inference."""
    rng = np.random.default_rng(0)
    g = aj.Graph("small")
    op, y = g.op, g.input("x", ("N", 2, 4, 4))
    for k, (i, o) in enumerate(((2, 3), (3, 4))):
        w = g.parameter(f"w{k}", rng.normal(0, 0.5, (o, i, 3, 3)).astype(np.float32))
        scale, bias = (g.parameter(f"{n}{k}", rng.uniform(0.5, 1.5, o).astype(np.float32)) for n in ("scale", "bias"))
        mean, var = (g.buffer(f"{n}{k}", rng.uniform(0.5, 1.5, o).astype(np.float32)) for n in ("mean", "var"))
        y = op.BatchNormalization(op.Conv(y, w, pads=(1, 1, 1, 1)), scale, bias, mean, var, name=f"norm{k}")
        y = op.Relu(y, name=f"relu{k}")
    y = op.Flatten(op.GlobalAveragePool(y), name="features")
    y = op.Dropout(y, dropout) if dropout else y
    w = g.parameter("w", rng.normal(0, 0.5, (4, 3)).astype(np.float32))
    g.output(op.MatMul(y, w, name="y"))
    return aj.onnxio.read(aj.onnxio.to_model(aj.infer_shapes(g)))


X = np.random.default_rng(1).normal(size=(5, 2, 4, 4)).astype(np.float32)


def outcome(graph, training=True):
    """(output, gradients of its sum, buffers afterwards)"""
    program = aj.make_program(graph, training=training)
    outputs, saved, buffers = program.forward(graph.params, graph.buffers, {"x": X}, jax.random.key(3))
    grads = program.backward(graph.params, saved, {"y": np.ones((5, 3), np.float32)})
    return np.asarray(outputs["y"]), grads, buffers


def test_an_inference_export_trains_with_the_statistics_of_the_batch():
    graph = network()
    assert not any(n.attrs.get("training_mode") for n in graph.nodes)
    trained, _, buffers = outcome(graph)
    inferred, _, same = outcome(graph, training=False)
    assert np.abs(trained - inferred).max() > 0.1
    assert all(np.abs(buffers[b] - graph.buffers[b]).max() > 1e-3 for b in graph.buffers)
    assert all(np.array_equal(same[b], graph.buffers[b]) for b in graph.buffers)


def test_frozen_statistics_are_used_and_kept():
    graph = network()
    frozen = aj.freeze_statistics(graph)
    assert not frozen.buffers and set(frozen.params) == set(graph.params)
    got, grads, buffers = outcome(frozen)
    want, same, _ = outcome(graph, training=False)
    np.testing.assert_array_equal(got, want)
    for p in graph.params:
        np.testing.assert_array_equal(grads[p], same[p])
    assert buffers == {}


def test_one_of_two_may_be_frozen_with_its_scale_and_bias():
    graph = network()
    frozen = aj.freeze_statistics(graph, ["norm0"], scale_and_bias=True)
    assert set(frozen.buffers) == {"mean1", "var1"} and set(graph.params) - set(frozen.params) == {"scale0", "bias0"}
    _, grads, buffers = outcome(frozen)
    assert set(grads) == {"w0", "w1", "scale1", "bias1", "w"}
    assert np.abs(buffers["mean1"] - graph.buffers["mean1"]).max() > 1e-3


def test_frozen_stays_frozen_in_a_file():
    frozen = aj.freeze_statistics(network(), ["norm0"])
    again = aj.onnxio.read(aj.onnxio.to_model(frozen))
    assert set(again.buffers) == {"mean1", "var1"}
    np.testing.assert_array_equal(outcome(again)[0], outcome(frozen)[0])


def test_a_frozen_body_leaves_the_head():
    graph = network()
    head = aj.freeze_body(graph, "features")
    assert list(head.params) == ["w"] and not head.buffers
    np.testing.assert_allclose(outcome(head)[1]["w"], outcome(graph, training=False)[1]["w"], rtol=1e-6)


def test_a_network_cut_off_has_what_it_needs():
    graph = aj.cut_at(network(), "relu0")
    assert set(graph.producers) == {"w0", "scale0", "bias0", "mean0", "var0"} and graph.outputs == ["relu0"]
    assert [n.name for n in graph.nodes][-1] == "relu0" and aj.run(graph, [X])[0].shape == (5, 3, 4, 4)


def test_dropout_exported_for_inference_drops_in_training():
    graph = network(dropout=0.5)
    frozen = aj.freeze_body(graph, "features")
    features = [n for n in graph.nodes if n.op == "Dropout"][0].outputs[0]
    frozen.outputs.append(features)
    kept = outcome_of(frozen, features, training=False)
    dropped = outcome_of(frozen, features, training=True)
    share = np.mean(dropped[kept != 0] == 0)
    assert 0.1 < share < 0.9
    np.testing.assert_allclose(dropped[dropped != 0], 2 * kept[dropped != 0], rtol=1e-6)


def outcome_of(graph, name, training):
    program = aj.make_program(graph, training=training)
    return np.asarray(program.forward(graph.params, graph.buffers, {"x": X}, jax.random.key(3))[0][name])


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda g: aj.freeze_statistics(g, ["relu0"]),
            r"no node 'relu0' with running statistics; it has 'norm0', 'norm1'",
        ),
        (lambda g: aj.freeze_body(g, "y"), r"up to 'y' leaves nothing to train: 11 tensors"),
        (lambda g: aj.freeze_body(g, "x"), r"up to 'x' leaves all of it to train"),
        (lambda g: aj.freeze_body(g, "nobody"), r"has no tensor 'nobody'"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(GraphError, match=message):
        call(network())
