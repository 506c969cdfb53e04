"""How tensors, nodes and graphs are written, and what their operators + - * / > >> | mean: as Aidge 0.10.1 has them."""

import numpy as np
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from aidgejax.errors import AidgeJaxError
from aidgejax.frontends import aidge_core as ac
from aidgejax.frontends import aidge_onnx, aidge_quantization


def tensor(values, kind="float32"):
    return ac.Tensor(np.asarray(values, kind))


@pytest.mark.parametrize(
    ("values", "kind", "text"),
    [
        ([[1.5, -22.25], [100, 0]], "float32", "[[   1.50000, -22.25000],\n [ 100.00000,   0.00000]]"),
        ([[1, -200]], "int32", "[[    1, -200]]"),
        ([True, False], "bool", "[  true, false]"),
        (2.5, "float64", "2.50000"),
        (np.zeros((0, 3)), "float32", "[]"),
        ([[[1]], [[2]]], "uint8", "[[[ 1]],\n\n [[ 2]]]"),
    ],
)
def test_a_tensor_is_printed_in_columns(values, kind, text):
    assert str(tensor(values, kind)) == text


def test_a_tensor_says_its_shape_and_its_type():
    assert repr(tensor([[1, 2], [3, 4]], "int8")) == (
        "Tensor([[ 1, 2],\n        [ 3, 4]], dims = [2, 2], dtype = int8)"
    )
    assert repr(ac.Tensor()) == "Tensor([], dims = [], dtype = float32)"
    assert repr(ac.dtype.float32) == "<dtype.float32: 1>" and str(ac.Level.Warn) == "Level.Warn"
    assert tensor([[0.5, 2], [1e20, -3]]).to_cstring() == "{{    0.5f,     2.f},\n { 1.e+20f,    -3.f}}"
    assert tensor([1, 2], "int64").to_cstring() == "{ 1, 2}"


def test_numbers_and_comparisons():
    a, b = tensor([1, 4]), tensor([2, 3])
    assert np.array(a + 1.5).tolist() == [2.5, 5.5] and (tensor([1], "int32") + 1).dtype == ac.dtype.int32
    assert np.array(a > b).tolist() == [False, True] and np.array(a < b).tolist() == [True, False]
    assert int(ac.Tensor(3)) == 3 and float(ac.Tensor(2.5)) == 2.5
    assert (ac.Tensor(3).dtype, ac.Tensor(2.5).dtype) == (ac.dtype.int32, ac.dtype.float32)
    assert np.array(tensor([7, -7], "int32") / tensor([2, 2], "int32")).tolist() == [3, -3]
    assert tensor([1, 2, 2, 2, 5, 3], "int32").mean()[0] == 3 and tensor([-1, -2], "int32").mean()[0] == -2
    assert tensor([7, 9], "int16").sqrt().dtype == ac.dtype.int16
    with pytest.raises(AidgeJaxError, match="do not fit"):
        a + tensor([1, 2, 3])
    with pytest.raises(ValueError, match="becomes a number"):
        a[0] = "x"


def edges(graph):
    return {n.name(): [(p.node.name() if p.node else None, p.index) for p in n.inputs()] for n in graph.get_nodes()}


def test_graphs_are_written_as_chains():
    free = (None, 65535)
    a, b, c = (ac.ReLU(name=n) for n in "abc")
    assert edges(a >> b > c) == {"a": [free], "b": [("a", 0)], "c": [("b", 0)]}
    side = (ac.ReLU(name="x") | ac.Tanh(name="y")) >> ac.Add(name="z")
    assert edges(side) == {"x": [free], "y": [free], "z": [("x", 0), ("y", 0)]}
    side += ac.ReLU(name="w")
    assert len(side) == 4


def test_connectors_compute():
    x = ac.Connector(ac.Producer(tensor([4.0]), "x"))
    y = ac.Connector(ac.Producer(tensor([3.0]), "y"))
    for made, value in (
        (x + y, 7), (1 + x, 5), (x - 1, 3), (1 - x, -3), (x * y, 12), (2 * x, 8), (x / 8, 0.5), (8 / x, 2),
    ):  # fmt: skip
        graph = ac.generate_graph([made])
        graph.set_backend("cpu")
        assert ac.SequentialScheduler(graph).forward()[0][0] == value
    with pytest.raises(TypeError, match="Connector"):
        x + "1"
    with pytest.raises(TypeError, match="Connectors"):
        ac.generate_graph([3])


def test_nodes_and_graphs_say_how_they_are_connected():
    graph = ac.sequential([ac.ReLU(name="r"), ac.FC(2, 3, name="f")])
    assert repr(graph) == "GraphView(name='', Nodes: 4 (inputs: 1, outputs: 1))"
    assert repr(graph.get_node("f")) == "Node(name='f', optype='FC', parents: [1, 1, 1], children: [[]])"
    assert repr(graph.get_node("f_w")) == "Node(name='f_w', optype='Producer', children: [[1]])"
    assert [n.name() for n in graph.get_ordered_nodes(True)] == ["f", "r", "f_w", "f_b"]
    r, f = graph.get_node("r"), graph.get_node("f")
    assert graph.get_all_input_tuples() == graph.get_free_input_tuples() == [(r, 0)] == r.get_free_input_tuples()
    assert graph.get_all_output_tuples() == [(f, 0)] and f.get_all_input_tuples() == [(f, 0), (f, 1), (f, 2)]
    assert graph.inputs() == [(None, 65535)] and graph.outputs() == [[]] and r.get_free_output_tuples() == []


def test_names_of_inputs_and_connections_one_by_one():
    a, b = ac.ReLU(name="a"), ac.Add(name="b")
    assert b.input_name(0, "left") == b.input_name(0) == "left" and b.input_name(1) == "b_in1"
    assert a.output_name(0, "up") == "up" and a.annotations().get_attr("output_names") == ["up"]
    a.add_child(b)
    a.add_child(b)
    assert a.remove_child(b) and b.get_parents() == [None, a] and a.remove_child(b) and not a.remove_child(b)
    with pytest.raises(IndexError, match="no input 9"):
        b.get_parent(9)
    with pytest.raises(RuntimeError, match="unknown or given twice"):
        ac.sequential([b]).set_ordered_inputs([(b, 1), (b, 1)])


def test_attributes_are_added_once():
    attrs = ac.DynamicAttributes({"a": 1})
    with pytest.raises(RuntimeError, match="already exists"):
        attrs.add_attr("a", 2)
    attrs.set_attr("a", 3)
    attrs.add_attr("b.c", [1.0])
    attrs.del_attr("z")
    assert str(attrs) == "AttrDict({'a': 3, 'b': {'c': [1.0]}})"


def test_shapes_that_do_not_fit_are_a_runtime_error_too():
    graph = ac.sequential([ac.FC(3, 2, name="f")])
    graph.set_backend("cpu")
    with pytest.raises(RuntimeError, match="'f'"):
        graph.forward_dims([[1, 4]])


def test_what_a_model_file_becomes(tmp_path):
    def weights(name, *shape):
        return numpy_helper.from_array(np.ones(shape, np.float32), name)

    nodes = [
        helper.make_node("Conv", ["in.1", "c.w"], ["/c_out"], "/block/Conv", pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node("AveragePool", ["/c_out"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["p"], ["7"]),
        helper.make_node("Flatten", ["7"], ["f"]),
        helper.make_node("Gemm", ["f", "g.w"], ["y"], transB=1),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("in.1", [1, 1, 4, 4]), ("y", [1, 3])))
    body = helper.make_graph(nodes, "g", [x], [y], [weights("c.w", 2, 1, 3, 3), weights("g.w", 3, 2)])
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    graph = aidge_onnx.load_onnx(str(tmp_path / "m.onnx"))
    assert [(n.name(), n.type()) for n in graph.get_ordered_nodes()] == [
        *(("c_w", "Producer"), ("block_Conv", "PaddedConv2D"), ("pool", "AvgPooling2D")),
        *(("data_7", "GlobalAveragePooling"), ("f", "Flatten"), ("g_w", "Producer"), ("y", "FC")),
    ]
    conv, pool, fc = (graph.get_node(n).get_operator() for n in ("block_Conv", "pool", "y"))
    assert (conv.in_channels(), conv.out_channels(), fc.in_channels(), conv.nb_inputs()) == (1, 2, 2, 6)
    assert pool.attr.dict() == {
        "kernel_dims": [2, 2], "stride_dims": [2, 2], "dilations": [1, 1], "ceil_mode": False,
        "rounding_mode": ac.RoundingMode.HALF_AWAY_FROM_ZERO,
    }  # fmt: skip
    graph.set_backend("cpu")
    assert np.array(ac.SequentialScheduler(graph).forward(data=[tensor(np.ones((1, 1, 4, 4)))])[0]).shape == (1, 3)
    ac.save_model(graph, str(tmp_path / "m.aidge"))
    assert ac.load_model(str(tmp_path / "m.aidge")).get_node("y").type() == "FC"


def test_attributes_that_are_members_of_enumerations():
    assert ac.Pad([1, 1], mode="edge").get_operator().attr.mode is ac.PaddingMode.EDGE
    assert ac.Round(rounding_mode="half_up").get_operator().attr.rounding_mode is ac.RoundingMode.HALF_UP
    assert ac.FanOut is ac.VarianceNorm.FanOut and ac.to_zero is ac.leaky_reset.to_zero
    assert ac.Conv2DOp.attributes_name() == ["kernel_dims", "stride_dims", "dilation_dims"]
    assert ac.MaxPooling2DOp.get_outputs_name() == ["data_output", "indices"]
    assert ac.Reshape().input_category(1) is ac.InputCategory.OptionalAttr


def inner(node):
    graph = node.get_operator().get_micro_graph()
    return graph, sorted(n.type() for n in graph.get_nodes())


def test_what_is_inside_recurrent_cells():
    cell = ac.LSTM(3, 4, 2, name="l")
    graph, types = inner(cell)
    assert types.count("FC") == 8 and types.count("Memorize") == 2 and not cell.get_operator().is_atomic()
    assert [n.name() for n in graph.get_ordered_output_nodes()] == ["l_outputGateMul", "l_hidden_state", "l_cell_state"]
    assert len(graph.get_ordered_inputs()) == cell.get_nb_inputs() == 19
    graph, types = inner(ac.GRU(3, 4, 2, name="g"))
    assert types.count("FC") == 6 and graph.get_node("g_one").type() == "Producer"
    assert len(graph.get_ordered_inputs()) == 14
    node = ac.Leaky(3, 0.9, 1.0, ac.leaky_reset.to_zero, name="k")
    graph, types = inner(node)
    assert "k_one_minus_spike" in {n.name() for n in graph.get_nodes()} and node.get_nb_outputs() == 4
    with pytest.raises(AttributeError, match="get_micro_graph"):
        ac.ReLU().get_operator().get_micro_graph()
    lone = ac.sequential([ac.Memorize(3, name="m")])
    lone.set_backend("cpu")
    with pytest.raises(RuntimeError, match="'m'"):
        ac.SequentialScheduler(lone).forward(data=[tensor([1.0])])


@pytest.mark.parametrize("kind", ["Softplus", "HardSwish", "LayerNorm", "ReduceL1", "ReduceL2"])
def test_small_compositions_are_expanded(kind):
    rest = {"LayerNorm": ([4], 1), "ReduceL1": ([1],), "ReduceL2": ([1],)}.get(kind, ())
    graph = ac.sequential([getattr(ac, kind)(*rest, name="n")])
    graph.set_backend("cpu")
    for p in ac.producers(graph):
        ac.constant_filler(p.get_operator().get_output(0), 1.5)
    x = np.array([[-4, -0.5, 1, 3], [0, 2, -1, 0.25]], np.float32)
    want = np.array(ac.SequentialScheduler(graph).forward(data=[tensor(x)])[0])
    ac.expand_metaops(graph)
    assert len(graph.get_nodes()) >= 2 and kind not in {n.type() for n in graph.get_nodes()}
    graph.set_backend("cpu")
    found = np.array(ac.SequentialScheduler(graph).forward(data=[tensor(x)])[0])
    np.testing.assert_allclose(found, want, rtol=2e-6, atol=1e-6)


def test_dorefa_rounds_halves_to_the_even_neighbour():
    node = aidge_quantization.DoReFa(4, aidge_quantization.DoReFaMode.Symmetric, "q")
    graph = ac.sequential([node])
    graph.set_backend("cpu")
    found = ac.SequentialScheduler(graph).forward(data=[tensor(np.array([-3.5, -2.5, 0.5, 1.5]) / 4)])[0]
    assert (np.array(found) * 4).tolist() == [-4, -2, 0, 2]


def test_a_pop_ends_with_the_last_element():
    graph = ac.sequential([ac.Pop(name="p")])
    graph.set_backend("cpu")
    assert np.array(ac.SequentialScheduler(graph).forward(data=[tensor([[1, 2], [3, 4]])])[0]).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("node", "shapes", "want"),
    [
        (("AveragePool", {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}), {"x": (1, 1, 3, 3)}, (1, 1, 3, 3)),
        (("Conv", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}), {"x": (1, 2, 5, 5), "w": (3, 2, 3, 3)}, (1, 3, 3, 3)),
        (("Conv", {"group": 2}), {"x": (1, 2, 5, 5), "w": (4, 1, 3, 3)}, (1, 4, 3, 3)),
        (("Gemm", {"alpha": 0.5, "transB": 1}), {"x": (2, 3), "w": (4, 3)}, (2, 4)),
        (("Shape", {"start": 1}), {"x": (2, 3, 4)}, (2,)),
    ],
)
def test_what_aidge_has_no_form_of_is_computed_as_the_file_says(node, shapes, want):
    kind, attributes = node
    held = {k: np.random.default_rng(1).normal(size=s).astype(np.float32) for k, s in shapes.items()}
    code = TensorProto.INT64 if kind == "Shape" else TensorProto.FLOAT
    body = helper.make_graph(
        [helper.make_node(kind, list(held), ["y"], "n", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shapes["x"])],
        [helper.make_tensor_value_info("y", code, None)],
        [numpy_helper.from_array(a, k) for k, a in held.items() if k != "x"],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    graph = aidge_onnx.convert_onnx_to_aidge(model)
    graph.set_backend("numpy")
    found = np.array(ac.SequentialScheduler(graph).forward(data=[ac.Tensor(held["x"])])[0])
    (expected,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": held["x"]})
    assert found.shape == want
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_settings_of_a_file_stay_its_own():
    body = helper.make_graph(
        [helper.make_node("ScatterND", ["x", "i", "x"], ["y"], "n", reduction="add")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [numpy_helper.from_array(np.array([[1], [0]]), "i")],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    graph = aidge_onnx.convert_onnx_to_aidge(model)
    graph.set_backend("numpy")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(np.array(ac.SequentialScheduler(graph).forward(data=[ac.Tensor(x)])[0]), x + x[::-1])


def test_producers_stand_before_what_reads_them_also_in_an_expanded_graph():
    graph = ac.sequential([ac.PaddedConv2D(1, 2, [3, 3], "c", padding_dims=[1] * 4), ac.ReLU(name="r")])
    ac.expand_metaops(graph)
    assert [n.name() for n in graph.get_ordered_nodes()] == ["c_pad", "c_w", "c_b", "c_conv", "r"]
