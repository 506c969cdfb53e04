"""What writing promises: names, dtypes and roles; versions that older runtimes read; whole files or none."""

import json
import os
import stat

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from aidgejax import onnxio, reference, run
from aidgejax.errors import GraphError, ModelFileError, UnknownOperator
from aidgejax.graph import Graph
from aidgejax.onnxio.exporter import protos, writer
from aidgejax.ops import OPERATORS
from aidgejax.tools import zoo

X = np.float32([[1, -2, 3], [4, 5, -6]])


def graph_of(build, shape=("N", 3), dtype="float32"):
    """build(op, x, graph) -> the output."""
    g = Graph("g")
    g.output(build(g.op, g.input("x", shape, dtype), g))
    return g


def small():
    return graph_of(lambda op, x, g: op.Add(op.MatMul(x, g.parameter("w", np.ones((3, 2), np.float32))), 1.0))


def stored(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


# ---- files --------------------------------------------------------------------------------------------


def test_write_and_read(tmp_path):
    path = tmp_path / "m.onnx"
    onnxio.write(small(), None, path)
    assert str(onnxio.read(path)) == str(onnxio.read(onnxio.to_model(small())))
    assert onnxruntime.InferenceSession(path).run(None, {"x": X})[0].tolist() == [[3, 3], [4, 4]]
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_a_file_has_the_permissions_that_files_have(tmp_path):
    (tmp_path / "other").write_text("")
    onnxio.write(small(), None, tmp_path / "m.onnx")
    assert stat.S_IMODE(os.stat(tmp_path / "m.onnx").st_mode) == stat.S_IMODE(os.stat(tmp_path / "other").st_mode)


def test_arrays_that_are_given_replace_the_graphs_own(tmp_path):
    g = zoo.resnet8()
    params = {k: np.full_like(a, 2) for k, a in g.params.items()}
    buffers = {k: np.full_like(a, 3) for k, a in g.buffers.items()}
    onnxio.write(g, params, tmp_path / "m.onnx", buffers=buffers)
    again = onnxio.read(tmp_path / "m.onnx")
    assert {a.min() for a in again.params.values()} == {2} and {a.min() for a in again.buffers.values()} == {3}
    assert list(again.params) == list(g.params) and 2 not in {a.max() for a in g.params.values()}
    with pytest.raises(GraphError, match="has no producer 'v'"):
        onnxio.write(small(), {"v": X}, tmp_path / "n.onnx")
    with pytest.raises(GraphError, match=r"producer 'w' .* has shape \(3, 2\), got \(2, 3\)"):
        onnxio.write(small(), {"w": X}, tmp_path / "n.onnx")
    assert os.listdir(tmp_path) == ["m.onnx"]


@pytest.mark.parametrize(
    "where, culprit", [("nowhere/m.onnx", "there is no folder '.*nowhere'"), ("", "it is a folder")]
)
def test_places_that_cannot_be_written(tmp_path, where, culprit):
    with pytest.raises(ModelFileError, match=culprit):
        onnxio.write(small(), None, tmp_path / where)


@pytest.mark.parametrize("failing", ["os.replace", "os.fsync", "onnx.checker.check_model"])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, failing):
    path = tmp_path / "m.onnx"
    onnxio.write(small(), None, path)
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(ModelFileError, match="the disk is full"):
        onnxio.write(small(), {"w": np.zeros((3, 2))}, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m.onnx"]


# ---- more than 2 GiB ----------------------------------------------------------------------------------


@pytest.fixture
def tiny_limit(monkeypatch):
    """What holds for 2 GiB, at 2 kB."""
    monkeypatch.setattr(writer, "LARGEST_MODEL", 2000)


def wide(value=1.0):
    return graph_of(lambda op, x, g: op.MatMul(x, g.parameter("w", np.full((3, 1000), value, np.float32))))


def test_large_models_keep_their_data_beside_them(tmp_path, tiny_limit):
    path = tmp_path / "m.onnx"
    onnxio.write(wide(), None, path)
    assert sorted(os.listdir(tmp_path)) == ["m.onnx", "m.onnx.data"]
    assert path.stat().st_size < 2000 and (tmp_path / "m.onnx.data").stat().st_size >= 12000
    assert onnxio.read(path).params["w"].sum() == 3000
    assert onnxruntime.InferenceSession(path).run(None, {"x": X})[0].shape == (2, 1000)


def test_an_existing_data_file_is_not_overwritten(tmp_path, tiny_limit):
    path = tmp_path / "m.onnx"
    onnxio.write(wide(), None, path)
    with pytest.raises(ModelFileError, match="needs the file '.*m.onnx.data' for its data, which exists; remove it"):
        onnxio.write(wide(2.0), None, path)
    assert onnxio.read(path).params["w"].max() == 1


@pytest.mark.parametrize("failing", ["os.replace", "os.rename", "onnx.checker.check_model", "onnx.save_model"])
def test_both_files_or_none(tmp_path, monkeypatch, tiny_limit, failing):
    def fail(*_, **__):
        raise OSError("the disk is full")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(ModelFileError, match="the disk is full"):
        onnxio.write(wide(), None, tmp_path / "m.onnx")
    assert os.listdir(tmp_path) == []


def test_a_model_proto_cannot_be_that_large(tiny_limit):
    with pytest.raises(ModelFileError, match="graph 'g' holds 12000 bytes, more than a ModelProto can; `write` puts"):
        onnxio.to_model(wide())


# ---- versions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build, opset, ir",
    [
        (lambda op, x, g: op.Add(x, 1.0), 14, 7),
        (lambda op, x, g: op.Clip(x, 0.0, 6.0), 13, 7),
        (lambda op, x, g: op.LayerNormalization(x, np.ones(3, np.float32)), 17, 8),
        (lambda op, x, g: op.ReduceMean(x, (1,)), 18, 8),
        (lambda op, x, g: op.Gelu(x), 20, 9),
    ],
)
def test_the_lowest_opset_that_has_every_operator(build, opset, ir):
    model = onnxio.to_model(graph_of(build))
    assert model.opset_import[0].version == opset and model.ir_version == ir
    onnxruntime.InferenceSession(model.SerializeToString())


def test_an_opset_may_be_asked_for():
    g = graph_of(lambda op, x, g: op.Gelu(x, name="gelu"))
    model = onnxio.to_model(g, opset=21)
    assert (model.opset_import[0].version, model.ir_version) == (21, 10)
    assert onnxio.to_model(g, opset=writer.NEWEST_OPSET).ir_version == onnx.IR_VERSION
    with pytest.raises(ModelFileError, match=r"cannot be written in opset 17: Gelu \(node 'gelu'\) needs 20"):
        onnxio.to_model(g, opset=17)
    with pytest.raises(ModelFileError, match="cannot be written in opset 9: 13 is the lowest that is written"):
        onnxio.to_model(graph_of(lambda op, x, g: op.Elu(x)), opset=9)
    with pytest.raises(
        ModelFileError, match=f"cannot be written in opset 99: the installed onnx .* knows {writer.NEWEST_OPSET}"
    ):
        onnxio.to_model(g, opset=99)


def test_every_opset_has_an_ir_version_that_onnx_agrees_with():
    for opset in range(13, writer.NEWEST_OPSET + 1):
        ir = next(ir for top, ir in writer.IR_OF_OPSET if opset <= top)
        assert ir == onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)]), opset


# ---- nodes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int32", "int64"])
def test_literals_take_the_dtype_of_their_neighbours(dtype):
    model = onnxio.to_model(graph_of(lambda op, x, g: op.Mul(op.Add(x, 2, name="add"), 3, name="mul"), dtype=dtype))
    assert {n: str(a.dtype) for n, a in stored(model).items()} == {"add.b": dtype, "mul.b": dtype}
    assert onnxio.read(model).params == {}


def test_literals_of_types_of_their_own():
    model = onnxio.to_model(
        graph_of(
            lambda op, x, g: op.Pow(op.Where(op.Greater(x, 0, name="gt"), x, 0.0, name="where"), 2.0, name="pow"),
            dtype="float64",
        )
    )
    assert {str(a.dtype) for a in stored(model).values()} == {"float64"}
    model = onnxio.to_model(graph_of(lambda op, x, g: op.Dropout(x, 0.5, False, name="drop"), dtype="float64"))
    assert {n: str(a.dtype) for n, a in stored(model).items()} == {
        "drop.ratio": "float64",
        "drop.training_mode": "bool",
    }
    model = onnxio.to_model(graph_of(lambda op, x, g: op.Slice(x, (0,), (2,), (1,), name="cut")))
    assert {str(a.dtype) for a in stored(model).values()} == {"int64"}
    model = onnxio.to_model(graph_of(lambda op, x, g: op.Add(op.Shape(x), 1)))
    assert {str(a.dtype) for a in stored(model).values()} == {"int64"}


def test_literals_do_not_take_names_that_exist():
    def build(op, x, g):
        g.constant("add.b", np.zeros(2, np.float32))
        return op.Add(op.Add(x, 1.0, name="add"), 2.0, name="add.b_1")

    model = onnxio.to_model(graph_of(build))
    assert set(stored(model)) == {"add.b", "add.b_2", "add.b_1.b"}
    assert run(onnxio.read(model), [X])[0].tolist() == (X + 3).tolist()


def test_attributes_at_their_defaults_are_left_off():
    g = graph_of(lambda op, x, g: op.Softmax(op.LeakyRelu(op.Relu(x, slope_at_zero=0.0), alpha=0.25), axis=-1))
    kept = {n.op_type: [a.name for a in n.attribute] for n in onnxio.to_model(g).graph.node}
    assert kept == {"Relu": [], "LeakyRelu": ["alpha"], "Softmax": []}


def test_attributes_that_onnx_cannot_hold_are_named():
    g = graph_of(lambda op, x, g: op.LeakyRelu(x, name="act", alpha=1))
    onnxio.to_model(g)  # a whole number is a number too
    with pytest.raises(
        ModelFileError,
        match=r"node 'act' \(LeakyRelu\) cannot be written: its attribute 'alpha' is "
        r"\[1, 2\], expected FLOAT",
    ):
        protos._attribute(g.nodes[0], "alpha", (1, 2), onnx.defs.get_schema("LeakyRelu"))


def test_absent_inputs_and_outputs():
    g = Graph("g")
    x = g.input("x", (2, 3))
    y = g.op.Clip(x, None, 2.0, name="clip")
    values, indices = g.add("TopK", [y, (1,)], names=[None, "at"], name="top")
    g.output(y)
    g.output(indices)
    nodes = onnxio.to_model(g).graph.node
    assert list(nodes[0].input) == ["x", "", "clip.high"] and list(nodes[1].output) == ["top.Values", "at"]
    again = onnxio.read(onnxio.to_model(g))
    assert again.nodes[0].inputs == ("x", None, "clip.high")
    assert run(again, [X])[1].tolist() == [[2], [0]]


def test_batch_normalization_in_training_names_all_its_outputs():
    g = Graph("g")
    x = g.input("x", (4, 2))
    ones = [
        g.parameter("s", np.ones(2, np.float32)),
        g.parameter("b", np.ones(2, np.float32)),
        g.buffer("m", np.ones(2, np.float32)),
        g.buffer("v", np.ones(2, np.float32)),
    ]
    g.output(g.op.BatchNormalization(x, *ones, training_mode=1, name="norm"))
    (n,) = onnxio.to_model(g).graph.node
    assert list(n.output) == ["norm", "norm.running_mean", "norm.running_var"]
    onnxruntime.InferenceSession(onnxio.to_model(g).SerializeToString())


def test_operators_that_there_are_not_are_listed():
    g = graph_of(lambda op, x, g: op.Nonsense(op.Gibberish(x)))
    with pytest.raises(UnknownOperator, match=r"Gibberish \(node 'Gibberish'\); Nonsense \(node 'Nonsense'\)"):
        onnxio.to_model(g)


def test_a_graph_that_is_none_is_refused():
    g = graph_of(lambda op, x, g: op.Relu(x))
    g.nodes.reverse()
    g.outputs.append("z")
    with pytest.raises(GraphError, match="output 'z' of graph 'g' is written by no node"):
        onnxio.to_model(g)
    with pytest.raises(GraphError, match=r"node 'MatMul' \(MatMul\)"):
        onnxio.to_model(graph_of(lambda op, x, g: op.MatMul(x, np.ones((4, 2), np.float32))))


# ---- sizes --------------------------------------------------------------------------------------------


def test_symbolic_sizes():
    g = Graph("g")
    x = g.input("x", ("N", 4, 3))
    for y in (
        g.op.Reshape(x, (-1, 3)),
        g.op.Concat(x, x, axis=0),
        g.op.Slice(x, (1,), (1 << 30,), (0,)),
        g.op.Reshape(x, (-1,)),
        g.op.Shape(x),
    ):
        g.output(y)
    model = onnxio.to_model(g)
    sizes = [[d.dim_param or d.dim_value or None for d in o.type.tensor_type.shape.dim] for o in model.graph.output]
    assert sizes == [["4*N", 3], ["2*N", 4, 3], ["N-1", 4, 3], ["12*N"], [3]]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    data = np.ones((2, 4, 3), np.float32)
    assert [a.shape for a in session.run(None, {"x": data})] == [(8, 3), (4, 4, 3), (1, 4, 3), (24,), (3,)]
    assert [a.shape for a in run(onnxio.read(model), [data])] == [(8, 3), (4, 4, 3), (1, 4, 3), (24,), (3,)]


def test_sizes_that_nobody_knows_are_left_open():
    g = graph_of(lambda op, x, g: op.Relu(x))
    value = writer.type_of(g, type(g.inputs["x"])("y", ("?5", "N", 2, None), "float32"))
    dims = value.type.tensor_type.shape.dim
    assert [d.WhichOneof("value") for d in dims] == [None, "dim_param", "dim_value", None]


# ---- roles --------------------------------------------------------------------------------------------


def test_roles_survive():
    def build(op, x, g):
        frozen = g.constant("frozen", np.ones(3, np.float32))
        scale = g.parameter("scale", np.float32(2))  # a scalar, which the reader would take for a constant
        average = g.buffer("average", np.ones(3, np.float32))
        return op.Add(op.Mul(op.Mul(x, frozen), scale), op.Add(average, g.parameter("bias", np.ones(3, np.float32))))

    g = graph_of(build)
    model = onnxio.to_model(g)
    (noted,) = model.metadata_props
    assert noted.key == "aidgejax.roles"
    assert json.loads(noted.value) == {"constant": ["frozen"], "parameter": ["scale"], "buffer": ["average"]}
    for again in (onnxio.read(model), onnxio.read(onnxio.to_model(onnxio.read(model)))):
        assert {p.name: p.role for p in again.producers.values()} == {p.name: p.role for p in g.producers.values()}
    assert onnxio.read(model, constants=["scale"]).producers["scale"].role == "constant"


def test_models_without_surprises_carry_no_notes():
    assert not onnxio.to_model(zoo.lenet()).metadata_props
    assert [p.key for p in onnxio.to_model(zoo.lenet().frozen(["fc1.weight"])).metadata_props] == ["aidgejax.roles"]


# ---- anything at all ----------------------------------------------------------------------------------

UNARY, BINARY = ("Relu", "Neg", "Tanh", "Abs", "Sigmoid"), ("Add", "Mul", "Sub", "Max")
NAMES = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=6)


@st.composite
def graphs(draw):
    """Nodes of one and two inputs over tensors of one shape, under any names."""
    names = iter(draw(st.lists(NAMES, min_size=20, max_size=20, unique=True)))
    g = Graph(draw(NAMES))
    shape = draw(st.lists(st.integers(1, 3), max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    tensors = [g.input(next(names), shape) for _ in range(draw(st.integers(1, 2)))]
    for _ in range(draw(st.integers(0, 2))):
        role = draw(st.sampled_from(["parameter", "buffer", "constant"]))
        tensors.append(g.producer(next(names), rng.normal(size=shape).astype(np.float32), role))
    for _ in range(draw(st.integers(1, 5))):
        op = draw(st.sampled_from(UNARY + BINARY))
        inputs = [draw(st.sampled_from(tensors)) for _ in range(1 if op in UNARY else 2)]
        if op in BINARY and draw(st.booleans()):
            inputs[1] = draw(st.sampled_from([2.0, -0.5]))
        name = next(names)
        tensors += g.add(op, inputs, names=[name], name=next(names))
    for t in draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=3, unique=True)):
        g.output(t)
    return g


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_any_graph_comes_back_as_it_was(g):
    again = onnxio.read(onnxio.to_model(g))
    assert again.name == g.name and again.inputs == g.inputs and again.outputs == g.outputs
    assert [(n.op, n.name, n.outputs, n.attrs) for n in again.nodes] == [
        (n.op, n.name, n.outputs, n.attrs) for n in g.nodes
    ]
    for p in g.producers.values():
        assert again.producers[p.name].role == p.role and np.array_equal(again.producers[p.name].data, p.data)
    feeds = {
        k: np.random.default_rng(n).normal(size=v.shape).astype(np.float32) for n, (k, v) in enumerate(g.inputs.items())
    }
    got, want = reference.execute(again, feeds), reference.execute(g, feeds)
    for o in g.outputs:
        np.testing.assert_array_equal(got[o], want[o])
    assert str(onnxio.read(onnxio.to_model(again))) == str(again)


def test_every_operator_of_onnx_is_known_to_onnx():
    from aidgejax.onnxio.schemas import schema_of

    for operator in OPERATORS.values():
        if operator.onnx and operator.onnx[0] == "":
            assert schema_of(operator).since_version <= operator.onnx[1], operator.name
