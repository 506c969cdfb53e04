"""What reading makes of a sound model."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from aidgejax import onnxio, run
from aidgejax.errors import GraphError, ModelFileError
from aidgejax.graph import Graph

from ._models import INT64, info, model, node, small

W = np.float32([[1, -2], [3, 4], [-5, 6]])
X = np.float32([[1, 2, 3], [4, 5, 6]])


def test_path_bytes_and_proto_say_the_same(tmp_path):
    m = small()
    path = tmp_path / "m.onnx"
    onnx.save(m, path)
    texts = {str(onnxio.read(s)) for s in (m, m.SerializeToString(), path, str(path))}
    assert texts == {
        "\n".join(
            [
                "graph g(x:float32[2, 3])",
                "  parameter w:float32[3] = [1.0, -2.0, 3.0]",
                "  constant  size:int64[2] = [3, 2]",
                "  a:float32[2, 3] = Mul(x, w)",
                "  b:float32[2, 3] = Relu(a)",
                "  y:float32[3, 2] = Reshape(b, size)",
                "  return y",
            ]
        )
    }


def test_unsorted_nodes_are_sorted_and_others_keep_their_order():
    m = small()
    nodes = [m.graph.node[k] for k in (2, 0, 1)]
    m = model(nodes, m.graph.input, m.graph.output, {t.name: numpy_helper.to_array(t) for t in m.graph.initializer})
    assert [n.name for n in onnxio.read(m).nodes] == ["scale", "act", "flat"]
    rows = model(
        [node("Relu", "x", f"y{k}", f"n{k}") for k in (3, 1, 2)],
        [info("x", [2])],
        [info(f"y{k}", [2]) for k in (1, 2, 3)],
    )
    graph = onnxio.read(rows)
    assert [n.name for n in graph.nodes] == ["n3", "n1", "n2"] and graph.outputs == ["y1", "y2", "y3"]


def test_nodes_without_a_name_of_their_own_get_one():
    m = model(
        [
            node("Relu", "x", "a"),
            node("Neg", "a", "b", "same"),
            node("Neg", "b", "c", "same"),
            node("Abs", "c", "d", "Relu_0"),
            node("Neg", "d", "y"),
        ],
        [info("x", [2])],
        [info("y", [2])],
    )
    assert [n.name for n in onnxio.read(m).nodes] == ["Relu_0_1", "same", "same_2", "Relu_0", "Neg_4"]


def test_tensor_names_survive_whatever_they_look_like():
    names = ["onnx::MatMul_1", "a b", "/model/layer.0/Add_output_0", "日本", "x'y\"z", "0"]
    m = model(
        [node("Relu", [a], [b], f"node {a}") for a, b in zip(names, names[1:], strict=False)],
        [info(names[0], [2])],
        [info(names[-1], [2])],
    )
    graph = onnxio.read(m)
    assert [*graph.inputs, *(n.outputs[0] for n in graph.nodes)] == names
    assert [n.name for n in graph.nodes] == [f"node {a}" for a in names[:-1]]


def test_an_output_may_be_an_input_or_an_initializer():
    m = model(
        [node("Relu", "x", "y")],
        [info("x", [3])],
        [info("x", [3]), info("w", [2]), info("y", [3])],
        {"w": np.float32([1, 2])},
    )
    for graph in (onnxio.read(m), onnxio.read(onnxio.to_model(onnxio.read(m)))):
        assert graph.outputs == ["x", "w", "y"]
        assert [a.tolist() for a in run(graph, [np.float32([-1, 0, 1])])] == [[-1, 0, 1], [1, 2], [0, 0, 1]]


def test_initializers_that_are_inputs_too():
    """As every initializer was before IR version 4."""
    m = model(
        [node("MatMul", "x,w", "y")],
        [info("w", [3, 2]), info("x", ["N", 3])],
        [info("y", ["N", 2])],
        {"w": W},
        opset=8,
        ir=3,
    )
    graph = onnxio.read(m)
    assert list(graph.inputs) == ["x"] and list(graph.params) == ["w"]


def test_the_default_domain_has_two_names():
    m = model([node("Relu", "x", "y", domain="ai.onnx")], [info("x", [3])], [info("y", [3])])
    m.opset_import[0].domain = "ai.onnx"
    assert onnxio.read(m).count() == {"Relu": 1}


def test_functions_that_nobody_calls_and_domains_that_nobody_uses_do_no_harm():
    m = small()
    m.functions.append(helper.make_function("f", "Twice", ["a"], ["b"], [node("Add", "a,a", "b")], []))
    m.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    assert len(onnxio.read(m).nodes) == 3


def test_metadata_survives():
    m = small()
    helper.set_model_props(m, {"author": "me", "classes": "[1, 2]"})
    again = onnxio.to_model(onnxio.read(m))
    assert {p.key: p.value for p in again.metadata_props} == {"author": "me", "classes": "[1, 2]"}


# ---- roles --------------------------------------------------------------------------------------------


def roles(m, **options):
    return {p.name: p.role for p in onnxio.read(m, **options).producers.values()}


def test_floating_initializers_are_parameters_and_others_constants():
    m = model(
        [
            node("Conv", "x,w,b", "c"),
            node("BatchNormalization", "c,scale,bias,mean,var", "d"),
            node("Clip", "d,low,high", "e"),
            node("Mul", "e,two", "f"),
            node("Pad", "f,pads,fill", "g"),
            node("Reshape", "g,shape", "y"),
        ],
        [info("x", ["N", 1, 3, 3])],
        [info("y", None)],
        {"w": np.ones((2, 1, 3, 3), np.float32), "b": np.ones(2, np.float32)}
        | {k: np.ones(2, np.float32) for k in ("scale", "bias", "mean", "var")}
        | {
            "low": np.float32(0),
            "high": np.float32(6),
            "two": np.float32(2),
            "fill": np.float32(0),
            "unused": W,
            "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
            "shape": np.array([0, -1]),
        },
    )
    assert roles(m) == dict.fromkeys(["w", "b", "scale", "bias"], "parameter") | dict.fromkeys(
        ["mean", "var"], "buffer"
    ) | dict.fromkeys(["low", "high", "two", "fill", "pads", "shape", "unused"], "constant")
    assert roles(m, constants=["w", "mean"])["w"] == roles(m, constants=["w", "mean"])["mean"] == "constant"


def test_settings_in_vectors_are_constants_unless_they_are_weights_as_well():
    nodes = [node("OneHot", "x,depth,values", "y")]
    tensors = {"depth": np.array([3]), "values": np.float32([0, 1])}
    m = model(nodes, [info("x", [2], INT64)], [info("y", [2, 3])], tensors)
    assert roles(m)["values"] == "constant"
    m = model(
        [*nodes, node("Add", "values,values", "z")], [info("x", [2], INT64)], [info("y", None), info("z", [2])], tensors
    )
    assert roles(m)["values"] == "parameter"


def test_what_a_constant_node_holds_is_a_constant_unless_it_is_a_layers_weight():
    """Some exporters write weights as Constant nodes; who fine-tunes wants those trained, and a mask or a table not."""
    m = model(
        [
            node("Constant", [], "w", value=numpy_helper.from_array(W)),
            node("MatMul", "x,w", "a"),
            node("Constant", [], "c", value=numpy_helper.from_array(W[0])),
            node("Mul", "a,c", "y"),
        ],
        [info("x", ["N", 3])],
        [info("y", None)],
    )
    assert roles(m) == {"w": "parameter", "c": "constant"}
    assert roles(m, constants=["w"]) == {"w": "constant", "c": "constant"}
    again = onnxio.to_model(onnxio.read(m), patch=False)
    assert [t.name for t in again.graph.initializer] == ["w", "c"]


def test_constants_that_there_are_not_are_named():
    with pytest.raises(GraphError, match="`constants` names 'q', but the initializers are 'size', 'w'"):
        onnxio.read(small(), constants=["q"])


# ---- shapes -------------------------------------------------------------------------------------------


def sum_of(a, b):
    return model([node("Add", "a,b", "y")], [info("a", a), info("b", b)], [info("y", None)])


def test_sizes_that_the_model_leaves_open_get_names():
    graph = onnxio.read(model([node("MatMul", "x,w", "y")], [info("x", [None, 3])], [info("y", None)], {"w": W}))
    assert graph.inputs["x"].shape == ("x_0", 3) and graph.value("y").shape == ("x_0", 2)
    assert run(graph, [X])[0].shape == (2, 2)


def test_open_sizes_that_must_be_equal_are_called_the_same():
    graph = onnxio.read(sum_of([None, 3], [None, 3]))
    assert graph.inputs["a"].shape == graph.inputs["b"].shape == ("N", 3)


def test_minus_one_leaves_a_size_open():
    m = sum_of([2, 3], [2, 3])
    for i in m.graph.input:
        i.type.tensor_type.shape.dim[0].dim_value = -1
    assert onnxio.read(m).value("y").shape == ("N", 3)


def test_shapes_can_be_given():
    assert onnxio.read(sum_of(None, None)).value("y").shape is None
    graph = onnxio.read(sum_of(None, None), shapes={"a": ("N", 3), "b": (3,)})
    assert graph.value("y").shape == ("N", 3)
    with pytest.raises(GraphError, match="`shapes` names 'q', but the inputs are 'a', 'b'"):
        onnxio.read(small_sum := sum_of([2], [2]), shapes={"q": (2,)})
    assert small_sum.graph.input[0].name == "a"


def test_inputs_without_a_shape_are_known_when_they_are_fed():
    graph = onnxio.read(sum_of(None, None))
    assert run(graph, [X, X])[0].tolist() == (X + X).tolist()
    assert graph.value("y").dtype == "float32"
    with pytest.raises(ModelFileError, match="how many axes 'a' has is not known, .* give the shapes of the inputs"):
        onnxio.to_model(graph, patch=False)


def test_a_shape_may_be_an_input():
    m = model(
        [node("Reshape", "x,shape", "y")], [info("x", [2, 3]), info("shape", [2], INT64)], [info("y", [None, None])]
    )
    for graph in (onnxio.read(m), onnxio.read(onnxio.to_model(onnxio.read(m)))):
        assert run(graph, [X, np.array([3, -1])])[0].tolist() == X.reshape(3, 2).tolist()


def test_shapes_that_are_computed_are_followed():
    """What exporters write for x.view(x.shape[0], -1)."""
    m = model(
        [
            node("Shape", "x", "s"),
            node("Gather", "s,zero", "n", axis=0),
            node("Unsqueeze", "n,zeros", "u"),
            node("Concat", "u,rest", "t", axis=0),
            node("Reshape", "x,t", "y"),
        ],
        [info("x", ["N", 2, 3])],
        [info("y", ["N", 6])],
        {"zero": np.int64(0), "zeros": np.array([0]), "rest": np.array([-1])},
    )
    assert onnxio.read(m).value("y").shape == ("N", 6)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int64", "int32", "int8", "uint8", "bool"])
def test_dtypes_are_kept(dtype):
    kind = {
        "float64": TensorProto.DOUBLE,
        "float16": TensorProto.FLOAT16,
        "bfloat16": TensorProto.BFLOAT16,
        "int64": INT64,
        "int32": TensorProto.INT32,
        "int8": TensorProto.INT8,
        "uint8": TensorProto.UINT8,
        "bool": TensorProto.BOOL,
    }[dtype]
    values = [0, 1, 1]
    stored = helper.make_tensor("w", kind, [3], values)
    for t in (stored, numpy_helper.from_array(numpy_helper.to_array(stored), "w")):  # typed fields, then raw
        m = model([node("Concat", "x,w", "y", axis=0)], [info("x", [2], kind)], [info("y", [5], kind)])
        m.graph.initializer.append(t)
        graph = onnxio.read(m)
        assert graph.inputs["x"].dtype == graph.value("y").dtype == graph.producers["w"].data.dtype.name == dtype
        assert graph.producers["w"].data.astype(int).tolist() == values
        assert str(onnxio.read(onnxio.to_model(graph))) == str(graph)


def test_a_true_of_another_kind_is_still_one():
    t = TensorProto(name="w", data_type=TensorProto.BOOL, dims=[3], raw_data=b"\x00\x01\x07")
    m = model([node("Not", "w", "y")], [], [info("y", [3], TensorProto.BOOL)])
    m.graph.initializer.append(t)
    assert onnxio.read(m).producers["w"].data.view(np.uint8).tolist() == [0, 1, 1]


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3)])
def test_tensors_of_one_element_and_of_none(shape):
    g = Graph("g")
    g.output(g.op.Concat(g.op.Reshape(g.constant("w", np.zeros(shape, np.float32)), (-1,)), g.input("x", (1,)), axis=0))
    (y,) = run(onnxio.read(onnxio.to_model(g)), [np.float32([7])])
    assert y.tolist() == [0] * int(np.prod(shape)) + [7]
