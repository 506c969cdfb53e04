"""Control flow, sequences and functions: what is decided by the model itself is written out, trains and is written."""

from functools import cache

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from aidgejax import NumpyProgram, make_program, onnxio, reference, run, with_loss
from aidgejax.errors import GraphError, ModelFileError
from aidgejax.frontends.onnxruntime.training import artifacts
from aidgejax.ops import OPERATORS
from aidgejax.passes.roles import summary
from aidgejax.tools.inspect import inspect

from ._models import FLOAT, INT64, info, model, node

BOOL = TensorProto.BOOL
W = np.arange(6, dtype=np.float32).reshape(3, 2) / 4
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def body(nodes, inputs, outputs, tensors=None):
    stored = [onnx.numpy_helper.from_array(a, n) for n, a in (tensors or {}).items()]
    return helper.make_graph(nodes, "body", inputs, outputs, initializer=stored)


def both(graph, feeds, **options):
    """The outputs, the same by both backends."""
    found = {b: run(graph, feeds, b, **options) for b in ("jax", "numpy")}
    for a, b in zip(found["jax"], found["numpy"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    return found["numpy"]


def choice(condition, inputs=(), tensors=None):
    """y = MatMul(x, w) if condition else Neg(x) * v, v stored inside."""
    yes = body([node("MatMul", "x,w", "t", "product")], [], [info("t", None)])
    no = body(
        [node("Neg", "x", "n"), node("Mul", "n,v", "e", "scale")], [], [info("e", None)], {"v": np.float32([1, 2, 3])}
    )
    return model(
        [node("If", condition, "y", "choice", then_branch=yes, else_branch=no)],
        [info("x", ["N", 3]), *inputs],
        [info("y", None)],
        {"w": W, **(tensors or {})},
    )


def test_the_branch_that_is_taken_is_all_that_is_left():
    graph = onnxio.read(choice("yes", tensors={"yes": np.array(True)}))
    assert graph.count() == {"MatMul": 1} and graph.outputs == ["y"] and list(graph.params) == ["w"]
    np.testing.assert_allclose(both(graph, {"x": X})[0], X @ W, rtol=1e-6)
    other = onnxio.read(choice("yes", tensors={"yes": np.array([False])}))
    assert list(other.params) == ["v"] and other.value("y").shape == ("N", 3)
    np.testing.assert_allclose(both(other, {"x": X})[0], -X * [1, 2, 3], rtol=1e-6)


def test_a_condition_that_is_an_input_is_decided_when_the_graph_runs():
    graph = onnxio.read(choice("flag", [info("flag", [], BOOL)]))
    for flag, want in ((True, X @ W), (False, -X * [1, 2, 3])):
        np.testing.assert_allclose(both(graph, {"x": X, "flag": np.array(flag)})[0], want, rtol=1e-6)
    with pytest.raises(GraphError, match=r"node 'choice' \(If\) cannot be compiled: its condition depends on the data"):
        make_program(graph)
    assert onnxio.to_model(graph).graph == choice("flag", [info("flag", [], BOOL)]).graph
    with pytest.raises(GraphError, match="choice"):
        onnxio.to_model(graph, patch=False)


def test_an_input_may_be_given_its_value_when_the_model_is_read():
    m = choice("flag", [info("flag", [], BOOL)])
    graph = onnxio.read(m, values={"flag": np.array(True)})
    assert graph.count() == {"MatMul": 1} and list(graph.inputs) == ["x"] and make_program(graph).wrt == ("w",)
    for values, message in (
        ({"f": 1}, "`values` names 'f', but the inputs are 'x', 'flag'"),
        ({"flag": 1.5}, r"`values` gives flag:bool\[\] an array float64\[\]"),
        ({"flag": [True]}, r"`values` gives flag:bool\[\] an array bool\[1\]"),
    ):
        with pytest.raises(GraphError, match=message):
            onnxio.read(m, values=values)


def test_a_condition_on_data():
    total = [node("ReduceSum", "x", "total", keepdims=0), node("Greater", "total,zero", "flag")]
    m = choice("flag", tensors={"zero": np.float32(0)})
    for n in total[::-1]:
        m.graph.node.insert(0, n)
    graph = onnxio.read(m)
    np.testing.assert_allclose(both(graph, {"x": X + 1})[0], (X + 1) @ W, rtol=1e-6)
    np.testing.assert_allclose(both(graph, {"x": X - 1})[0], -(X - 1) * [1, 2, 3], rtol=1e-6)


def recurrence(inputs=(), tensors=None, trips="trips", shape=(4, 3)):
    """`trips` rounds of h <- tanh(h @ u) with a stored u; the h of every round is collected."""
    inner = body(
        [
            node("Identity", "go", "go_on"),
            node("MatMul", "h,u", "p", "product"),
            node("Tanh", "p", "h_next"),
            node("Identity", "h_next", "seen"),
        ],
        [info("k", [], INT64), info("go", [], BOOL), info("h", None)],
        [info("go_on", [], BOOL), info("h_next", None), info("seen", list(shape))],
    )
    return model(
        [node("Loop", [trips, "", "x"], "y,all", "rounds", body=inner)],
        [info("x", list(shape)), *inputs],
        [info("y", None), info("all", None)],
        {"u": np.eye(3, dtype=np.float32)[::-1] * 0.9, **(tensors or {})},
    )


def rounds(x, n):
    u, seen = np.eye(3, dtype=np.float32)[::-1] * 0.9, []
    for _ in range(n):
        x = np.tanh(x @ u)
        seen.append(x)
    return x, np.stack(seen) if seen else np.zeros((0, *x.shape), np.float32)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_loop_is_written_out(n):
    graph = onnxio.read(recurrence(tensors={"trips": np.array(n)}))
    assert graph.count()["MatMul"] == n
    for got, want in zip(both(graph, {"x": X}), rounds(X, n), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(run(onnxio.read(onnxio.to_model(graph)), [X], "numpy")[1], rounds(X, n)[1], rtol=1e-5)


def test_a_loop_has_a_gradient():
    """d sum(y) / du of two rounds, against differences."""
    program = make_program(onnxio.read(recurrence(tensors={"trips": np.array(2)})), seeds=["y"], wrt=["u"])
    params = {k: v.astype(np.float64) for k, v in program.graph.params.items()}
    x = X.astype(np.float64)
    _, saved, _ = program.forward(params, {}, {"x": x})
    got = np.asarray(program.backward(params, saved, {"y": np.ones((4, 3))})["u"])
    for at in np.ndindex(3, 3):

        def loss(h, at=at):
            u = params["u"].copy()
            u[at] += h
            return np.tanh(np.tanh(x @ u) @ u).sum()

        np.testing.assert_allclose(got[at], (loss(1e-5) - loss(-1e-5)) / 2e-5, rtol=1e-6, atol=1e-9)


def test_a_trip_count_that_is_an_input_or_a_size():
    graph = onnxio.read(recurrence([info("trips", [], INT64)]))
    for n in (0, 2):
        np.testing.assert_allclose(both(graph, {"x": X, "trips": np.array(n)})[1], rounds(X, n)[1], rtol=1e-5)
    m = recurrence(tensors={"at": np.array(0)})
    m.graph.node.insert(0, node("Gather", "sizes,at", "trips"))
    m.graph.node.insert(0, node("Shape", "x", "sizes"))
    assert onnxio.read(m).count()["MatMul"] == 4
    m.graph.input[0].CopyFrom(info("x", ["N", 3]))
    assert onnxio.read(m).count() == {"Shape": 1, "Gather": 1, "Loop": 1}
    assert onnxio.read(m, shapes={"x": (5, 3)}).count()["MatMul"] == 5


def test_a_loop_that_ends_when_the_data_says_so():
    inner = body(
        [
            node("Add", "a,a", "twice"),
            node("ReduceMax", "twice", "top", keepdims=0),
            node("Less", "top,limit", "go_on"),
        ],
        [info("k", [], INT64), info("go", [], BOOL), info("a", None)],
        [info("go_on", [], BOOL), info("twice", None)],
    )
    m = model(
        [node("Loop", ["", "", "x"], "y", "until", body=inner)],
        [info("x", [4, 3])],
        [info("y", None)],
        {"limit": np.float32(20)},
    )
    np.testing.assert_allclose(both(onnxio.read(m), {"x": X})[0], X * 32)


def test_a_scan_backwards():
    inner = body(
        [node("Add", "s,x", "t"), node("Identity", "t", "seen")],
        [info("s", [2]), info("x", [2])],
        [info("t", [2]), info("seen", [2])],
    )
    m = model(
        [
            node(
                "Scan",
                "s,x",
                "last,all",
                "sums",
                body=inner,
                num_scan_inputs=1,
                scan_input_axes=[1],
                scan_input_directions=[1],
                scan_output_axes=[-1],
                scan_output_directions=[1],
            )
        ],
        [info("s", [2]), info("x", [2, 5])],
        [info("last", None), info("all", None)],
    )
    x = np.arange(10, dtype=np.float32).reshape(2, 5)
    graph = onnxio.read(m)
    last, every = both(graph, {"s": np.float32([1, 2]), "x": x})
    want = np.float32([[1], [2]]) + np.cumsum(x[:, ::-1], axis=1)[:, ::-1]
    np.testing.assert_allclose(every, want)
    np.testing.assert_allclose(last, want[:, 0])


def test_sequences_come_and_go_as_lists():
    sequence = helper.make_tensor_sequence_value_info("s", FLOAT, None)
    m = model(
        [node("SequenceErase", "s,first", "t"), node("SequenceInsert", "t,x", "u")],
        [sequence, info("x", [2])],
        [helper.make_tensor_sequence_value_info("u", FLOAT, None)],
        {"first": np.array(0)},
    )
    a, b, x = (np.float32([k, k]) for k in range(3))
    for backend in ("jax", "numpy"):
        (got,) = run(onnxio.read(m), {"s": [a, b], "x": x}, backend)
        assert isinstance(got, list) and [g.tolist() for g in got] == [[1, 1], [2, 2]]
    with pytest.raises(GraphError, match=r"s:sequence\(float32\).*: got ndarray, expected a list of arrays"):
        run(onnxio.read(m), {"s": a, "x": x})


def test_an_absent_optional_input_is_none():
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [2]))
    yes = body([node("OptionalGetElement", "o", "t")], [], [info("t", [2])])
    m = model(
        [
            node("OptionalHasElement", "o", "there"),
            node(
                "If",
                "there",
                "y",
                "choice",
                then_branch=yes,
                else_branch=body([node("Neg", "x", "e")], [], [info("e", [2])]),
            ),
        ],
        [helper.make_value_info("o", kind), info("x", [2])],
        [info("y", None)],
        opset=18,
    )
    x = np.float32([1, 2])
    graph = onnxio.read(m)
    assert both(graph, {"o": x * 5, "x": x})[0].tolist() == [5, 10]
    assert both(graph, {"o": None, "x": x})[0].tolist() == both(graph, {"x": x})[0].tolist() == [-1, -2]


def test_a_network_that_goes_through_a_list_trains():
    m = model(
        [
            node("SplitToSequence", "x", "s", axis=1),
            node("SequenceAt", "s,last", "piece"),
            node("MatMul", "piece,w", "y"),
        ],
        [info("x", ["N", 3])],
        [info("y", None)],
        {"w": W[:1], "last": np.array(-1)},
    )
    graph = onnxio.read(m)
    assert set(graph.count()) == {"Split", "MatMul"}
    assert make_program(graph).gradient.outputs
    assert onnxio.to_model(graph).graph.output[0].name == "y"


def test_functions_are_inlined():
    """One that calls another and hands an attribute on; names of parameters stay."""
    leaky = node("LeakyRelu", "a", "b")
    leaky.attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    m = model(
        [node("Layer", "x,w", "y", "layer", domain="own", slope=0.5)],
        [info("x", ["N", 3])],
        [info("y", None)],
        {"w": W},
        domains=["own"],
    )
    m.functions.extend(
        [
            helper.make_function(
                "own",
                "Layer",
                ["x", "w"],
                ["y"],
                [node("MatMul", "x,w", "p"), _with(node("Act", "p", "y", domain="own"), "slope")],
                opsets,
                ["slope"],
            ),
            helper.make_function("own", "Act", ["a"], ["b"], [leaky], opsets, ["slope"]),
        ]
    )
    graph = onnxio.read(m)
    assert graph.count() == {"MatMul": 1, "LeakyRelu": 1} and list(graph.params) == ["w"] and graph.outputs == ["y"]
    p = X @ W
    np.testing.assert_allclose(both(graph, {"x": X})[0], np.where(p > 0, p, p / 2), rtol=1e-5, atol=1e-6)


def _with(n, name):
    n.attribute.append(onnx.AttributeProto(name=name, type=onnx.AttributeProto.FLOAT, ref_attr_name=name))
    return n


def test_a_function_of_another_opset_is_refused():
    m = model([node("Twice", "x", "y", "twice", domain="own")], [info("x", [2])], [info("y", None)], domains=["own"])
    m.functions.append(
        helper.make_function("own", "Twice", ["a"], ["b"], [node("Add", "a,a", "b")], [helper.make_opsetid("", 13)])
    )
    with pytest.raises(ModelFileError, match="function 'Twice' is written in opset 13, and the model in 17"):
        onnxio.read(m)


def test_an_operator_that_onnx_decomposes_is_read_as_those(monkeypatch):
    """As CenterCropPad would be, had we no forward of it."""
    monkeypatch.delitem(OPERATORS, "CenterCropPad")
    m = model(
        [node("MatMul", "x,w", "h"), node("CenterCropPad", "h,size", "y", "crop", axes=[1])],
        [info("x", [4, 3])],
        [info("y", None)],
        {"w": W, "size": np.array([1])},
        opset=18,
    )
    graph = onnxio.read(m)
    assert "CenterCropPad" not in graph.count()
    np.testing.assert_allclose(both(graph, {"x": X})[0], (X @ W)[:, :1], rtol=1e-6)
    assert make_program(graph).wrt == ("w",)


def repeated():
    """s = x w, and as often as axis 1 of x is long: s = s + step."""
    again = body(
        [node("Add", "s,step", "more"), node("Identity", "go", "still")],
        [info("k", [], INT64), info("go", [], BOOL), info("s", None)],
        [info("still", [], BOOL), info("more", None)],
    )
    return model(
        [
            node("Shape", "x", "sizes"),
            node("Gather", "sizes,one", "times"),
            node("MatMul", "x,w", "s0"),
            node("Loop", "times,yes,s0", "y", "repeat", body=again),
        ],
        [info("x", ["N", "T", 3])],
        [info("y", None)],
        {"w": W, "one": np.array(1), "yes": np.array(True), "step": np.float32([1, 2])},
    )


def test_a_loop_runs_as_often_as_a_size_that_is_said_whatever_the_batch():
    graph = onnxio.read(repeated(), shapes={"T": 4})
    assert graph.count()["Add"] == 4 and graph.value("y").shape == ("N", 4, 2)
    x = np.ones((5, 4, 3), np.float32)
    np.testing.assert_allclose(both(graph, {"x": x})[0], x @ W + np.float32([4, 8]), rtol=1e-6)
    with pytest.raises(GraphError, match="how often it runs depends on the data"):
        make_program(onnxio.read(repeated()))


def gated():
    """Softmax of a Conv and a MatMul where the mean of x is above 0, else of a Log and a Gemm, or its bias alone."""
    rng = np.random.default_rng(5)
    stored = lambda *shape: rng.normal(size=shape).astype(np.float32) / 2
    yes = body(
        [
            node("Conv", "x,kernel", "a", pads=[1, 1, 1, 1]),
            node("Reshape", "a,target", "b"),
            node("MatMul", "b,wa", "ya"),
        ],
        [],
        [info("ya", None)],
        {"wa": stored(3 * 16, 4)},
    )
    large = body([node("Gemm", "means,wb,bias", "g")], [], [info("g", None)], {"wb": stored(2, 4)})
    small = body([node("Expand", "bias,rows_4", "e")], [], [info("e", None)])
    no = body(
        [
            node("Neg", "x", "n"),
            node("Log", "n", "logs"),
            node("ReduceMean", "logs", "means", axes=[2, 3], keepdims=0),
            node("ReduceMax", "means", "most", keepdims=0),
            node("Greater", "most,limit", "is_large"),
            node("If", "is_large", "yb", "inner", then_branch=large, else_branch=small),
        ],
        [],
        [info("yb", None)],
    )
    return model(
        [
            node("Shape", "x", "shape"),
            node("Gather", "shape,first", "rows"),
            node("Concat", "rows,rest", "target", axis=0),
            node("Concat", "rows,four", "rows_4", axis=0),
            node("ReduceMean", "x", "mean", keepdims=0),
            node("Greater", "mean,zero", "flag"),
            node("If", "flag", "scores", "choice", then_branch=yes, else_branch=no),
            node("Softmax", "scores", "y", axis=-1),
        ],
        [info("x", ["N", 2, 4, 4])],
        [info("y", ["N", 4])],
        {
            "kernel": stored(3, 2, 3, 3), "bias": stored(4), "first": np.array([0]), "rest": np.array([-1]),
            "four": np.array([4]), "zero": np.float32(0), "limit": np.float32(-0.5),
        },
        opset=17,
    )  # fmt: skip


@cache
def trained_gated():
    graph = onnxio.read(gated())
    program = make_program(with_loss(graph, "mse"), training=True)
    return graph, program, jax.jit(program.forward), jax.jit(program.backward)


POINTS = {  # {branch: (x, what has a gradient there)}; no Log can be taken where the first one is
    "then": (lambda u: 0.5 + u, {"kernel", "wa"}),
    "else, then": (lambda u: -2 - u, {"wb", "bias"}),
    "else, else": (lambda u: -0.1 - u / 10, {"bias"}),
}


def test_an_if_decided_by_data_trains():
    graph, program, forward, backward = trained_gated()
    assert sorted(graph.params) == ["bias", "kernel", "wa", "wb"] and graph.count()["Conditional"] == 1
    assert "then_branch:\n" in str(graph) and "Log(" in str(graph)
    assert "2,173 floating-point operations" in inspect(graph)  # of the branch with the convolution
    assert program.gradient.count()["Conditional"] == 1
    numpy, params = NumpyProgram(program), graph.params
    u = np.random.default_rng(0).uniform(0, 1, (3, 2, 4, 4)).astype(np.float32)
    written = onnxruntime.InferenceSession(onnxio.to_model(graph, patch=False).SerializeToString())
    for where, (x, reached) in POINTS.items():
        feeds = {"x": x(u), "target": np.eye(4, dtype=np.float32)[:3]}
        outputs, saved, _ = forward(params, {}, feeds, None)
        np.testing.assert_allclose(outputs["y"], written.run(None, {"x": feeds["x"]})[0], atol=1e-6, err_msg=where)
        grads = backward(params, saved, {"loss": np.float32(1)}, None)
        assert {k for k, g in grads.items() if np.any(np.asarray(g))} == reached
        wide = {k: a.astype(np.float64) for k, a in {**params, **feeds}.items()}
        _, kept, _ = numpy.forward({k: wide[k] for k in params}, {}, {k: wide[k] for k in feeds}, None)
        plain = numpy.backward({k: wide[k] for k in params}, kept, {"loss": np.float64(1)})
        for k, g in grads.items():
            np.testing.assert_allclose(g, plain[k], rtol=1e-4, atol=1e-6, err_msg=f"{where}: {k}")
            step = np.random.default_rng(1).normal(size=params[k].shape)
            at = [reference.execute(program.graph, {**wide, k: wide[k] + h * step})["loss"] for h in (1e-5, -1e-5)]
            np.testing.assert_allclose(np.sum(step * plain[k]), (at[0] - at[1]) / 2e-5, rtol=1e-5, atol=1e-9)


def test_an_if_decided_by_data_is_written_into_its_file_and_into_artifacts(tmp_path):
    graph, program, forward, backward = trained_gated()
    m = gated()
    back = onnxio.to_model(graph, {"wb": graph.params["wb"] + 1})
    assert [n.op_type for n in back.graph.node] == [n.op_type for n in m.graph.node]
    artifacts.generate_artifacts(m, requires_grad=list(graph.params), loss=artifacts.LossType.MSELoss,
                                 artifact_directory=str(tmp_path))  # fmt: skip
    session = onnxruntime.InferenceSession(str(tmp_path / "training_model.onnx"))
    u = np.random.default_rng(0).uniform(0, 1, (3, 2, 4, 4)).astype(np.float32)
    for x, _ in POINTS.values():
        feeds = {"x": x(u), "target": np.eye(4, dtype=np.float32)[:3]}
        zeros = {f"{k}_grad.accumulation.buffer": np.zeros_like(a) for k, a in graph.params.items()}
        loss, *found = session.run(None, {**feeds, **graph.params, **zeros, "lazy_reset_grad": np.array([True])})
        outputs, saved, _ = forward(graph.params, {}, feeds, None)
        grads = backward(graph.params, saved, {"loss": np.float32(1)}, None)
        np.testing.assert_allclose(loss, outputs["loss"], rtol=1e-5)
        for k, g in zip(graph.params, found, strict=True):
            np.testing.assert_allclose(g, grads[k], rtol=1e-4, atol=1e-6, err_msg=k)


def test_an_if_inside_of_a_loop_is_decided_in_each_round():
    yes = body([node("MatMul", "h,u", "p")], [], [info("p", None)])
    no = body([node("Neg", "h", "n")], [], [info("n", None)])
    inner = body(
        [
            node("Identity", "go", "go_on"),
            node("ReduceSum", "h", "total", keepdims=0),
            node("Greater", "total,zero", "flag"),
            node("If", "flag", "next", "which", then_branch=yes, else_branch=no),
        ],
        [info("k", [], INT64), info("go", [], BOOL), info("h", None)],
        [info("go_on", [], BOOL), info("next", None)],
    )
    m = model(
        [node("Loop", ["trips", "", "x"], "y", "rounds", body=inner)], [info("x", [4, 3])], [info("y", None)],
        {"u": -np.eye(3, dtype=np.float32) * 0.5, "zero": np.float32(0), "trips": np.array(3)},
    )  # fmt: skip
    graph = onnxio.read(m)
    assert graph.count()["Conditional"] == 3 and list(graph.params) == ["u"]
    for x, factor in ((X + 1, -0.25), (X - 1, -0.5)):  # u, -, u and -, u, -
        np.testing.assert_allclose(both(graph, {"x": x})[0], factor * x, rtol=1e-5)


def test_an_if_of_which_the_sizes_are_data_too_is_left_to_the_run():
    """Whether both branches write the same shape is known when `size` is; ONNX's AffineGrid is written so."""
    yes = body([node("Reshape", "x,size", "a")], [], [info("a", None)])
    no = body([node("Identity", "x", "b")], [], [info("b", None)])
    m = model(
        [
            node("ReduceSum", "x", "total", keepdims=0),
            node("Greater", "total,zero", "flag"),
            node("If", "flag", "y", "choice", then_branch=yes, else_branch=no),
        ],
        [info("x", [4, 3]), info("size", [2], INT64)],
        [info("y", None)],
        {"zero": np.float32(0)},
    )
    graph = onnxio.read(m)
    assert graph.count()["If"] == 1
    for x, size, shape in ((X + 2, (6, 2), (6, 2)), (X - 2, (6, 2), (4, 3))):
        assert both(graph, {"x": x, "size": np.array(size)})[0].shape == shape


def test_what_a_branch_computes_as_in_inference_is_named():
    yes = body([node("Dropout", "x", "a", "drop")], [], [info("a", None)])
    no = body([node("Mul", "x,w", "b")], [], [info("b", None)])
    made = model(
        [
            node("ReduceMean", "x", "mean", keepdims=0),
            node("Greater", "mean,zero", "flag"),
            node("If", "flag", "y", "choice", then_branch=yes, else_branch=no),
        ],
        [info("x", ["N", 3])],
        [info("y", ["N", 3])],
        {"w": np.ones(3, np.float32), "zero": np.float32(0)},
    )
    (line,) = [s for s in summary(onnxio.read(made)) if s.startswith("as in inference")]
    assert "then_branch/drop (in a branch of an If: no dropout is drawn" in line
