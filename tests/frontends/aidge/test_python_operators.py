"""Operators whose computation is the user's Python: shapes, forward, backward, and what runs around them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aidgejax.frontends import aidge_core as ac
from aidgejax.frontends import aidge_learning as al
from aidgejax.frontends import aidge_onnx

from ._golden import BACKENDS


class Scaled(ac.OperatorImpl):
    """y = 3 x, in NumPy."""

    def __init__(self, op):
        super().__init__(op, "cpu")
        self.op = op

    def forward(self):
        self.op.set_output(0, ac.Tensor(3 * np.array(self.op.get_input(0))))

    def backward(self):
        into = np.array(self.op.get_input(0).grad, copy=False)
        into += 3 * np.array(self.op.get_output(0).grad)


def scaled_node():
    node = ac.GenericOperator("Scaled", 1, 0, 1, name="scaled")
    node.get_operator().set_forward_dims(lambda dims: dims)
    node.get_operator().set_impl(Scaled(node.get_operator()))
    return node


def tensor(array):
    made = ac.Tensor(np.asarray(array, np.float32))
    made.set_backend("cpu")
    return made


def network(middle):
    graph = ac.sequential([ac.FC(4, 5, name="a"), ac.Tanh(name="t"), middle, ac.FC(5, 3, name="b")])
    graph.set_backend("cpu")
    rng = np.random.default_rng(0)
    for p in sorted(ac.producers(graph), key=lambda n: n.name()):
        out = p.get_operator().get_output(0)
        out.fill(rng.normal(0, 0.5, out.dims).astype(np.float32))
    return graph


def triple():
    """The same as Scaled, by an operator of the core's."""
    node = ac.Mul(name="scaled")
    ac.Producer(tensor([3.0]), "three", constant=True).add_child(node, 0, 1)
    return node


def trained(graph, steps=3):
    opt = al.SGD(momentum=0.9)
    opt.set_parameters([p for p in ac.producers(graph)])
    opt.set_learning_rate_scheduler(al.constant_lr(0.1))
    scheduler = ac.SequentialScheduler(graph)
    x = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    losses = []
    for _ in range(steps):
        pred = scheduler.forward(data=[tensor(x)])[0]
        opt.reset_grad()
        losses.append(al.loss.CELoss(pred, np.arange(6) % 3)[0])
        scheduler.backward()
        opt.update()
    return losses, {p.name(): np.array(p.get_operator().get_output(0)) for p in ac.producers(graph)}


def test_training_through_a_python_operator_is_training_through_the_same_formula():
    own, own_weights = trained(network(scaled_node()))
    core, core_weights = trained(network(triple()))
    np.testing.assert_allclose(own, core, rtol=1e-5)
    for name, weight in core_weights.items():
        np.testing.assert_allclose(own_weights[name], weight, rtol=1e-4, atol=1e-6, err_msg=name)


def test_shapes_go_through_a_generic_operator():
    node = ac.GenericOperator("Half", 1, 0, 1, name="half")
    graph = ac.sequential([ac.ReLU(name="r"), node, ac.FC(2, 3, name="f")])
    graph.set_backend("cpu")
    assert graph.forward_dims([[5, 4]]) is False  # nothing states what it does to shapes
    node.get_operator().set_forward_dims(lambda dims: [[dims[0][0], dims[0][1] // 2]])
    assert graph.forward_dims([[5, 4]]) is True
    assert graph.get_node("f").get_operator().get_output(0).dims == [5, 3]


def test_a_generic_operator_without_a_formula_says_so():
    graph = ac.sequential([ac.ReLU(name="r"), ac.GenericOperator("Odd", 1, 0, 1, name="odd")])
    graph.set_backend("cpu")
    with pytest.raises(RuntimeError, match="'odd' is a GenericOperator: it has no formula"):
        ac.SequentialScheduler(graph).forward(data=[tensor([[1.0]])])


def test_an_implementation_without_a_backward_says_so():
    class Forward(ac.OperatorImpl):
        def forward(self):
            self.get_operator().set_output(0, ac.Tensor(np.array(self.get_operator().get_input(0))))

    node = ac.GenericOperator("F", 1, 0, 1, name="f")
    node.get_operator().set_impl(Forward(node.get_operator()))
    graph = ac.sequential([ac.ReLU(name="r"), node])
    graph.set_backend("cpu")
    scheduler = ac.SequentialScheduler(graph)
    y = scheduler.forward(data=[tensor([[1.0, -2.0]])])[0]
    assert np.array(y).tolist() == [[1, 0]]
    y.grad[0] = 1.0
    with pytest.raises(RuntimeError, match="Forward, the implementation of a F, defines no backward"):
        scheduler.backward()


def test_a_node_alone_is_computed():
    node = ac.Tanh(name="t")
    node.get_operator().set_input(0, tensor([[0.5]]))
    node.forward()
    assert np.array(node.get_operator().get_output(0))[0, 0] == pytest.approx(np.tanh(0.5))


def test_registered_implementations_are_taken_by_set_backend():
    calls = []

    class Counting(ac.OperatorImpl):
        def __init__(self, op):
            super().__init__(op, "cpu")

        def forward(self):
            calls.append(self.get_operator().type())

    ac.register_GenericOperatorOp(["numpy", "Counted"], Counting)
    assert ("numpy", "Counted") in ac.get_keys_GenericOperatorOp()
    assert {"cpu", "numpy"} <= set(ac.get_keys_ReLUOp())
    node = ac.GenericOperator("Counted", 1, 0, 1)
    node.get_operator().set_backend("cpu")
    assert node.get_operator().get_impl() is None
    node.get_operator().set_backend("numpy")
    node.get_operator().forward()
    assert calls == ["Counted"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_meta_operator_computes_what_its_graph_computes(backend):
    def chain():
        graph = ac.sequential([ac.FC(4, 5, name="a"), ac.Tanh(name="t"), ac.FC(5, 3, name="b")])
        rng = np.random.default_rng(0)
        for p in sorted(ac.producers(graph), key=lambda n: n.name()):
            p.get_operator().get_output(0).set_backend("cpu")
            p.get_operator().get_output(0).fill(rng.normal(size=p.get_operator().dims()).astype(np.float32))
        return graph

    x = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    plain, node = chain(), ac.meta_operator("Block", chain(), name="block")
    whole = ac.sequential([node, ac.Sigmoid(name="s")])
    plain.set_backend(backend)
    whole.set_backend(backend)
    want = 1 / (1 + np.exp(-np.array(ac.SequentialScheduler(plain).forward(data=[ac.Tensor(x)])[0])))
    scheduler = ac.SequentialScheduler(whole)
    y = scheduler.forward(data=[ac.Tensor(x)])[0]
    np.testing.assert_allclose(np.array(y), want, rtol=1e-5)
    y.grad.ones()
    scheduler.backward()
    inner = node.get_operator().get_micro_graph().get_node("b_b").get_operator().get_output(0)
    np.testing.assert_allclose(np.array(inner.grad), (want * (1 - want)).sum(0), rtol=1e-4)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_recurrent_cells_have_gradients(cell):
    """Central differences along a drawn direction of every weight."""
    graph = ac.sequential([ac.Pop(name="p"), getattr(ac, cell)(3, 4, 2, name="u")])
    graph.set_backend("cpu")
    rng = np.random.default_rng(3)
    weights = [p.get_operator().get_output(0) for p in ac.producers(graph)]
    for w in weights:
        w.fill(rng.normal(0, 0.5, w.dims).astype(np.float32))
    states = [tensor(rng.normal(size=(2, 4))) for _ in range(2 if cell == "LSTM" else 1)]
    x, dy = tensor(rng.normal(size=(2, 2, 3))), rng.normal(size=(2, 4)).astype(np.float32)
    scheduler = ac.SequentialScheduler(graph)

    def value():
        return float(np.sum(dy * np.array(scheduler.forward(data=[x, *states])[0])))

    y = scheduler.forward(data=[x, *states])[0]
    y.grad.fill(dy)
    scheduler.backward()
    grads = [np.array(w.grad) for w in weights]
    directions = [rng.normal(size=w.dims).astype(np.float32) for w in weights]
    h, ends = 1e-2, []
    for sign in (1, -1):
        for w, d in zip(weights, directions, strict=True):
            w.fill(np.array(w) + np.float32(sign * h) * d)
        ends.append(value())
        for w, d in zip(weights, directions, strict=True):
            w.fill(np.array(w) - np.float32(sign * h) * d)
    slope = sum(float(np.sum(g * d)) for g, d in zip(grads, directions, strict=True))
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=2e-2)


def test_an_initial_state_must_be_given():
    graph = ac.sequential([ac.LSTM(3, 4, 1, name="u")])
    graph.set_backend("cpu")
    for p in ac.producers(graph):
        ac.constant_filler(p.get_operator().get_output(0), 0.1)
    with pytest.raises(RuntimeError, match="input 17 of node 'u'"):
        ac.SequentialScheduler(graph).forward(data=[tensor(np.ones((1, 3)))])


@pytest.mark.parametrize("reset", ["subtraction", "to_zero"])
def test_a_leaky_neuron_integrates_and_fires(reset):
    x = np.random.default_rng(8).uniform(0, 1.2, (5, 2, 3)).astype(np.float32)
    u = s = np.zeros((2, 3), np.float32)
    for step in x:
        u = step + 0.9 * u - s if reset == "subtraction" else step + (1 - s) * 0.9 * u
        s = (u > 1).astype(np.float32)
    node = ac.Leaky(5, 0.9, 1.0, getattr(ac.leaky_reset, reset), name="k")
    graph = ac.sequential([ac.Pop(name="p"), node])
    graph.set_backend("cpu")
    (y,) = ac.SequentialScheduler(graph).forward(data=[tensor(x)])
    np.testing.assert_array_equal(np.array(y), s)


def test_unknown_operators_of_a_file_become_generic_operators(tmp_path, capsys, monkeypatch):
    """Two of them, one behind the other, the second with a stored input; shapes behind them are not in the file."""
    monkeypatch.setattr(ac.Log, "_console", ac.Level.Warn)
    rng = np.random.default_rng(0)
    stored = {k: rng.normal(size=s).astype(np.float32) for k, s in (("w", (4, 3)), ("v", (2, 3)), ("by", ()))}
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], transB=0, name="first"),
        helper.make_node("Scaled", ["h"], ["s"], domain="custom", name="scaled", factor=3.0, kind="plain", axes=[0, 1]),
        helper.make_node("Shifted", ["s", "by"], ["t"], domain="custom", name="shifted"),
        helper.make_node("Relu", ["t"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "v"], ["y"], transB=1, name="last"),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, k]) for n, k in (("x", 4), ("y", 2)))
    body = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(v, k) for k, v in stored.items()])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("custom", 1)]
    onnx.save(helper.make_model(body, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    view = aidge_onnx.load_onnx(str(tmp_path / "m.onnx"))
    assert "no operator 'Scaled' of domain 'custom'; it is a GenericOperator" in capsys.readouterr().out
    assert not aidge_onnx.has_native_coverage(view) and aidge_onnx.native_coverage_report(view)[1]["Scaled"] == 1
    assert "Scaled                       1 generic" in capsys.readouterr().out
    scaled, shifted = (view.get_node(n).get_operator() for n in ("scaled", "shifted"))
    assert (scaled.attr.factor, scaled.attr.kind, scaled.attr.axes) == (3.0, "plain", [0, 1])
    assert [n.name() for n in view.get_ordered_nodes() if n.type() != "Producer"] == [n.name for n in nodes]

    class Shifted(ac.OperatorImpl):
        def forward(self):
            a, b = (np.array(shifted.get_input(k)) for k in (0, 1))
            shifted.set_output(0, ac.Tensor(a + b))

        def backward(self):
            into = np.array(shifted.get_input(0).grad, copy=False)
            into += np.array(shifted.get_output(0).grad)

    for op, impl in ((scaled, Scaled(scaled)), (shifted, Shifted(shifted, "cpu"))):
        op.set_forward_dims(lambda dims: dims[:1])
        op.set_impl(impl)
    view.set_backend("cpu")
    given = rng.normal(size=(2, 4)).astype(np.float32)
    run = ac.SequentialScheduler(view)
    pred = run.forward(data=[tensor(given)])[0]
    hidden = np.maximum(3 * given @ stored["w"] + stored["by"], 0)
    np.testing.assert_allclose(np.array(pred), hidden @ stored["v"].T, rtol=1e-5)
    al.loss.MSE(pred, tensor(np.zeros((2, 2))))
    run.backward()
    d_hidden = (2 * hidden @ stored["v"].T / 4) @ stored["v"] * (hidden > 0)
    found = view.get_node("w").get_operator().get_output(0).grad
    np.testing.assert_allclose(np.array(found), 3 * given.T @ d_hidden, rtol=1e-4, atol=1e-5)


def test_log_goes_where_it_is_told_to(tmp_path, capsys):
    before = ac.Log.get_console_level()
    try:
        ac.Log.set_console_level(ac.Level.Error)
        ac.Log.set_file_name(str(tmp_path / "log.txt"))
        ac.Log.warn("quiet")
        ac.Log.error("loud")
        assert capsys.readouterr().out == "[ERROR] - loud\n"
        assert (tmp_path / "log.txt").read_text() == "[WARN] - quiet\n[ERROR] - loud\n"
        with pytest.raises(TypeError, match="a log level is one of Level.Debug"):
            ac.Log.set_console_level(3)
    finally:
        ac.Log.set_console_level(before)
        ac.Log.set_file_name("")


def test_names_that_are_not_there_say_what_to_use():
    from aidgejax.frontends import aidge_backend_cpu, aidge_backend_cuda, aidge_backend_opencv

    assert aidge_backend_cpu.get_project_version() == aidge_backend_cuda.get_project_version() == "0.10.1"
    assert not hasattr(aidge_backend_opencv, "COCO")
    with pytest.raises(ImportError, match=r"aidge_backend_opencv.COCO is not in aidgejax: derive from aidge_core.Data"):
        from aidgejax.frontends.aidge_backend_opencv import COCO  # noqa: F401
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        aidge_backend_cpu.nonsense  # noqa: B018
