"""evaluate and predict, from the shell."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from aidgejax.cli.main import main

f = np.float32
rng = np.random.default_rng(0)
W, X = rng.normal(size=(6, 3)).astype(f), rng.normal(size=(33, 6)).astype(f)


@pytest.fixture
def files(tmp_path):
    graph = h.make_graph(
        [h.make_node("Gemm", ["x", "w"], ["z"]), h.make_node("Softmax", ["z"], ["p"])], "g",
        [h.make_tensor_value_info("x", T.FLOAT, [1, 6])], [h.make_tensor_value_info("p", T.FLOAT, [1, 3])],
        [nh.from_array(W, "w")],
    )  # fmt: skip
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", X=X, y=(X @ W).argmax(1))
    return tmp_path


def test_a_model_is_scored(files, capsys):
    assert main(["evaluate", str(files / "m.onnx"), str(files / "d.npz"), "--batch-size", "10"]) == 0
    said = capsys.readouterr().out.splitlines()
    z = (X @ W).astype(float)
    real = np.mean(np.log(np.exp(z).sum(1)) - z.max(1))
    assert said[-1] == f"accuracy 1, loss {real:.4g}"
    assert said[:2] == [
        "batch: the file has a fixed batch of 1, read as 'N'",
        "loss: cross_entropy on z, the scores before Softmax 'p'",
    ]


def test_predictions_as_a_table_and_no_other_kind(files, capsys):
    out = files / "p.csv"
    assert main(["predict", str(files / "m.onnx"), str(files / "d.npz"), "--out", str(out)]) == 0
    head, *rows = out.read_text().splitlines()
    assert len(rows) == len(X)
    assert head == "p_0,p_1,p_2"
    np.testing.assert_allclose(np.sum([[float(v) for v in row.split(",")] for row in rows], axis=1), 1, rtol=1e-5)
    capsys.readouterr()
    assert main(["predict", str(files / "m.onnx"), str(files / "d.npz"), "--out", "p.txt"]) == 1
    assert ".npz or as .csv" in capsys.readouterr().err
    assert main(["predict", str(files), str(files / "d.npz")]) == 1  # a folder: the model in it is named
    assert f"give the model in it: {files / 'm.onnx'}" in capsys.readouterr().err


def test_predictions_are_written(files, capsys):
    out = files / "p.npz"
    assert main(["predict", str(files / "m.onnx"), str(files / "d.npz"), "--out", str(out), "--batch-size", "10"]) == 0
    z = np.exp(X @ W)
    np.testing.assert_allclose(np.load(out)["p"], z / z.sum(1, keepdims=True), rtol=1e-4)
    assert "33 rows: p float32[33, 3]" in capsys.readouterr().out
    assert main(["predict", str(files / "m.onnx"), str(files / "d.npz"), "--out", str(out), "--outputs", "z"]) == 0
    np.testing.assert_allclose(np.load(out)["z"], X @ W, rtol=1e-4)


def test_a_mistake_is_one_line_with_its_cure(files, capsys):
    assert main(["evaluate", str(files / "m.onnx"), str(files / "none.npz")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    np.savez(files / "d.npz", X=X)
    assert main(["evaluate", str(files / "m.onnx"), str(files / "d.npz")]) == 1
    assert "lacks the targets" in capsys.readouterr().err


def test_a_quantized_file_is_trained_with_one_command(files, capsys):
    nodes = [h.make_node("DequantizeLinear", ["q", "s"], ["w"]), h.make_node("MatMul", ["x", "w"], ["z"])]
    inits = [nh.from_array(np.rint(W * 40).astype(np.int8), "q"), nh.from_array(f(0.025), "s")]
    ends = [[h.make_tensor_value_info(n, T.FLOAT, ["N", d])] for n, d in (("x", 6), ("z", 3))]
    made = h.make_model(h.make_graph(nodes, "g", *ends, inits), opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, files / "q.onnx")
    command = ["train", "--model", str(files / "q.onnx"), "--data", str(files / "d.npz"), "--epochs", "2"]
    assert main([*command, "--out", str(files / "a")]) == 1
    assert "its weights are integers: 'q' (int8)" in capsys.readouterr().err
    assert main([*command, "--out", str(files / "b"), "--float-weights"]) == 0
    assert "trained: q" in capsys.readouterr().out
    written = onnx.load(files / "b" / "model.onnx")
    assert written.graph.initializer[0].data_type == T.INT8 and [n.op_type for n in written.graph.node] == [
        "DequantizeLinear",
        "MatMul",
    ]


def test_what_was_decided_about_the_data_is_said(files, capsys):
    rows = [[k, *x, c] for k, (x, c) in enumerate(zip(X, (X @ W).argmax(1), strict=True))]
    text = "\n".join([";".join(["", *"abcdef", "kind"]), *(";".join(map(str, r)) for r in rows)])
    (files / "d.csv").write_text(text)
    for command in ("evaluate", "predict"):
        out = ["--out", str(files / "q.npz")] if command == "predict" else []
        assert main([command, str(files / "m.onnx"), str(files / "d.csv"), *out]) == 0
        said = capsys.readouterr().out
        assert "counts the rows and is left out" in said and "table: 6 features, the target is column 'kind'" in said
