"""The file that is written is the user's file, with what was trained changed in it."""

import copy
import pickle

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import aidgejax as aj
from aidgejax import onnxio
from aidgejax.errors import ModelFileError

f = np.float32


def model():
    """Of opset 12 and IR 6, with doc strings, metadata, odd names, and tensors in two ways of storing."""
    nodes = [
        h.make_node("Gemm", ["x", "w", "b"], ["h"], name="first layer", doc_string="of the user"),
        h.make_node("Dropout", ["h"], ["d"], name="drop"),
        h.make_node("Softmax", ["d"], ["y"], name="2", axis=1),
    ]
    w = nh.from_array(np.arange(12, dtype=f).reshape(3, 4) / 10, "w")
    b = h.make_tensor("b", T.FLOAT, [4], [0.5, 1, 2, 3])  # as a list of floats
    w.doc_string = "weights"
    ends = [[h.make_tensor_value_info(n, T.FLOAT, ["N", d])] for n, d in (("x", 3), ("y", 4))]
    made = h.make_model(
        h.make_graph(nodes, "the graph", *ends, [w, b], doc_string="a doc"),
        opset_imports=[h.make_opsetid("", 12)], ir_version=6, producer_name="somebody", producer_version="1.2",
    )  # fmt: skip
    h.set_model_props(made, {"author": "the user"})
    return made


@pytest.fixture
def path(tmp_path):
    onnx.save(model(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_an_untrained_file_is_written_byte_by_byte(path, tmp_path):
    onnxio.write(onnxio.read(path), None, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()
    assert onnxio.to_model(onnxio.read(model())) == model()


def test_only_what_was_trained_changes(path):
    graph = onnxio.read(path)
    made = onnxio.to_model(graph, {"w": graph.params["w"] + 1})
    np.testing.assert_array_equal(nh.to_array(made.graph.initializer[0]), graph.params["w"] + 1)
    assert (
        made.graph.initializer[0].doc_string == "weights" and made.graph.initializer[1] == model().graph.initializer[1]
    )
    del made.graph.initializer[0]
    rest = model()
    del rest.graph.initializer[0]
    assert made == rest


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g)), lambda g: g.copy()]
)
def test_copies_keep_their_source(path, again):
    assert onnxio.to_model(again(onnxio.read(path))) == model()


def test_training_and_freezing_do_not_count(path, tmp_path):
    result = aj.train(path, (np.ones((8, 3), f), np.zeros(8, np.int64)), epochs=1)
    result.write(tmp_path / "better.onnx")
    made = onnx.load(tmp_path / "better.onnx")
    assert (made.opset_import[0].version, made.ir_version, made.producer_name) == (12, 6, "somebody")
    assert [n.name for n in made.graph.node] == ["first layer", "drop", "2"]
    frozen = onnxio.to_model(onnxio.read(path).frozen(["b"]))
    assert frozen.graph == model().graph and "aidgejax.roles" in {p.key for p in frozen.metadata_props}


def test_a_pass_writes_anew_and_says_so_when_asked_to_patch(path):
    graph = aj.with_loss(onnxio.read(path), "mse")
    made = onnxio.to_model(graph)
    assert made.opset_import[0].version >= 13 and made.producer_name == "aidgejax"
    with pytest.raises(ModelFileError, match="cannot be written into the file that was read: its outputs are y, loss"):
        onnxio.to_model(graph, patch=True)
    assert onnxio.to_model(onnxio.read(path), patch=False).producer_name == "aidgejax"


def test_what_is_written_anew_keeps_a_later_opset():
    made = model()
    made.opset_import[0].version, made.ir_version = 20, 10
    anew = onnxio.to_model(onnxio.read(made), patch=False)
    assert (anew.opset_import[0].version, anew.ir_version) == (20, 10)


def test_a_source_that_changed_is_an_error(path):
    graph = onnxio.read(path)
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(ModelFileError, match="has changed since it was read: write with patch=False"):
        onnxio.to_model(graph)
    assert onnxio.to_model(graph, patch=False).graph.name == "the graph"
