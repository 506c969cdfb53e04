"""Pipelines of scikit-learn: what stands before a network prepares its data, and is not trained."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper as h

import aidgejax as aj
from aidgejax import onnxio

from ._models import info, model, node

ML = "ai.onnx.ml"
f = np.float32


def pipeline(**imputer):
    """Missing numbers filled in, their squares beside them, scaled, then a layer; a factor `negate` of -1 behind it."""
    made = model(
        [
            node("Imputer", "x", "whole", "fill", ML, imputed_value_floats=[1.0, 2.0], **imputer),
            node("Mul", "whole,whole", "squares"),
            node("Concat", "whole,squares", "all", axis=1),
            node("Scaler", "all", "scaled", "scale", ML, offset=[0.5, 1.0, 0.0, 0.0], scale=[2.0, 1.0, 0.5, 0.25]),
            node("Binarizer", "scaled", "signs", "signs", ML, threshold=0.5),
            node("Sub", "scaled,signs", "data"),
            node("MatMul", "data,coef", "score"),
            node("Mul", "score,negate", "z"),
        ],
        [info("x", ["N", 2])],
        [info("z", ["N", 3])],
        {"coef": np.arange(12, dtype=f).reshape(4, 3) / 10, "negate": f(-1)},
        opset=13,
    )
    made.opset_import.append(h.make_opsetid(ML, 1))
    return made


@pytest.mark.parametrize("missing", [np.nan, -9.0])
def test_a_pipeline_computes_as_onnxruntime_does_and_its_preparation_is_left_alone(missing, tmp_path):
    made = pipeline(replaced_value_float=missing)
    x = np.array([[0.2, missing], [missing, 3], [1, -1]], f)
    want = ort.InferenceSession(made.SerializeToString()).run(None, {"x": x})[0]
    graph = onnxio.read(made)
    assert list(graph.params) == ["coef"]
    for backend in ("jax", "numpy"):
        np.testing.assert_allclose(aj.run(graph, {"x": x}, backend)[0], want, rtol=1e-6)
    onnxio.write(graph, {"coef": graph.params["coef"] + 1}, tmp_path / "m.onnx")
    again = ort.InferenceSession(str(tmp_path / "m.onnx"))
    trained = graph.with_params({"coef": graph.params["coef"] + 1})
    np.testing.assert_allclose(again.run(None, {"x": x})[0], aj.run(trained, {"x": x})[0], rtol=1e-6)


def test_what_the_file_has_no_tensor_for_is_written_anew():
    graph = onnxio.read(pipeline(), parameters=["coef", "scale/Scaler.scale"])
    made = onnxio.to_model(graph, {"scale/Scaler.scale": np.ones(4, f)})
    assert "Scaler" not in {n.op_type for n in made.graph.node}
    assert np.array_equal(onnxio.read(made).params["scale/Scaler.scale"], np.ones(4))
