"""What users' scripts call beyond the page: tensors, nodes, graphs, the loop's cost, ONNX."""

import numpy as np
import onnx
import pytest

from aidgejax.execution import program as lower
from aidgejax.frontends import aidge_core as ac
from aidgejax.frontends import aidge_learning as al
from aidgejax.frontends import aidge_onnx

from ._golden import BACKENDS, cases, golden, grad, value


def lenet(backend="cpu"):
    graph = ac.sequential(
        [
            ac.Conv2D(1, 2, [3, 3], name="conv"),
            ac.ReLU(name="relu"),
            ac.MaxPooling2D([2, 2], stride_dims=[2, 2], name="pool"),
            ac.FC(18, 4, name="fc"),
        ]
    )
    graph.set_backend(backend)
    ac.random.Generator.set_seed(4)
    ac.init_producer(graph, "Producer-1>(Conv2D|FC)", ac.he_filler)
    ac.init_producer(graph, "Producer-2>(Conv2D|FC)", lambda t: ac.constant_filler(t, 0.01))
    return graph


def images(rows=4):
    return np.random.default_rng(0).normal(size=(rows, 1, 8, 8)).astype(np.float32)


# ---- tensors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "bool"])
def test_a_tensor_keeps_its_dtype(kind):
    a = np.array([[0, 1, 2], [3, 4, 5]]).astype(kind)
    t = ac.Tensor(a)
    a[...] = 0
    assert t.dims == [2, 3] and t.dtype == ac.numpy_to_aidge_dtype(kind) and len(t) == 6
    np.testing.assert_array_equal(np.array(t), np.arange(6).reshape(2, 3).astype(kind))
    assert np.array(t.array()).dtype == np.dtype(kind)  # on the device as well, without any JAX setting
    assert t[4] == np.array(4).astype(kind) and t[1, 1] == t[4]


def test_views_are_live_both_ways():
    graph, run = lenet(), None
    w = graph.get_node("fc_w").get_operator().get_output(0)
    view = np.asarray(w)
    view[...] = 0
    run = ac.SequentialScheduler(graph)
    pred = run.forward(data=[images()])[0]
    np.testing.assert_allclose(np.array(pred), 0.01)
    seen = np.asarray(pred)
    view[...] = 1
    assert run.forward(data=[images()])[0] is pred and not np.allclose(seen, 0.01)  # the same tensor, the same buffer
    pred.grad[0] = 2.0
    np.asarray(pred.grad)[0, 1] = 1.0
    assert np.array(pred.grad).ravel()[:3].tolist() == [2.0, 1.0, 0.0]


def test_set_output_after_a_forward():
    graph = lenet()
    run = ac.SequentialScheduler(graph)
    before = np.array(run.forward(data=[images()])[0])
    bias = graph.get_node("fc_b").get_operator()
    tensor = bias.get_output(0)
    bias.set_output(0, ac.Tensor(np.full(4, 1.01, np.float32)))
    assert bias.get_output(0) is tensor
    np.testing.assert_allclose(np.array(run.forward(data=[images()])[0]), before + 1, rtol=1e-5)


def test_inside_the_graph():
    graph = lenet()
    run = ac.SequentialScheduler(graph)
    relu = graph.get_node("relu").get_operator().get_output(0)
    pred = run.forward(data=[images()])[0]
    conv = graph.get_node("conv").get_operator().get_output(0)
    np.testing.assert_allclose(np.array(relu), np.maximum(np.array(conv), 0))
    al.loss.CELoss(pred, np.array([0, 1, 2, 3]))
    run.backward()
    late = np.array(relu.grad)  # asked for after the pass
    pred = run.forward(data=[images()])[0]
    assert not np.array(relu.grad).any()
    al.loss.CELoss(pred, np.array([0, 1, 2, 3]))
    run.backward()
    np.testing.assert_allclose(np.array(relu.grad), late, rtol=1e-5)
    relu.grad[0] += 1.0  # written by hand: where the next pass starts, too
    assert relu.grad[0] == pytest.approx(float(late.ravel()[0]) + 1, rel=1e-5)


def test_float64_trains():
    graph = lenet()
    graph.set_datatype(ac.dtype.float64)
    opt = al.Adam()
    opt.set_parameters(ac.producers(graph))
    run = ac.SequentialScheduler(graph)
    for _ in range(2):
        pred = run.forward(data=[images().astype(np.float64)])[0]
        opt.reset_grad()
        al.loss.MSE(pred, ac.Tensor(np.zeros((4, 4))))
        run.backward()
        opt.update()
    assert pred.dtype == ac.dtype.float64 and value(graph.get_node("fc_w")).dtype == np.float64


# ---- graphs ---------------------------------------------------------------------------------------------


def test_names_of_producers():
    graph = ac.sequential(
        [
            ac.PaddedConv2D(1, 2, [3, 3], name="c", padding_dims=[1, 1, 1, 1]),
            ac.BatchNorm2D(2, name="bn"),
            ac.FC(8, 2, no_bias=True, name="f"),
        ]
    )
    assert [n.name() for n in ac.producers(graph)] == [
        "c_w",
        "c_b",
        "bn_scale",
        "bn_shift",
        "bn_batch_mean",
        "bn_batch_variance",
        "f_w",
    ]
    again = ac.sequential([ac.FC(2, 2, name="a"), ac.FC(2, 2, name="a")])
    assert sorted(n.name() for n in again.get_nodes()) == ["a", "a_1", "a_b", "a_b_1", "a_w", "a_w_1"]


def test_building():
    block = ac.residual([ac.FC(3, 3, name="f1"), ac.ReLU(name="r"), ac.FC(3, 3, name="f2"), ac.Add(name="add")])
    assert block.get_node("add").get_parent(1).name() == "f1"
    split = ac.sequential([ac.FC(3, 3, name="f"), ac.parallel([ac.ReLU("a"), ac.Tanh("b")]), ac.Concat(2, 1, name="c")])
    split.set_backend("cpu")
    assert split.forward_dims([[5, 3]]) and split.get_node("c").get_operator().get_output(0).dims == [5, 6]
    assert not split.forward_dims() and not ac.sequential([ac.ReLU("x")]).forward_dims()
    copy = split.clone()
    assert copy.get_node("f_w") is not split.get_node("f_w") and len(copy.get_nodes()) == len(split.get_nodes())
    assert split.get_node("nobody") is None


@pytest.mark.parametrize("case", cases("graph_queries"), ids=lambda c: c["query"] or "empty")
def test_queries(case):
    def made(kind, *args):
        *sizes, name = args
        more = {"Conv2D": [[3, 3]], "Softmax": [1]}.get(kind, [])
        return getattr(ac, kind)(*sizes, *more, name=name)

    layers = golden("graph_queries")["meta"]["model"]
    matching = ac.SinglePassGraphMatching(ac.sequential([made(*layer) for layer in layers]))
    if case["error"]:
        with pytest.raises(RuntimeError):
            matching.match(case["query"])
    else:
        found = [
            [m.root_node.name(), sorted(n.name() for n in m.graph.get_nodes())] for m in matching.match(case["query"])
        ]
        assert sorted(found) == case["matches"]


def test_queries_ask_lambdas():
    matching = ac.SinglePassGraphMatching(lenet())
    matching.add_node_lambda("wide", lambda n: n.get_operator().get_input(1).dims[1] > 10)
    assert [m.root_node.name() for m in matching.match("FC[wide]")] == ["fc"]
    assert matching.match("Conv2D[wide]") == []


# ---- the loop is fast -----------------------------------------------------------------------------------


def test_nothing_is_traced_after_the_first_step(monkeypatch):
    graph, traced = lenet(), []
    opt = al.SGD(momentum=0.9)
    opt.set_parameters(ac.producers(graph))
    opt.set_learning_rate_scheduler(al.step_lr(0.1, 2))
    run = ac.SequentialScheduler(graph)
    for name in ("forward", "backward"):
        plain = getattr(lower.Program, name)
        monkeypatch.setattr(
            lower.Program, name, lambda *a, plain=plain, name=name, **k: traced.append(name) or plain(*a, **k)
        )
    after = []
    for step in range(6):
        pred = run.forward(data=[images()])[0]
        if step % 3 == 0:
            opt.reset_grad()
        loss = al.loss.CELoss(pred, np.array([0, 1, 2, 3]), 1 / 3)
        run.backward()
        if step % 3 == 2:
            opt.update()
        after.append(len(traced))
    assert after[-1] == after[0], f"traced per step: {after}"
    assert loss[0] < 10


def test_a_shorter_batch_and_back():
    graph = lenet()
    run = ac.SequentialScheduler(graph)
    whole = np.array(run.forward(data=[images(4)])[0])
    np.testing.assert_allclose(np.array(run.forward(data=[images(4)[:3]])[0]), whole[:3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.array(run.forward(data=[images(4)])[0]), whole)


# ---- statistics, dropout, ONNX ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_batch_norm_trains(backend):
    x = np.random.default_rng(1).normal(2.0, 3.0, (8, 2, 3, 3)).astype(np.float32)
    graph = ac.sequential([ac.BatchNorm2D(2, momentum=0.9, name="bn")])
    graph.set_backend(backend)
    al.init_batchnorm_producers(graph)
    opt = al.SGD(weight_decay=0.5)
    opt.set_parameters(ac.producers(graph))
    assert al.set_batchnorm_training_mode(graph) == 1
    run = ac.SequentialScheduler(graph)
    y = np.array(run.forward(data=[x])[0])
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-5)
    mean, variance = (value(graph.get_node(f"bn_batch_{n}")) for n in ("mean", "variance"))
    np.testing.assert_allclose(mean, 0.1 * x.mean((0, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(variance, 0.9 + 0.1 * x.var((0, 2, 3)), rtol=1e-4)
    run.backward()
    for _ in range(2):
        opt.update()
    np.testing.assert_array_equal(value(graph.get_node("bn_batch_mean")), mean)
    al.set_batchnorm_training_mode(graph, False)
    run.forward(data=[x])
    np.testing.assert_array_equal(value(graph.get_node("bn_batch_mean")), mean)


def test_dropout_is_drawn_anew_and_reproducible():
    graph = ac.sequential([ac.FC(6, 50, name="fc"), ac.Dropout(0.5, name="drop")])
    graph.set_backend("cpu")
    ac.init_producer(graph, "Producer-*>FC", lambda t: ac.constant_filler(t, 1.0))
    run, draws = ac.SequentialScheduler(graph), []
    for _ in range(2):
        ac.random.Generator.set_seed(9)
        draws.append([np.array(run.forward(data=[np.ones((2, 6), np.float32)])[0]) for _ in range(2)])
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(*draws[0]) and set(np.unique(draws)) == {0.0, 14.0}


def test_onnx_there_and_back(tmp_path):
    graph = lenet()
    run = ac.SequentialScheduler(graph)
    want = np.array(run.forward(data=[images()])[0])
    path = tmp_path / "model.onnx"
    aidge_onnx.export_onnx(graph, str(path))
    again = aidge_onnx.load_onnx(str(path))
    assert {(n.type(), n.name()) for n in again.get_nodes()} == {(n.type(), n.name()) for n in graph.get_nodes()} | {
        ("Flatten", "fc_Flatten")
    }  # Aidge's FC flattens by itself
    again.set_backend("cpu")
    np.testing.assert_allclose(np.array(ac.SequentialScheduler(again).forward(data=[images()])[0]), want, rtol=1e-5)
    assert ac.init_producer(again, "Producer-1>(Conv2D|FC)", ac.he_filler) == 2
    assert aidge_onnx.has_native_coverage(again)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        aidge_onnx.load_onnx(str(tmp_path / "none.onnx"))
    shapeless = ac.sequential([ac.ReLU("r")])
    with pytest.raises(RuntimeError, match="the shape of input 0 of node 'r'"):
        aidge_onnx.export_onnx(shapeless, str(path))
    aidge_onnx.export_onnx(shapeless, str(path), inputs_dims={"r": [[2, 3]]}, opset=15, ir_version=7)
    assert onnx.load(path).ir_version == 7
    model = aidge_onnx.convert_aidge_to_onnx(shapeless, "m", inputs_dims={"r": [[2, 3]]}, ir_version=9)
    assert (model.ir_version, model.graph.name) == (9, "m")
    with pytest.raises(RuntimeError, match="ir_version is 99; expected 3 to"):
        aidge_onnx.export_onnx(shapeless, str(path), ir_version=99)
    custom = ac.sequential([ac.ReLU("r"), ac.GenericOperator("Odd", 1, 0, 1, name="odd")])
    with pytest.raises(RuntimeError, match="of 'odd' is Python's or nobody's, .* replace it by operators"):
        aidge_onnx.export_onnx(custom, str(path), {"r": [[2, 3]]}, enable_custom_op=True)


def test_a_loader_of_other_arrays():
    """Anything that NumPy can read is a batch, as a torch DataLoader's are."""

    class Foreign:
        def __init__(self, a):
            self.a = a

        def __array__(self, dtype=None, copy=None):
            return self.a

    run = ac.SequentialScheduler(lenet())
    pred = run.forward(data=[Foreign(images())])[0]
    al.loss.CELoss(pred, Foreign(np.array([0, 1, 2, 3])))
    run.backward()
    assert grad(run.graph_view().get_node("fc_w")).any()
