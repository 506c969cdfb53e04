"""Aidge's quantizers against the numbers that Aidge computed: the operators alone, and two training runs."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.training import optim
from tests.both_passes import both_passes

GOLDEN = Path(__file__).parents[1] / "golden" / "aidge"
CASES = json.loads((GOLDEN / "quantizers.json").read_text())["cases"]
RUNS = json.loads((GOLDEN / "qat_training.json").read_text())


def array(recorded):
    return None if recorded is None else np.asarray(recorded["data"], recorded["dtype"]).reshape(recorded["shape"])


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_quantizer(case):
    given = {f"x{k}": array(a) for k, a in enumerate(case["inputs"])}
    g = Graph(case["name"])
    inputs = [g.input(n, a.shape) for n, a in given.items()]
    attrs = {k: tuple(v) if isinstance(v, list) else v for k, v in case["attrs"].items()}
    g.output(g.add(case["op"], inputs, attrs, names=["y"])[0])
    program = make_program(g, wrt=list(given))
    dy = {"y": array(case["output_grads"][0])}
    outputs, grads, _ = both_passes(program, {}, {}, given, lambda outputs: dy)
    np.testing.assert_allclose(outputs["y"], array(case["outputs"][0]), rtol=1e-5, atol=1e-6)
    for name, want in zip(given, case["input_grads"], strict=True):
        np.testing.assert_allclose(grads[name], array(want), rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", RUNS["cases"], ids=[c["name"] for c in RUNS["cases"]])
def test_training_run(case):
    recorded = dict(np.load(GOLDEN / case["file"]))
    g = Graph(case["name"])
    x = g.input("x", ("N", case["dims"][0]))
    values = {None: x}
    for name, kind, parents, attrs in case["nodes"]:
        inputs = [values[p] for p in parents]
        if kind == "Producer":
            values[name] = g.parameter(name, recorded[f"param_at_step0/{name}"])
        elif kind == "FC":
            (values[name],) = g.add("Gemm", inputs, {"transB": 1}, names=[f"{name}.y"])
        else:
            more = {"range": tuple(map(int, attrs["range"].strip("()").split(",")))} if "range" in attrs else {}
            more |= {"range": more["range"][0]} if "range" in more and kind != "LSQ" else {}
            more |= {"mode": attrs["mode"].split(".")[1]} if "mode" in attrs else {}
            (values[name],) = g.add("Relu" if kind == "ReLU" else kind, inputs, more, names=[f"{name}.y"])
    g.output(values[case["nodes"][-1][0]])
    program = make_program(g)
    (out,) = program.graph.outputs
    rule = optim.sgd(0.9, first="bare")

    @jax.jit
    def step(params, state, x, y):
        outputs, saved, _ = program.forward(params, {}, {"x": x})
        logp = jax.nn.log_softmax(outputs[out])
        grads = program.backward(params, saved, {out: (jax.numpy.exp(logp) - y) / len(x)})
        return -(logp * y).sum(axis=1).mean(), outputs[out], grads, *rule.update(params, grads, state, 0.05)

    params = {k: jax.numpy.asarray(v) for k, v in g.params.items()}
    state = rule.init(params)
    for k in range(len(recorded["losses"])):
        loss, prediction, grads, params, state = step(params, state, recorded["x"][k], recorded["y"][k])
        np.testing.assert_allclose(loss, recorded["losses"][k], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(prediction, recorded["predictions"][k], rtol=1e-3, atol=1e-4)
        if k == 0:
            for name, got in grads.items():
                np.testing.assert_allclose(got, recorded[f"grad_step0/{name}"], rtol=1e-4, atol=1e-5, err_msg=name)
    for name, got in params.items():
        np.testing.assert_allclose(got, recorded[f"param_final/{name}"], rtol=1e-3, atol=1e-4, err_msg=name)
