"""Whole networks: written, read back and executed by everyone who can."""

import jax
import numpy as np
import onnxruntime
import pytest

from aidgejax import make_program, onnxio, reference, run
from aidgejax.passes.gradient import grad_name
from aidgejax.tools import zoo

NETWORKS = {
    "mlp": lambda: zoo.mlp((12, 16, 5)),
    "LeNet 28": zoo.lenet,
    "LeNet 8": lambda: zoo.lenet(size=8),
    "ResNet-8": zoo.resnet8,
    "MobileNetV1": lambda: zoo.mobilenet_v1(size=32),
    "transformer": zoo.transformer_encoder,
    "transformer with dropout": lambda: zoo.transformer_encoder(depth=1, dropout=0.1),
}


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda n: n.replace(" ", "-"))
def graph(request):
    return with_real_statistics(NETWORKS[request.param]())


def with_real_statistics(graph, seed=1):
    """Fresh statistics are 0 and 1, which would hide mistakes."""
    rng = np.random.default_rng(seed)
    return graph.with_params(
        {},
        {
            n: rng.uniform(0.3, 0.9, a.shape) if n.endswith("var") else rng.uniform(-0.1, 0.1, a.shape)
            for n, a in graph.buffers.items()
        },
    )


def feeds(graph, batch=3):
    rng = np.random.default_rng(2)
    (x,) = graph.inputs.values()
    shape = [batch if d == "N" else d for d in x.shape]
    return {"x": rng.integers(0, 8, shape) if x.dtype == "int64" else rng.normal(size=shape).astype(np.float32)}


def difference(got, want):
    """Relative to the largest number."""
    assert got.shape == want.shape and got.dtype == want.dtype and np.max(np.abs(want)) > 1e-3
    return np.max(np.abs(got - want)) / np.max(np.abs(want))


def test_names_roles_and_numbers_survive(graph):
    again = onnxio.read(onnxio.to_model(graph))
    assert list(again.inputs.values()) == list(graph.inputs.values()) and again.outputs == graph.outputs
    assert [(n.name, n.op, n.outputs) for n in again.nodes] == [(n.name, n.op, n.outputs) for n in graph.nodes]
    assert again.name == graph.name
    for name, p in graph.producers.items():
        other = again.producers[name]
        assert other.role == p.role and other.data.dtype == p.data.dtype and np.array_equal(other.data, p.data), name
    batch = feeds(graph)
    np.testing.assert_array_equal(run(again, batch, "numpy")[0], run(graph, batch, "numpy")[0])
    third = onnxio.read(onnxio.to_model(again))
    assert str(third) == str(again)


def test_onnxruntime_computes_the_same(graph):
    model = onnxio.to_model(graph)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    assert [i.name for i in session.get_inputs()] == ["x"] and session.get_outputs()[0].name == "logits"
    assert session.get_outputs()[0].shape[0] == "N"
    for batch in (1, 3):
        (want,) = session.run(None, feeds(graph, batch))
        for backend in ("jax", "numpy"):
            (got,) = run(graph, feeds(graph, batch), backend)
            assert difference(got, want) < 1e-5, backend


def test_a_runtime_two_years_old_can_read_it(graph):
    """onnxruntime 1.17 and 1.18 know opset 20 and IR 9."""
    model = onnxio.to_model(graph)
    assert model.opset_import[0].version <= 20 and model.ir_version <= 9
    assert {n.domain for n in model.graph.node} == {""}


@pytest.mark.parametrize(
    "network", [pytest.param(n, marks=pytest.mark.slow if n == "MobileNetV1" else ()) for n in NETWORKS]
)
def test_the_gradient_is_written_too(network):
    """In standard operators; onnxruntime finds the gradients that we find."""
    graph = with_real_statistics(NETWORKS[network]())
    program = make_program(graph, training=False)
    batch = feeds(graph)
    tensors = reference.execute(program.graph, batch)
    dy = np.random.default_rng(3).normal(size=tensors["logits"].shape).astype(np.float32)
    tensors |= {grad_name("logits"): dy}
    want = jax.jit(lambda p: program.backward(p, program.forward(p, graph.buffers, batch)[1], {"logits": dy}))(
        graph.params
    )
    model = onnxio.to_model(program.gradient)
    assert {n.domain for n in model.graph.node} == {""}
    session = onnxruntime.InferenceSession(model.SerializeToString())
    inputs = {i.name: np.asarray(tensors[i.name]) for i in session.get_inputs()}
    again = reference.execute(onnxio.read(model), inputs)
    for name, g, o in zip(program.wrt, session.run(None, inputs), program.gradient.outputs, strict=True):
        w = np.asarray(want[name])
        for found in (g, again[o]):
            assert found.shape == w.shape and np.max(np.abs(found - w)) < 2e-5 * max(1.0, np.max(np.abs(w))), name
