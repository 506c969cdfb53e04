"""A step file against the program it came from."""

import pytest

import aidgejax as aj
from aidgejax.errors import DataError, ModelFileError
from aidgejax.tools.compare_step import compare_step
from aidgejax.training import optim


@pytest.fixture
def graph():
    return aj.with_loss(aj.infer_shapes(aj.zoo.mlp(sizes=(6, 5, 3))), "cross_entropy")


def test_they_agree(graph, tmp_path):
    rule = optim.adam()
    aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=rule)
    report = compare_step(tmp_path / "s.onnx", graph, rule)
    assert report.ok, report
    assert "agree after 5 steps" in str(report)
    assert {"loss", *graph.params} == set(report.differences)


def test_another_optimizer_is_found(graph, tmp_path):
    aj.onnxio.write_step(graph, None, tmp_path / "s.onnx", optimizer=optim.adam(beta1=0.8))
    report = compare_step(tmp_path / "s.onnx", graph, optim.adam())
    assert not report.ok
    assert "DIFFER" in str(report)


def test_other_files_are_refused(graph, tmp_path):
    aj.onnxio.write(graph, None, tmp_path / "m.onnx")
    with pytest.raises(ModelFileError, match="no training step"):
        compare_step(tmp_path / "m.onnx", graph, optim.sgd())
    (tmp_path / "n.onnx").write_bytes(b"no model")
    with pytest.raises(ModelFileError):
        compare_step(tmp_path / "n.onnx", graph, optim.sgd())
    g = aj.Graph("drops")
    x, w = g.input("x", ("N", 3)), g.parameter("w", aj.zoo.mlp(sizes=(3, 2)).params["fc1.weight"].T)
    g.output(g.op.Dropout(g.op.MatMul(x, w), 0.5, True))
    g = aj.with_loss(aj.infer_shapes(g), "mse")
    aj.onnxio.write_step(g, None, tmp_path / "d.onnx", optimizer=optim.sgd())
    with pytest.raises(DataError, match="draws random numbers"):
        compare_step(tmp_path / "d.onnx", g, optim.sgd())
