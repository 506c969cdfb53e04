"""Artifacts of models that are not plain nodes: loops, scans, branches, functions, fused products; given sizes."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import aidgejax as aj
from aidgejax.errors import AidgeJaxError
from aidgejax.onnxio.artifacts.generate import write_artifacts
from aidgejax.training import optim

rng = np.random.default_rng(0)
W, U = (rng.normal(size=(4, 4)).astype("f") * np.float32(0.5) for _ in range(2))
X, TARGET = (rng.normal(size=(3, 4)).astype("f") for _ in range(2))
node, info = h.make_node, h.make_tensor_value_info
BOTH = {"w": W, "u": U}


def model(nodes, inits, x=("N", 4), y=None, extra=(), functions=(), opset=17):
    graph = h.make_graph(
        nodes,
        "g",
        [info("x", T.FLOAT, list(x))],
        [info("y", T.FLOAT, y)],
        [nh.from_array(v, k) for k, v in inits.items()],
    )
    opsets = [h.make_opsetid("", opset), *extra]
    return h.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions))


def loop(inits=()):
    body = h.make_graph(
        [node("MatMul", ["s", "u"], ["p"]), node("Tanh", ["p"], ["q"]), node("Identity", ["c"], ["d"])],
        "body",
        [info("k", T.INT64, []), info("c", T.BOOL, []), info("s", T.FLOAT, None)],
        [info("d", T.BOOL, []), info("q", T.FLOAT, None)],
        [nh.from_array(v, k) for k, v in dict(inits).items()],
    )
    return [node("MatMul", ["x", "w"], ["z"]), node("Loop", ["m", "", "z"], ["y"], body=body)]


def scan():
    body = h.make_graph(
        [node("MatMul", ["i", "w"], ["a"]), node("MatMul", ["s", "u"], ["b"]), node("Add", ["a", "b"], ["n"]),
         node("Identity", ["n"], ["o"])],
        "body", [info("s", T.FLOAT, [4]), info("i", T.FLOAT, [4])], [info("n", T.FLOAT, [4]), info("o", T.FLOAT, [4])],
    )  # fmt: skip
    return [node("Scan", ["s0", "x"], ["last", "y"], body=body, num_scan_inputs=1)]


def branch():
    yes = h.make_graph([node("MatMul", ["z", "u"], ["p"])], "yes", [], [info("p", T.FLOAT, None)])
    no = h.make_graph([node("Identity", ["z"], ["q"])], "no", [], [info("q", T.FLOAT, None)])
    return [
        node("MatMul", ["x", "w"], ["z"]), node("Shape", ["z"], ["s"]), node("Gather", ["s", "one"], ["n"]),
        node("Equal", ["n", "four"], ["c"]), node("If", ["c"], ["y"], then_branch=yes, else_branch=no),
    ]  # fmt: skip


TIMES = {"m": np.array(3)}
OWN = [h.make_opsetid("my", 1)]
LAYER = h.make_function(
    "my", "Layer", ["a", "k"], ["o"], [node("MatMul", ["a", "k"], ["p"]), node("Tanh", ["p"], ["o"])],
    [h.make_opsetid("", 17)],
)  # fmt: skip
HOLDS = h.make_function(
    "my", "Holds", ["a"], ["o"],
    [node("Constant", [], ["u"], value=nh.from_array(U, "u")), node("MatMul", ["a", "u"], ["o"])],
    [h.make_opsetid("", 17)],
)  # fmt: skip
MS = [h.make_opsetid("com.microsoft", 1)]
MODELS = {
    "a loop's body reads it": lambda: model(loop(), BOTH | TIMES),
    "a loop's body holds it": lambda: model(loop({"u": U}), {"w": W} | TIMES),
    "a scan": lambda: model(scan(), BOTH | {"s0": np.zeros(4, "f")}, x=(3, 4)),
    "a branch": lambda: model(branch(), BOTH | {"one": np.array(1), "four": np.array(4)}),
    "a function": lambda: model(
        [node("Layer", ["x", "w"], ["z"], domain="my"), node("Layer", ["z", "u"], ["y"], domain="my")],
        BOTH, extra=OWN, functions=[LAYER],
    ),
    "a function's own weight": lambda: model(
        [node("MatMul", ["x", "w"], ["z"]), node("Holds", ["z"], ["y"], domain="my")],
        {"w": W}, extra=OWN, functions=[HOLDS],
    ),
    "a fused product": lambda: model(
        [node("MatMul", ["x", "w"], ["z"]), node("FusedMatMul", ["z", "u"], ["y"], domain="com.microsoft", transB=1)],
        BOTH, x=("N", 2, 4), y=["N", 2, 4], extra=MS,
    ),
}  # fmt: skip


def gradients(folder, feeds):
    """{parameter: gradient} of the artifacts in a folder, by plain onnxruntime."""
    graph = aj.onnxio.read(folder / "training_model.onnx")
    session = ort.InferenceSession(folder / "training_model.onnx")
    given = feeds | {"lazy_reset_grad": np.ones(1, bool)}
    suffix = "_grad.accumulation.buffer"
    given |= {k: np.zeros(graph.inputs[k].shape, "f") for k in graph.inputs if k.endswith(suffix)}
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, given), strict=True))
    return {k.removesuffix(suffix): found[k.replace("buffer", "out")] for k in given if k.endswith(suffix)}


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_gets_the_gradient_of_the_core(name, tmp_path):
    onnx.save(MODELS[name](), tmp_path / "m.onnx")
    graph = aj.onnxio.read(tmp_path / "m.onnx", constants=["s0"] if name == "a scan" else None)
    assert len(graph.params) == 2
    write_artifacts(tmp_path / "m.onnx", tmp_path, loss="MSELoss", trainable=list(graph.params))
    x = X if graph.inputs["x"].rank == 2 else np.stack([X, X[::-1]], 1)
    target = TARGET if graph.inputs["x"].rank == 2 else np.stack([TARGET, TARGET], 1)
    program = aj.make_program(aj.with_loss(graph, "mse"), training=True)
    outputs, saved, _ = program.forward(graph.params, {}, {"x": x, "target": target}, None)
    wanted = program.backward(graph.params, saved, {"loss": 1.0})
    found = gradients(tmp_path, {"x": x, "target": target, **graph.params})
    assert set(found) == set(wanted)
    for k, g in wanted.items():
        np.testing.assert_allclose(found[k], g, rtol=1e-4, atol=1e-6)


def test_sizes_and_the_batch_are_given(tmp_path):
    fixed = model(
        [node("MatMul", ["x", "w"], ["z"]), node("Reshape", ["z", "s"], ["y"])],
        {"w": W, "s": np.array([1, 4])}, x=(1, 4), y=[1, 4],
    )  # fmt: skip
    onnx.save(fixed, tmp_path / "m.onnx")
    write_artifacts(tmp_path / "m.onnx", tmp_path, loss="MSELoss", batch="N")
    assert gradients(tmp_path, {"x": X, "target": TARGET, "w": W})["w"].shape == (4, 4)
    free = model([node("MatMul", ["x", "w"], ["y"])], {"w": W}, x=("N", "S", 4), y=["N", "S", 4])
    onnx.save(free, tmp_path / "m.onnx")
    write_artifacts(tmp_path / "m.onnx", tmp_path, loss="MSELoss", shapes={"x": {1: 5}})
    assert aj.onnxio.read(tmp_path / "training_model.onnx").inputs["target"].shape == ("N", 5, 4)
    with pytest.raises(AidgeJaxError, match="`shapes` names 'Q'"):
        write_artifacts(tmp_path / "m.onnx", tmp_path, loss="MSELoss", shapes={"Q": 5})


def test_class_scores_in_bfloat16_have_a_loss(tmp_path):
    m = model([node("MatMul", ["x", "w"], ["y"])], {"w": W.astype(ml_dtypes.bfloat16)}, y=["N", 4])
    for v in (*m.graph.input, *m.graph.output):
        v.type.tensor_type.elem_type = T.BFLOAT16
    onnx.save(m, tmp_path / "m.onnx")
    write_artifacts(tmp_path / "m.onnx", tmp_path, loss="CrossEntropyLoss", optimizer=optim.adam())
    graph = aj.onnxio.read(tmp_path / "eval_model.onnx")
    x, labels = X.astype(ml_dtypes.bfloat16), np.array([0, 1, 3])
    (loss,) = aj.run(graph, {"x": x, "labels": labels, "w": W.astype(ml_dtypes.bfloat16)})
    scores = (x.astype("f") @ W.astype(ml_dtypes.bfloat16).astype("f")).astype(np.float64)
    wanted = (np.log(np.exp(scores).sum(1)) - scores[np.arange(3), labels]).mean()
    assert np.asarray(loss).dtype == np.float32 and abs(float(loss) - wanted) < 2e-2


def test_artifacts_in_bfloat16_run_in_plain_onnxruntime(tmp_path):
    """Its CPU has hardly a kernel of that type: float32 inside, bfloat16 at the edges; a step is that of the core."""
    narrow = W.astype(ml_dtypes.bfloat16)
    m = model([node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["y"])], {"w": narrow}, y=["N", 4])
    for v in (*m.graph.input, *m.graph.output):
        v.type.tensor_type.elem_type = T.BFLOAT16
    onnx.save(m, tmp_path / "m.onnx")
    write_artifacts(tmp_path / "m.onnx", tmp_path, loss="CrossEntropyLoss", optimizer=optim.adam())
    files = {k: onnx.load(tmp_path / f"{k}_model.onnx") for k in ("training", "eval", "optimizer")}
    kinds = {i.name: i.type.tensor_type.elem_type for i in files["training"].graph.input}
    assert kinds["x"] == kinds["w"] == kinds["w_grad.accumulation.buffer"] == T.BFLOAT16
    for name, made in files.items():
        onnx.checker.check_model(made, full_check=True)
        ort.InferenceSession(made.SerializeToString())  # every node has a kernel
        moved = {n.op_type for n in made.graph.node if n.op_type != "Cast" and _narrow_in(made, n)}
        assert not moved, f"{name}: {moved}"
    x, labels = X.astype(ml_dtypes.bfloat16), np.array([0, 1, 3])
    graph = aj.onnxio.read(files["training"])
    zeros = {"w_grad.accumulation.buffer": np.zeros_like(narrow), "lazy_reset_grad": np.array([True])}
    loss, grad = aj.run(graph, {"x": x, "labels": labels, "w": narrow, **zeros}, "numpy")
    core = aj.make_program(aj.with_loss(aj.onnxio.read(m, dtype="float32"), "cross_entropy"), training=True)
    feeds = {"x": x.astype("f"), "target": labels}
    outputs, saved, _ = core.forward({"w": narrow.astype("f")}, {}, feeds, None)
    wanted = core.backward({"w": narrow.astype("f")}, saved, {"loss": np.float32(1)}, None)["w"]
    np.testing.assert_allclose(np.float32(loss), outputs["loss"], rtol=1e-5)
    assert grad.dtype == narrow.dtype
    np.testing.assert_allclose(grad.astype("f"), wanted, rtol=2e-2, atol=1e-3)


def _narrow_in(made, node):
    narrow = {i.name for i in (*made.graph.input, *made.graph.output) if i.type.tensor_type.elem_type == T.BFLOAT16}
    return not narrow.isdisjoint((*node.input, *node.output))
