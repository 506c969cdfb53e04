"""singa.sonnx: what leads to tensors as ONNX models, and models as operations on the tape."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aidgejax.frontends.singa import autograd, layer, opt, sonnx, tensor

X = np.array([[-0.9, 0.1], [0.3, 0.0]], np.float32)


def network(batch=3):
    """y = relu(x w1) w2: four nodes with their biases left out, two of them products."""
    rng = np.random.default_rng(0)
    weights = {"w1": rng.normal(size=(4, 5)), "w2": rng.normal(size=(5, 2))}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("MatMul", ["a", "w2"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 2])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7), weights


def test_numbers_among_the_inputs_are_constants():
    x = tensor.from_numpy(X)
    model = sonnx.to_onnx([x, -0.5, 0.5], [autograd.clip(x, -0.5, 0.5)])
    assert len(model.graph.input) == 1
    assert len(sonnx.to_onnx([x, [4, 1]], [autograd.reshape(x, [4, 1])]).graph.input) == 1
    (y,) = sonnx.prepare(model).run([x])
    np.testing.assert_array_equal(tensor.to_numpy(y), np.clip(X, -0.5, 0.5))


def test_nonzero_goes_out_and_comes_back_with_any_number_of_positions():
    x = tensor.from_numpy(X)
    model = sonnx.to_onnx([x], [autograd.nonzero(x)])
    assert "NonZero" in [n.op_type for n in model.graph.node]
    for array in (X, np.ones((2, 2), np.float32)):
        (y,) = sonnx.prepare(model).run([array])
        np.testing.assert_array_equal(tensor.to_numpy(y), np.nonzero(array))


class Extended(sonnx.SONNXModel):
    def __init__(self, source, last):
        super().__init__(source)
        self.last, self.top = last, layer.Linear(5, 3)

    def forward(self, x):
        self.found = super().forward(x, last_layers=self.last)
        return self.top(self.found[0])

    def train_one_batch(self, x, y):
        out = self.forward(x)
        loss = autograd.softmax_cross_entropy(out, y)
        self.optimizer(loss)
        return out, loss


def test_a_models_forward_is_a_list_and_its_first_output_the_whole_batch():
    source, weights = network()
    x = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    found = sonnx.SONNXModel(source).forward(tensor.from_numpy(x))
    assert isinstance(found, list)
    want = np.maximum(x @ weights["w1"], 0) @ weights["w2"]
    np.testing.assert_allclose(tensor.to_numpy(found[0]), want, rtol=1e-5)


@pytest.mark.parametrize(("last", "node"), [(-1, 0), (-2, 2), (-3, 1), (0, 0), (1, 1), (2, 2)])
def test_last_layers_counts_as_in_singa(last, node):
    source, weights = network()
    x = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    steps = [x @ weights["w1"]]
    steps.append(np.maximum(steps[0], 0))
    steps.append(steps[1] @ weights["w2"])
    (y,) = sonnx.prepare(source).run([x], last_layers=last)
    np.testing.assert_allclose(tensor.to_numpy(y), steps[node], rtol=1e-5)


def test_a_cut_model_trains_below_new_layers():
    m = Extended(network()[0], last=1)
    m.set_optimizer(opt.SGD(0.1))
    x = tensor.from_numpy(np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32))
    y = tensor.from_numpy(np.array([0, 1, 2], np.int32))
    m.compile([x], is_train=True, use_graph=True)
    before = {k: tensor.to_numpy(p) for k, p in m.get_params().items()}
    losses = [float(tensor.to_numpy(m(x, y)[1])[0]) for _ in range(10)]
    m.eval()
    assert losses[-1] < losses[0]
    assert np.abs(tensor.to_numpy(m.get_params()["w1"]) - before["w1"]).max() > 1e-4


def test_backend_and_frontend_are_those_of_onnx_tools():
    node = helper.make_node("Relu", ["x"], ["y"])
    (y,) = sonnx.SingaBackend.run_node(node, [tensor.from_numpy(X)])
    np.testing.assert_array_equal(tensor.to_numpy(y), np.maximum(X, 0))
    rep = sonnx.SingaBackend.prepare(network()[0], "CPU")
    assert isinstance(rep, onnx.backend.base.BackendRep) and sonnx.SingaBackend.supports_device("CPU")
    x = tensor.from_numpy(X)
    assert sonnx.SingaFrontend.singa_to_onnx_graph([x], [autograd.relu(x)]).node[0].op_type == "Relu"
    assert sonnx.OnnxNode(helper.make_node("Elu", ["x"], ["y"], alpha=0.5)).getattr("alpha") == 0.5
    assert sonnx.onnx_type_to_singa_type(TensorProto.INT32) == tensor.int32


@pytest.mark.parametrize("dynamic", [False, True])
def test_what_a_model_reads_as_booleans_may_be_arrays_or_numbers(dynamic):
    nodes = [
        helper.make_node("Xor", ["a", "b"], ["c"]),
        helper.make_node("NonZero", ["c"], ["y"]) if dynamic else helper.make_node("Where", ["c", "x", "zero"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.BOOL, [3]) for n in "ab"]
    inputs += [] if dynamic else [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])]
    y = helper.make_tensor_value_info("y", TensorProto.INT64 if dynamic else TensorProto.FLOAT, None)
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
    graph = helper.make_graph(nodes, "logic", inputs, [y], [zero])
    rep = sonnx.SingaBackend.prepare(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    a, b = np.array([True, True, False]), np.array([True, False, True])
    numbers = [tensor.from_numpy(v.astype(np.int32)) for v in (a, b)]
    x = [] if dynamic else [np.array([1, 2, 3], np.float32)]
    for given in ([a, b], numbers):
        (found,) = rep.run([*given, *x])
        np.testing.assert_array_equal(tensor.to_numpy(found), [[1, 2]] if dynamic else [0, 2, 3])
