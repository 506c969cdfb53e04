"""What was asked for when a model was read is written into the user's file: names, order, opset, metadata stay."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from aidgejax import onnxio, run
from aidgejax.errors import ModelFileError

f = np.float32
rng = np.random.default_rng(4)


def stored(*shape):
    return (rng.normal(size=shape) / 2).astype(f)


def model(nodes, inputs, outputs, tensors, opset=17):
    made = [h.make_node(op, i.split(), o.split(), name=f"of the user {k}", **(a[0] if a else {}))
            for k, (op, i, o, *a) in enumerate(nodes)]  # fmt: skip
    ends = [[h.make_tensor_value_info(n, t, s) for n, t, s in group] for group in (inputs, outputs)]
    tensors = [nh.from_array(np.asarray(a), n) for n, a in tensors.items()]
    info = [h.make_tensor_value_info(made[0].output[0], T.FLOAT, None)]
    graph = h.make_graph(made, "the graph", *ends, tensors, doc_string="a doc", value_info=info)
    m = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=8, producer_name="somebody")
    h.set_model_props(m, {"author": "the user"})
    return m


def tokens():
    """A class token of batch 1, heads with the batch in a Reshape, and a result that keeps it."""
    nodes = [
        ("Concat", "token x", "t", {"axis": 1}),
        ("MatMul", "t w", "q"),
        ("Reshape", "q heads", "r"),
        ("Transpose", "r", "s", {"perm": [0, 2, 1, 3]}),
        ("Softmax", "s", "p"),
        ("Reshape", "p flat", "y"),
    ]
    tensors = {"token": stored(1, 1, 4), "w": stored(4, 6), "heads": np.array([1, 3, 2, 3]), "flat": np.array([1, 18])}
    return model(nodes, [("x", T.FLOAT, [1, 2, 4])], [("y", T.FLOAT, [1, 18])], tensors)


def recurrent():
    """An LSTM whose initial states are stored for one row."""
    tensors = {
        "w": stored(1, 12, 4),
        "r": stored(1, 12, 3),
        "b": stored(1, 24),
        "h": stored(1, 1, 3),
        "c": stored(1, 1, 3),
    }
    nodes = [
        ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
        ("LSTM", "t w r b none h c", "all last", {"hidden_size": 3}),
        ("Squeeze", "last zero", "y"),
    ]
    m = model(nodes, [("x", T.FLOAT, [1, 5, 4])], [("y", T.FLOAT, [1, 3])], {**tensors, "zero": np.array([0])}, 14)
    m.graph.node[1].input[4] = ""
    return m


def old():
    """Opset 7, every initializer an input too, a batch of 1."""
    tensors = {"k": stored(2, 3, 1, 1), "w": stored(4, 8), "b": stored(4)}
    nodes = [("Conv", "x k", "c"), ("Reshape", "c shape", "r"), ("Gemm", "r w b", "y", {"transB": 1})]
    m = model(
        nodes, [("x", T.FLOAT, [1, 3, 2, 2])], [("y", T.FLOAT, [1, 4])], {**tensors, "shape": np.array([1, 8])}, 7
    )
    m.ir_version = 3
    m.graph.input.extend(h.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in m.graph.initializer)
    return m


def check(m, graph, x):
    """What is written is the user's, runs in onnxruntime at any batch, and is read as the same graph."""
    new = {k: a + 1 for k, a in graph.params.items()}
    made = onnxio.to_model(graph, new, patch=True)
    onnx.checker.check_model(made, full_check=True)
    kept = [n.name for n in made.graph.node if n.name.startswith("of the user")]
    assert kept == [n.name for n in m.graph.node if n.name in kept] and made.opset_import == m.opset_import
    assert (made.producer_name, made.metadata_props[0].value, made.graph.doc_string) == (
        "somebody",
        "the user",
        "a doc",
    )
    session = onnxruntime.InferenceSession(made.SerializeToString())
    found = session.run(graph.outputs, {k: a for k, a in x.items()})
    for got, want in zip(found, run(graph, x, "numpy", params=new), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    again = onnxio.read(made)
    assert {k: v.shape for k, v in again.inputs.items()} == {k: v.shape for k, v in graph.inputs.items()}
    assert again.outputs == graph.outputs
    return made


@pytest.mark.parametrize("make, more", [(tokens, 4), (recurrent, 8), (old, 0)])
def test_a_batch_that_was_freed(make, more):
    m = make()
    graph = onnxio.read(m, batch="rows")
    shape = (3, *graph.inputs["x"].shape[1:])
    made = check(m, graph, {"x": stored(*shape)})
    assert len(made.graph.node) == len(m.graph.node) + more
    assert made.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "rows"
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "rows"


def test_a_cut_and_a_shape():
    m = tokens()
    graph = onnxio.read(m, outputs=["q"])
    made = check(m, graph, {"x": stored(1, 2, 4)})
    assert [n.op_type for n in made.graph.node] == ["Concat", "MatMul"] and len(made.graph.initializer) == 2
    graph = onnxio.read(m, inputs=["q"], outputs=["p"], batch="N")
    assert list(graph.inputs) == ["q"]
    check(m, graph, {"q": stored(2, 3, 6)})
    m.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "T"
    graph = onnxio.read(m, shapes={"T": 2})
    made = check(m, graph, {"x": stored(1, 2, 4)})
    assert made.graph.input[0].type.tensor_type.shape.dim[1].dim_value == 2


def test_an_input_that_was_given_a_value():
    m = model(
        [("Mul", "x factor", "m"), ("MatMul", "m w", "y")],
        [("x", T.FLOAT, ["N", 4]), ("factor", T.FLOAT, [])], [("y", T.FLOAT, ["N", 2])], {"w": stored(4, 2)},
    )  # fmt: skip
    graph = onnxio.read(m, values={"factor": f(3)})
    made = check(m, graph, {"x": stored(3, 4)})
    assert [i.name for i in made.graph.input] == ["x"]


def test_what_a_file_cannot_say_is_written_anew_with_its_opset():
    """A Resize to sizes with the batch among them leaves it out by an attribute that opset 17 does not have."""
    nodes = [("Conv", "x k", "c"), ("Resize", "c none none sizes", "y", {"mode": "nearest"})]
    m = model(nodes, [("x", T.FLOAT, [1, 3, 2, 2])], [("y", T.FLOAT, [1, 2, 4, 4])],
              {"k": stored(2, 3, 1, 1), "sizes": np.array([1, 2, 4, 4])})  # fmt: skip
    m.graph.node[1].input[1] = m.graph.node[1].input[2] = ""
    graph = onnxio.read(m, batch="N")
    with pytest.raises(ModelFileError, match=r"'of the user 1' \(Resize\) follows the batch in a form of its own"):
        onnxio.to_model(graph, patch=True)
    made = onnxio.to_model(graph)
    assert made.producer_name == "aidgejax" and made.opset_import[0].version >= 17
    x = stored(3, 3, 2, 2)
    (got,) = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(got, run(graph, {"x": x}, "numpy")[0], atol=1e-6)


def test_data_in_another_file_stays_there(tmp_path):
    onnx.save(tokens(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    graph = onnxio.read(tmp_path / "m.onnx", batch="N")
    onnxio.write(graph, {"w": graph.params["w"] * 2}, tmp_path / "new.onnx", patch=True)
    held = onnx.load(tmp_path / "new.onnx", load_external_data=False)
    assert {e.value for t in held.graph.initializer for e in t.external_data if e.key == "location"} == {
        "new.onnx.data"
    }
    x = stored(3, 2, 4)
    (got,) = onnxruntime.InferenceSession(str(tmp_path / "new.onnx")).run(None, {"x": x})
    wanted = run(graph, {"x": x}, "numpy", params={"w": graph.params["w"] * 2})[0]
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
