"""Broken and hostile models: each is refused by an exception of our family that names the culprit."""

import os

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from aidgejax import onnxio
from aidgejax.errors import AidgeJaxError, GraphError, ModelFileError, UnknownOperator

from ._models import FLOAT, INT64, info, initializer, model, node, small

ROWS = []


def row(culprit, kind=ModelFileError):
    """The decorated function breaks a model (in place, or it returns another); the refusal must match `culprit`."""

    def register(function):
        ROWS.append(pytest.param(function, culprit, kind, id=function.__name__.replace("_", " ")))
        return function

    return register


@pytest.mark.parametrize("spoil, culprit, kind", ROWS)
def test_a_malformed_model_is_refused_by_name(spoil, culprit, kind):
    sound = small()
    returned = spoil(sound)
    broken = sound if returned is None else returned
    with pytest.raises(kind, match=culprit) as refusal:
        onnxio.read(broken)
    assert isinstance(refusal.value, AidgeJaxError) and "it is damaged" not in str(refusal.value)


def test_the_model_that_is_broken_here_is_sound():
    assert onnxio.read(small()).count() == {"Mul": 1, "Relu": 1, "Reshape": 1}
    assert len(ROWS) >= 40


# ---- the file -----------------------------------------------------------------------------------------


@row("holds no graph")
def an_empty_file(m):
    return b""


@row("4 bytes are not an ONNX model")
def four_bytes_of_nothing(m):
    return b"\xff\xfe\xfd\xfc"


@row("not an ONNX model|holds no graph")
def a_file_cut_in_half(m):
    data = m.SerializeToString()
    return data[: len(data) // 2]


@row("not an ONNX model")
def a_picture(m):
    return b"\x89PNG\r\n\x1a\n" + bytes(100)


@row("holds no graph")
def no_graph(m):
    m.ClearField("graph")


@row("graph 'g' has no output")
def no_output(m):
    del m.graph.output[:]


@row("IR version 0: expected 3 to")
def no_ir_version(m):
    m.ClearField("ir_version")


@row("IR version 999: expected 3 to")
def ir_version_of_the_future(m):
    m.ir_version = 999


@row("opset 999: expected 7 to")
def opset_of_the_future(m):
    m.opset_import[0].version = 999


@row("opset -1: expected 7 to")
def negative_opset(m):
    m.opset_import[0].version = -1


@row("opset 6: expected 7 to")
def opset_of_the_past(m):
    m.opset_import[0].version = 6


@row("which opset of the domain 'ai.onnx' it uses, which node 'scale'")
def no_opset(m):
    del m.opset_import[:]


@row("two opsets of the domain 'ai.onnx': 17 and 18")
def two_opsets(m):
    m.opset_import.append(helper.make_opsetid("ai.onnx", 18))


@row("domain 'org.example' it uses, which node 'act'")
def a_domain_that_is_not_imported(m):
    m.graph.node[1].domain = "org.example"


# ---- tensors ------------------------------------------------------------------------------------------


@row("initializer 'w' has element type 0")
def a_tensor_of_no_type(m):
    initializer(m, "w").data_type = 0


@row("initializer 'w' has element type 999")
def a_tensor_of_an_unknown_type(m):
    initializer(m, "w").data_type = 999


@row("initializer 'w' holds strings")
def a_tensor_of_strings(m):
    initializer(m, "w").CopyFrom(helper.make_tensor("w", TensorProto.STRING, [3], [b"a", b"b", b"c"]))


@row(r"initializer 'w' has shape \[-3\]: a size cannot be negative")
def a_negative_size(m):
    initializer(m, "w").dims[0] = -3


@row(r"initializer 'w' has shape \[-1, -3\]")
def two_negative_sizes(m):
    initializer(m, "w").dims[:] = [-1, -3]


@row(r"initializer 'w' is float32\[4\], which is 16 bytes, but holds 12")
def a_tensor_larger_than_its_data(m):
    initializer(m, "w").dims[0] = 4


@row(r"initializer 'w' is float32\[2\], which is 8 bytes, but holds 12")
def a_tensor_smaller_than_its_data(m):
    initializer(m, "w").dims[0] = 2


@row("initializer 'w' is float32.* which is 73786976294838206464 bytes, but holds 12")
def a_tensor_whose_size_overflows(m):
    initializer(m, "w").dims[:] = [1 << 32, 1 << 32]


@row("initializer 'w' is float32.* which is 4611686018427387904 bytes, but holds 12")
def a_tensor_larger_than_the_machine(m):
    initializer(m, "w").dims[:] = [1 << 60]


@row("initializer 'w' is int64.* which is 24 bytes, but holds 12")
def a_tensor_of_a_wider_type(m):
    initializer(m, "w").data_type = TensorProto.INT64


@row("initializer 'w' holds its data twice, as raw_data and as float_data")
def data_twice(m):
    initializer(m, "w").float_data.extend([1, 2, 3])


@row("initializer 'w' is float32 but holds int32_data")
def data_in_the_wrong_field(m):
    w = initializer(m, "w")
    w.ClearField("raw_data")
    w.int32_data.extend([1, 2, 3])


@row(r"initializer 'w' is float32\[3\], which is 3 entries of float_data, but holds 2")
def too_few_entries(m):
    w = initializer(m, "w")
    w.ClearField("raw_data")
    w.float_data.extend([1, 2])


@row("initializer 'w' is a segment")
def a_segment(m):
    initializer(m, "w").segment.begin = 0


@row("keeps data in other files")
def external_data_in_bytes(m):
    w = initializer(m, "w")
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    w.external_data.add(key="location", value="/etc/passwd")
    return m.SerializeToString()


@row("initializer 'thin' is sparse")
def a_sparse_initializer(m):
    values = numpy_helper.from_array(np.ones(1, np.float32), "thin")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "places")
    m.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [3]))


@row("initializer has no name")
def an_initializer_without_a_name(m):
    initializer(m, "w").name = ""


# ---- names --------------------------------------------------------------------------------------------


@row("initializer 'w' is declared 2 times")
def an_initializer_twice(m):
    m.graph.initializer.append(initializer(m, "w"))


@row("graph input 'x' is declared 2 times")
def an_input_twice(m):
    m.graph.input.append(m.graph.input[0])


@row("graph output 'y' is declared 2 times")
def an_output_twice(m):
    m.graph.output.append(m.graph.output[0])


@row(r"node 'act' \(Relu\) writes 'a', which node 'scale' writes already")
def a_tensor_written_twice(m):
    m.graph.node[1].output[0] = "a"


@row(r"node 'act' \(Relu\) writes 'w', which is an initializer already")
def an_initializer_overwritten(m):
    m.graph.node[1].output[0] = "w"


@row(r"node 'act' \(Relu\) writes 'x', which is a graph input already")
def an_input_overwritten(m):
    m.graph.node[1].output[0] = "x"


@row(r"node 'scale' \(Mul\) reads 'w', .* is an initializer missing\?")
def a_missing_initializer(m):
    m.graph.initializer.remove(initializer(m, "w"))


@row("graph output 'z' is written by no node")
def an_output_that_nobody_writes(m):
    m.graph.output[0].name = "z"


@row("nodes 'act' -> 'act' form a cycle")
def a_node_that_reads_itself(m):
    m.graph.node[1].input[0] = "b"


@row("nodes ('scale' -> 'act' -> 'scale'|'act' -> 'scale' -> 'act') form a cycle")
def a_cycle(m):
    m.graph.node[0].input[0] = "b"


# ---- operators and attributes -------------------------------------------------------------------------


@row(
    r"uses 2 operators .*: Frobnicate \(2 nodes: 'act', 'again'\); com.example::Quux \(1 node: 'other'\)",
    UnknownOperator,
)
def unknown_operators(m):
    m.graph.node[1].op_type = "Frobnicate"
    m.graph.node.append(node("Frobnicate", "b", "c", "again"))
    m.graph.node.append(node("Quux", "b", "d", "other", domain="com.example"))
    m.opset_import.append(helper.make_opsetid("com.example", 1))


@row(r"StringConcat \(1 node: 'join'\) \(aidgejax computes with numbers; turn strings", UnknownOperator)
def an_operator_on_strings(m):
    m.graph.node.append(node("StringConcat", "b,b", "c", "join"))


def branch(reads, *nodes):
    return helper.make_graph([node("Relu", reads, "t", "inside"), *nodes], "branch", [], [info("t", [2, 3])])


def choice(m, then, condition="yes"):
    m.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    m.graph.node.append(node("If", condition, "u", "choice", then_branch=then, else_branch=branch("x")))


@row(r"node 'inside' \(Relu\) reads 'nowhere'|node 'choice' \(If\) reads 'nowhere'")
def a_subgraph_that_reads_nothing(m):
    choice(m, branch("nowhere"))


@row(r"node 'again' \(Relu\) writes 't', which node 'inside' writes already")
def a_subgraph_that_writes_twice(m):
    choice(m, branch("x", node("Relu", "x", "t", "again")))


@row(r"Frobnicate \(1 node: 'odd'\)", UnknownOperator)
def an_unknown_operator_in_a_subgraph(m):
    choice(m, branch("x", node("Frobnicate", "x", "s", "odd")))


@row(r"node 'odd' \(Relu\) has 2 inputs; expected 1")
def a_subgraph_with_too_many_inputs(m):
    choice(m, branch("x", node("Relu", "x,x", "s", "odd")))


@row(r"node 'choice' \(If\): attribute 'then_branch' is of type INT; expected GRAPH")
def a_subgraph_that_is_a_number(m):
    choice(m, 7)


@row(r"node 'choice' \(If\).* its condition is a tensor of shape \[3\]", GraphError)
def a_condition_of_three_numbers(m):
    choice(m, branch("x"), "w")


@row(r"subgraph '(deep|branch)' is nested 17 graphs deep")
def subgraphs_without_end(m):
    inner = branch("x")
    for _ in range(20):
        inner = helper.make_graph(
            [node("If", "yes", "t", then_branch=inner, else_branch=branch("x"))], "deep", [], [info("t", [2, 3])]
        )
    choice(m, inner)


def loop(m, trips, go=True):
    body = helper.make_graph(
        [node("Identity", "go", "go_on", "same"), node("Add", "state,state", "next", "twice")],
        "body",
        [info("k", [], INT64), info("go", [], TensorProto.BOOL), info("state", [2, 3])],
        [info("go_on", [], TensorProto.BOOL), info("next", [2, 3])],
    )
    m.graph.initializer.append(numpy_helper.from_array(np.array(go), "start"))
    if trips is not None:
        m.graph.initializer.append(numpy_helper.from_array(np.array(trips), "trips"))
    m.graph.node.append(node("Loop", [trips is not None and "trips" or "", "start", "b"], "u", "round", body=body))
    m.graph.output.append(info("u", [2, 3]))


@row(r"node '(round|twice|same)' .* more than 10000 nodes", GraphError)
def a_loop_of_a_billion_rounds(m):
    loop(m, 1 << 30)


@row(r"node '(round|twice|same)' .* more than 10000 nodes", GraphError)
def a_loop_without_end(m):
    loop(m, None)


def function(m, name, nodes, inputs="a", outputs="b"):
    m.functions.append(
        helper.make_function(
            "own",
            name,
            inputs.split(","),
            outputs.split(","),
            nodes,
            [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
        )
    )
    m.graph.node[1].op_type, m.graph.node[1].domain = "Twice", "own"
    if not any(i.domain == "own" for i in m.opset_import):
        m.opset_import.append(helper.make_opsetid("own", 1))


@row(r"function 'Twice' calls itself, by way of Twice -> Again")
def a_function_that_calls_itself(m):
    function(m, "Twice", [node("Again", "a", "b", domain="own")])
    function(m, "Again", [node("Twice", "a", "b", domain="own")])


@row(r"function 'Twice': node 'sum' \(Add\) reads 'c', which nothing provides")
def a_function_that_reads_nothing(m):
    function(m, "Twice", [node("Add", "a,c", "b", "sum")])


@row(r"function 'Twice': nodes 'one' -> 'two' -> 'one' form a cycle|function 'Twice': nodes 'two' -> 'one' -> 'two'")
def a_function_with_a_cycle(m):
    function(m, "Twice", [node("Add", "a,c", "b", "one"), node("Neg", "b", "c", "two")])


@row(r"function 'Twice' of the domain 'own' is defined twice")
def a_function_twice(m):
    function(m, "Twice", [node("Add", "a,a", "b")])
    function(m, "Twice", [node("Add", "a,a", "b")])


@row(r"refers to an attribute 'slope', which its function does not have")
def a_function_that_refers_to_nothing(m):
    leaky = node("LeakyRelu", "a", "b", "leaky")
    leaky.attribute.append(AttributeProto(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="slope"))
    function(m, "Twice", [leaky])


@row(r"with its functions inlined it has \d+ nodes; expected at most 100000")
def functions_that_double_without_end(m):
    function(m, "Twice", [node("F20", "a", "c", domain="own"), node("F20", "c", "b", domain="own")])
    for k in range(1, 21):
        calls = [node(f"F{k - 1}", "a", "c", domain="own"), node(f"F{k - 1}", "c", "b", domain="own")]
        function(m, f"F{k}", calls)
    function(m, "F0", [node("Neg", "a", "b")])


@row(r"ReshapeLike \(1 node: 'flat'\)", UnknownOperator)
def an_operator_of_ours_that_onnx_does_not_have(m):
    m.graph.node[2].op_type = "ReshapeLike"


@row(r"node 'act' \(Relu\) has no attribute 'slope_at_zero'; in opset 14 Relu has none")
def an_attribute_of_ours_that_onnx_does_not_have(m):
    m.graph.node[1].attribute.append(helper.make_attribute("slope_at_zero", 1.0))


@row(r"node 'flat' \(Reshape\): attribute 'allowzero' is of type FLOAT; expected INT")
def an_attribute_of_the_wrong_type(m):
    m.graph.node[2].attribute.append(helper.make_attribute("allowzero", 1.0))


@row(r"node 'flat' \(Reshape\): attribute 'allowzero' has type UNDEFINED, which is none of ONNX's")
def an_attribute_of_no_type(m):
    m.graph.node[2].attribute.append(AttributeProto(name="allowzero", i=1))


@row(r"node 'flat' \(Reshape\) has the attribute 'allowzero' twice")
def an_attribute_twice(m):
    m.graph.node[2].attribute.extend([helper.make_attribute("allowzero", 0)] * 2)


@row(r"node 'flat' \(Reshape\): attribute 'allowzero' says that it is of type INT, but holds f")
def an_attribute_with_two_values(m):
    m.graph.node[2].attribute.append(helper.make_attribute("allowzero", 0))
    m.graph.node[2].attribute[0].f = 1.5


@row(r"node 'flat' \(Reshape\): attribute 'allowzero' refers to an attribute 'outer'")
def a_reference_outside_a_function(m):
    m.graph.node[2].attribute.append(helper.make_attribute_ref("allowzero", AttributeProto.INT))
    m.graph.node[2].attribute[0].ref_attr_name = "outer"


@row(r"node 'join' \(Concat\) lacks the attribute 'axis'")
def a_missing_attribute(m):
    m.graph.node.append(node("Concat", "a,b", "c", "join"))


@row(r"attribute 'mode' of node 'cut' \(Pad\) is not text")
def text_that_is_none(m):
    m.graph.node.append(node("Pad", "a,size", "c", "cut", mode=b"\xff\xfe"))


@row(r"attribute 'value' of node 'fill' \(ConstantOfShape\) is float32\[2\], which is 8 bytes, but holds 4")
def a_tensor_in_an_attribute(m):
    value = numpy_helper.from_array(np.ones(1, np.float32))
    value.dims[0] = 2
    m.graph.node.append(node("ConstantOfShape", "size", "c", "fill", value=value))


@row(r"node 'k' \(Constant\) has 2 values")
def a_constant_with_two_values(m):
    m.graph.node.append(node("Constant", [], "c", "k", value_int=1, value_float=2.0))


@row(r"node 'k' \(Constant\) holds strings")
def a_constant_of_strings(m):
    m.graph.node.append(node("Constant", [], "c", "k", value_string="text"))


@row(r"node 'scale' \(Mul\) has 1 inputs; expected 2")
def too_few_inputs(m):
    del m.graph.node[0].input[1]


@row(r"node 'act' \(Relu\) has 2 inputs; expected 1")
def too_many_inputs(m):
    m.graph.node[1].input.append("w")


@row(r"node 'scale' \(Mul\) lacks its input 'A'")
def an_absent_input(m):
    m.graph.node[0].input[0] = ""


@row(r"node 'none' \(Relu\) has no output")
def a_node_without_an_output(m):
    m.graph.node.append(node("Relu", "b", [""], "none"))


# ---- types and shapes ---------------------------------------------------------------------------------


@row("input 'x' is a sparse_tensor; only tensors, sequences and optional values")
def an_input_that_is_sparse(m):
    m.graph.input[0].type.sparse_tensor_type.elem_type = FLOAT


@row("input 'x' is of no type")
def an_input_without_a_type(m):
    m.graph.input[0].ClearField("type")


@row("input 'x' holds strings")
def an_input_of_strings(m):
    m.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


@row("input 'x' has a size of -7")
def an_input_of_a_negative_size(m):
    m.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -7


@row(r"initializer 'w' is float32\[3\], but is declared as the input w:float32\[4\]")
def a_default_that_is_not_what_is_declared(m):
    m.graph.input.append(info("w", [4]))


@row(r"node 'scale' \(Mul\) .*x:float32\[2, 5\], w:float32\[3\]", GraphError)
def shapes_that_do_not_fit(m):
    m.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5


@row(r"node 'flat' \(Reshape\)", GraphError)
def a_reshape_to_another_size(m):
    initializer(m, "size").CopyFrom(numpy_helper.from_array(np.array([4, 2]), "size"))


@row(r"node 'turn' \(Transpose\)", GraphError)
def an_axis_that_there_is_not(m):
    m.graph.node.append(node("Transpose", "b", "c", "turn", perm=[0, 5]))


@row(r"output 'y' is declared as int64, but is computed as float32")
def an_output_of_another_type(m):
    m.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64


@row(r"node 'flat' \(Reshape\)|node 'huge' \(ConstantOfShape\)", GraphError)
def a_shape_as_large_as_the_machine(m):
    m.graph.initializer.append(numpy_helper.from_array(np.array([1 << 31, 1 << 31]), "claim"))
    m.graph.node.insert(
        0,
        node("ConstantOfShape", "claim", "target", "huge", value=helper.make_tensor("v", TensorProto.INT64, [1], [1])),
    )
    m.graph.node[3].input[1] = "target"


@row("metadata 'aidgejax.roles' is not what aidgejax writes")
def roles_that_are_none(m):
    helper.set_model_props(m, {"aidgejax.roles": "[[["})


@row("metadata 'aidgejax.roles' has the roles 'boss'")
def roles_of_another_kind(m):
    helper.set_model_props(m, {"aidgejax.roles": '{"boss": ["w"]}'})


# ---- paths and external data --------------------------------------------------------------------------


def test_a_path_that_leads_nowhere(tmp_path):
    with pytest.raises(ModelFileError, match=r"cannot read '.*nothing.onnx': there is no such file"):
        onnxio.read(tmp_path / "nothing.onnx")
    with pytest.raises(ModelFileError, match="it is not a file"):
        onnxio.read(tmp_path)
    with pytest.raises(ModelFileError, match="expected a path, a ModelProto or bytes, got int"):
        onnxio.read(7)


def test_a_file_that_is_too_large(tmp_path):
    path = tmp_path / "large.onnx"
    with open(path, "wb") as f:
        f.truncate(1 << 31)
    with pytest.raises(ModelFileError, match="has 2147483648 bytes; an ONNX file has at most 2147483647"):
        onnxio.read(path)


def with_external_data(folder, **entries):
    """A model whose initializer w lies outside it."""
    m = small()
    w = initializer(m, "w")
    (folder / "w.bin").write_bytes(w.raw_data)
    w.ClearField("raw_data")
    w.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "w.bin", "offset": "0", "length": "12"} | entries).items():
        if value is not None:
            w.external_data.add(key=key, value=value)
    onnx.save(m, folder / "m.onnx")
    return folder / "m.onnx"


def test_external_data_is_read_from_a_path_only(tmp_path):
    path = with_external_data(tmp_path)
    assert onnxio.read(path).params["w"].tolist() == [1, -2, 3]
    assert onnxio.read(with_external_data(tmp_path, offset=None, length=None)).params["w"].tolist() == [1, -2, 3]
    for other in (path.read_bytes(), onnx.load(path, load_external_data=False)):
        with pytest.raises(ModelFileError, match="keeps data in other files, .* give the path"):
            onnxio.read(other)


@pytest.mark.parametrize(
    "entries, culprit",
    [
        ({"location": "../../../../../../etc/passwd"}, "external data cannot be read"),
        ({"location": "/etc/passwd"}, "external data cannot be read"),
        ({"location": "missing.bin"}, "external data cannot be read"),
        ({"location": "link.bin"}, "external data cannot be read"),
        ({"location": ""}, "external data cannot be read"),
        ({"offset": "8"}, "external data cannot be read|initializer 'w'"),
        ({"offset": "-5"}, "initializer 'w' has external offset '-5'"),
        ({"length": str(1 << 60)}, "initializer 'w' is 12 bytes .* external length is 1152921504606846976"),
        ({"length": "twelve"}, "initializer 'w' has external length 'twelve'"),
        ({"length": "8"}, "initializer 'w' is 12 bytes .* external length is 8"),
    ],
)
def test_external_data_stays_in_its_folder_and_in_its_bounds(tmp_path, entries, culprit):
    os.symlink("/etc/passwd", tmp_path / "link.bin")
    path = with_external_data(tmp_path, **entries)
    with pytest.raises(ModelFileError, match=culprit):
        onnxio.read(path)


def test_one_external_file_is_not_read_a_thousand_times(tmp_path):
    path = with_external_data(tmp_path)
    m = onnx.load(path, load_external_data=False)
    for k in range(3):
        copy = m.graph.initializer.add()
        copy.CopyFrom(initializer(m, "w"))
        copy.name = f"w{k}"
    onnx.save(m, path)
    with pytest.raises(ModelFileError, match="'w.bin' is claimed several times over: 4 tensors take 48 bytes from 12"):
        onnxio.read(path)


def test_a_model_of_the_model_proto_is_left_as_it_was():
    m = small()
    before = m.SerializeToString(deterministic=True)
    onnxio.read(m)
    assert m.SerializeToString(deterministic=True) == before


def test_an_attribute_list_is_refused_where_a_graph_is_meant():
    m = model([node("Relu", "x", "y", "act")], [info("x", [2])], [info("y", [2])])
    m.graph.node[0].attribute.append(AttributeProto(name="body", type=AttributeProto.GRAPH))
    with pytest.raises(ModelFileError, match=r"node 'act' \(Relu\) has no attribute 'body'"):
        onnxio.read(m)
