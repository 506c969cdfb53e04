"""The file that is written is the user's file, with what was trained changed in it."""

import copy
import os
import pickle
import time
import tracemalloc

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


@pytest.mark.parametrize("again", [lambda g: g.copy(), copy.deepcopy])
def test_a_run_may_write_over_its_source_as_often_as_it_likes(path, again):
    graph = onnxio.read(path)
    for k in range(3):
        onnxio.write(again(graph), {"w": graph.params["w"] + k}, path)
        made = onnx.load(path)
        np.testing.assert_array_equal(nh.to_array(made.graph.initializer[0]), graph.params["w"] + k)
        assert made.producer_name == "somebody" and made.graph.node[0].doc_string == "of the user"
    onnxio.write(graph, None, path, patch=False)
    onnxio.write(graph, {"w": graph.params["w"] + 9}, path)  # there is no user's file left to be kept
    assert onnx.load(path).producer_name == "aidgejax"
    with pytest.raises(ModelFileError, match="the file that was read has been replaced"):
        onnxio.write(graph, None, path, patch=True)


def test_a_source_that_changed_is_an_error(path):
    graph = onnxio.read(path)
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(ModelFileError, match="has changed since it was read: write with patch=False"):
        onnxio.to_model(graph)
    assert onnxio.to_model(graph, patch=False).graph.name == "the graph"


@pytest.mark.parametrize("age", [0, 60])
def test_a_change_shows_whatever_the_age_of_the_file(path, age, monkeypatch):
    """A file of the last seconds is known by its content, an older one by its size and time."""
    now = time.time_ns() + age * 10**9
    monkeypatch.setattr("aidgejax.onnxio.source.time.time_ns", lambda: now)
    then = os.stat(path)
    graph = onnxio.read(path)
    assert bool(graph.source.disk.digest) == (age == 0)
    assert onnxio.to_model(graph).graph.name == "the graph"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    if age == 0:
        os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    with pytest.raises(ModelFileError, match="has changed since it was read"):
        onnxio.to_model(graph)
    path.unlink()
    with pytest.raises(ModelFileError, match="cannot be patched"):
        onnxio.to_model(graph)


# ---- data in other files ------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["one file", "a file for each tensor"])
def parted(request, tmp_path):
    """A model whose tensors are outside, one of them of 4 bits and one that is read by nothing."""
    made = model()
    four = h.make_tensor("four", T.INT4, [3, 4], np.arange(12) - 6)
    made.graph.initializer.extend([four, nh.from_array(np.arange(7, dtype=np.int64), "spare")])
    made.graph.initializer.append(nh.from_array(np.array(0.5, f), "scale"))
    made.graph.node.insert(0, h.make_node("DequantizeLinear", ["four", "scale"], ["u"]))
    made.graph.node[1].input[1] = "wu"
    made.graph.node.insert(1, h.make_node("Add", ["w", "u"], ["wu"]))
    made.opset_import[0].version, made.ir_version = 21, 10
    for t in made.graph.initializer:  # as raw bytes, which alone go into another file
        t.CopyFrom(nh.from_array(nh.to_array(t), t.name))
    (tmp_path / "in").mkdir()
    options = (
        {"all_tensors_to_one_file": True, "location": "weights.bin"}
        if request.param
        else {"all_tensors_to_one_file": False}
    )
    onnx.save_model(made, tmp_path / "in" / "m.onnx", save_as_external_data=True, size_threshold=0, **options)
    return tmp_path / "in" / "m.onnx"


def arrays(path):
    return {t.name: nh.to_array(t) for t in onnx.load(path).graph.initializer}


def test_data_outside_stays_outside_and_only_what_was_trained_changes(parted, tmp_path):
    graph, before = onnxio.read(parted), arrays(parted)
    onnxio.write(graph, None, tmp_path / "same.onnx")
    assert {k: v.tobytes() for k, v in arrays(tmp_path / "same.onnx").items()} == {
        k: v.tobytes() for k, v in before.items()
    }
    kept = [p.name for p in parted.parent.iterdir() if p.name != "m.onnx"]
    if len(kept) == 1:
        assert (tmp_path / "same.onnx.data").read_bytes() == (parted.parent / kept[0]).read_bytes()
    for _ in range(2):  # a file of its own is replaced
        onnxio.write(graph, {"w": graph.params["w"] + 1}, tmp_path / "better.onnx")
    after = arrays(tmp_path / "better.onnx")
    np.testing.assert_array_equal(after.pop("w"), before.pop("w") + 1)
    assert {k: v.tobytes() for k, v in after.items()} == {k: v.tobytes() for k, v in before.items()}
    made = onnx.load(tmp_path / "better.onnx", load_external_data=False)
    assert all(t.data_location == T.EXTERNAL for t in made.graph.initializer) and made.producer_name == "somebody"
    x = np.ones((2, 3), f)
    again = aj.run(onnxio.read(tmp_path / "better.onnx"), {"x": x})[0]
    np.testing.assert_array_equal(again, aj.run(graph.with_params({"w": graph.params["w"] + 1}), {"x": x})[0])


def test_a_copy_is_patched_too_and_inside_of_a_model_object(parted, tmp_path):
    again = pickle.loads(pickle.dumps(copy.deepcopy(onnxio.read(parted))))
    made = onnxio.to_model(again, {"w": again.params["w"] * 2}, patch=True)
    assert not any(t.data_location == T.EXTERNAL for t in made.graph.initializer)
    np.testing.assert_array_equal(nh.to_array(made.graph.initializer[0]), arrays(parted)["w"] * 2)
    assert [n.name for n in made.graph.node] == [n.name for n in onnx.load(parted).graph.node]


def test_the_file_itself_can_be_written_and_a_stranger_is_not_replaced(parted, tmp_path):
    graph = onnxio.read(parted)
    (tmp_path / "other.onnx.data").write_bytes(b"of somebody else")
    with pytest.raises(ModelFileError, match="its data goes to .*other.onnx.data', which exists"):
        onnxio.write(graph, None, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()
    onnxio.write(graph, {"w": graph.params["w"] - 3}, parted)
    np.testing.assert_array_equal(arrays(parted)["w"], graph.params["w"] - 3)
    onnxio.write(graph, None, tmp_path / "late.onnx")  # the file is one of ours now, of the same nodes
    np.testing.assert_array_equal(arrays(tmp_path / "late.onnx")["w"], graph.params["w"])
    (entry,) = {e.value for t in onnx.load(parted, load_external_data=False).graph.initializer
                for e in t.external_data if e.key == "location"}  # fmt: skip
    place = parted.parent / entry
    place.write_bytes(place.read_bytes()[::-1])
    with pytest.raises(ModelFileError, match="has changed since it was read: write with patch=False"):
        onnxio.write(graph, None, tmp_path / "later.onnx")
    assert not list(tmp_path.glob("later*"))
    onnxio.write(graph, None, tmp_path / "later.onnx", patch=False)


def test_data_outside_is_held_once_while_it_is_read(tmp_path):

    w = np.ones((1000, 3000), f)
    ends = [[h.make_tensor_value_info(n, T.FLOAT, ["N", d])] for n, d in (("x", 1000), ("y", 3000))]
    graph = h.make_graph([h.make_node("MatMul", ["x", "w"], ["y"])], "g", *ends, [nh.from_array(w, "w")])
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "m.onnx"
    onnx.save_model(made, path, save_as_external_data=True, location="m.data")
    del made, graph
    tracemalloc.start()
    try:
        read = onnxio.read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read.params["w"].flags.owndata or read.params["w"].base.flags.owndata  # it is not the file's own pages
    assert np.array_equal(read.params["w"], w) and peak < 1.2 * w.nbytes
    (tmp_path / "m.data").write_bytes(b"short" * 100)
    with pytest.raises(ModelFileError, match="'w' takes 12000000 bytes from byte 0 of 'm.data', which holds 500"):
        onnxio.read(path)


def normalized(function=False):
    """A normalization of momentum 1, in a function of the file's own where asked; opset 13 has it as in old exports."""
    norm = h.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y"], epsilon=1e-4, momentum=1.0)
    tensors = [nh.from_array(np.ones(3, f), n) for n in "sbmv"]
    ends = [[h.make_tensor_value_info(n, T.FLOAT, ["N", 3, 2])] for n in "xy"]
    opsets = [h.make_opsetid("", 17)] + ([h.make_opsetid("own", 1)] if function else [])
    if not function:
        return h.make_model(h.make_graph([norm], "g", *ends, tensors), opset_imports=opsets, producer_name="somebody")
    own = h.make_function("own", "Norm", ["x", "s", "b", "m", "v"], ["y"], [norm], opsets[:1])
    call = h.make_node("Norm", ["x", "s", "b", "m", "v"], ["y"], domain="own")
    return h.make_model(h.make_graph([call], "g", *ends, tensors), opset_imports=opsets, functions=[own])


def test_another_momentum_changes_that_attribute_alone():
    graph = onnxio.read(normalized(), momentum=0.8)
    made = onnxio.to_model(graph, patch=True)
    assert onnxio.read(made).nodes[0].attrs["momentum"] == pytest.approx(0.8)
    want = normalized()
    want.graph.node[0].attribute[1].f = 0.8
    assert made == want
    anew = onnxio.to_model(onnxio.read(normalized(function=True), momentum=0.8))
    assert onnxio.read(anew).nodes[0].attrs["momentum"] == pytest.approx(0.8)
