"""The losses of Aidge 0.10.1: values and gradients that the real system computed, against ours on both backends.

Aidge's `scaling` multiplies only the gradient, so here it is the cotangent.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from aidgejax import reference
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.passes.loss import with_loss

CASES = json.loads((Path(__file__).parents[1] / "golden/aidge/losses.json").read_text())["cases"]
# What Aidge gets wrong, and what is right instead.
MATHEMATICAL_VALUE = {"CELoss_edge_large_logits_NaN": 0.0}  # Aidge: 0 * log 0 = NaN


def array(stored):
    return None if stored is None else np.array(stored["data"], stored["dtype"]).reshape(stored["shape"])


def given(case):
    arrays = dict(zip(case["input_names"], map(array, case["inputs"]), strict=True))
    if case["loss"] == "multiStepCELoss":  # one target for all steps
        arrays["target"] = np.broadcast_to(arrays["target"], arrays["prediction"].shape)
    return arrays


def graph_of(case):
    """(the loss as a graph over the case's inputs, the cotangent that stands for Aidge's convention)"""
    arrays, kind = given(case), case["loss"]
    scaling = case["kwargs"].get("scaling", 1.0)
    g = Graph(kind)
    values = {n: g.input(n, a.shape, a.dtype.name) for n, a in arrays.items()}
    op, n = g.op, next(iter(arrays.values())).shape[0]
    if kind == "multiStepCELoss":  # the sum over the steps of the mean over rows
        p, t = values["prediction"], values["target"]
        op.SoftLabelCrossEntropy(p, t, axis=2, assume_normalized=1, name="loss")
        g.output("loss")
        return g, scaling * n
    if kind == "RobustCELoss":
        low, high, t = values["lower_bound"], values["upper_bound"], values["target"]
        claimed = op.ReduceSum(op.Mul(t, low), (1,), keepdims=0)
        g.output(op.ReduceMean(op.Sub(op.ReduceLogSumExp(high, (1,), keepdims=0), claimed), keepdims=0, name="loss"))
        return g, scaling
    prediction, target = arrays
    g.inputs.pop(target)
    g.output(prediction)
    options = {
        "MSE": {},
        "CELoss": {"assume_normalized": 1},
        "BCE": {"slope": "quotient"},
        "KD": {"temperature": case["kwargs"].get("temperature")},
    }[kind]
    ours = {"MSE": "mse", "CELoss": "soft_cross_entropy", "BCE": "bce", "KD": "distillation"}[kind]
    graph = with_loss(g, ours, prediction=prediction, target=target, **options)
    graph.outputs = ["loss"]
    # Aidge's gradient of KD lacks 1/N and 1/T, and the scaling that the others have.
    return infer_shapes(graph), n * case["kwargs"]["temperature"] if kind == "KD" else scaling


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_values_and_gradients(case):
    arrays = given(case)
    wide = any(a.dtype == np.float64 for a in arrays.values())
    wanted = array(case["value"]).reshape(())
    grads = {n: array(g) for n, g in zip(case["input_names"], case["grads"], strict=True) if g is not None}
    wanted = MATHEMATICAL_VALUE.get(case["name"], wanted)
    graph, seed = graph_of(case)
    steps = arrays["prediction"].shape[0] if case["loss"] == "multiStepCELoss" else 1
    with jax.enable_x64(wide):
        program = make_program(graph, wrt=list(grads))

        @jax.jit
        def both(arrays):
            outputs, saved, _ = program.forward({}, {}, arrays)
            return outputs, program.backward({}, saved, {"loss": seed})

        outputs, by_jax = both(arrays)
    np.testing.assert_allclose(np.asarray(outputs["loss"]) * steps, wanted, rtol=1e-4, atol=1e-5)
    found = reference.execute(program.graph, arrays)
    np.testing.assert_allclose(found["loss"] * steps, wanted, rtol=1e-4, atol=1e-5)
    by_numpy = reference.gradients(program.graph, found, {"loss": seed}, grads)
    for name, want in grads.items():
        assert by_jax[name].dtype == want.dtype
        np.testing.assert_allclose(by_jax[name], want, rtol=1e-4, atol=1e-5, err_msg=f"{name} by JAX")
        np.testing.assert_allclose(by_numpy[name], want, rtol=1e-4, atol=1e-5, err_msg=f"{name} by NumPy")
