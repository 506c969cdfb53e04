"""The gradient of every operator, decomposed in standard operators, as plain onnxruntime computes it.

The rows are those of tests/ops/cases.  What the gradients are is decided there (central differences in float64, onnx's
own evaluator); here one exported graph with a symbolic batch must say the same for batches of 1, 3 and 64.
"""

import numpy as np
import pytest

from aidgejax import AidgeJaxError, onnxio
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.onnxio.exporter.coverage import exportable, table
from aidgejax.passes.gradient import grad_name
from tests.ops.cases import TABLE

ort = pytest.importorskip("onnxruntime")

EXCUSED = {
    "Pad: to and fro": "onnxruntime does not reflect more than once",
    "Resize: nearest round_prefer_ceil": "4 / 1.6 is a tie in float32, not in float64",
    **dict.fromkeys(
        ("Resize: linear align_corners, up", "Resize: a part of the image, partly outside"),
        "onnxruntime's forward is another one than that of onnx's evaluator",
    ),
}
ROWS = [
    c
    for c in TABLE
    if c.wrt
    and "onnx_gradient" not in c.skip
    and c.op in exportable()
    and not c.operator.random
    and repr(c) not in EXCUSED
]
AT_ONCE = 3  # rows of an operator; onnx's own evaluator is asked of all of them
FIRST = {c.op: c for c in reversed(ROWS)}
BATCHES = 1, 3, 64
ONE_BATCH = {"Squeeze: all axes of size 1": "which axes are of size 1 depends on the batch"}


def rows_of(op):
    return [case for case in ROWS if case.op == op]


def batches(case):
    """The feeds of a row, its batch cut or repeated."""
    feeds = case.feeds()
    names = [n for n in map(case._name, case.batch) if n in feeds and feeds[n].ndim]
    if not names or repr(case) in ONE_BATCH:
        return [feeds]
    return [feeds | {n: feeds[n][np.arange(size) % len(feeds[n])] for n in names} for size in BATCHES]


def check(case, level="ORT_DISABLE_ALL"):
    program = case.program(np.float32, symbolic=True)
    options = ort.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = getattr(ort.GraphOptimizationLevel, level), 3
    session = ort.InferenceSession(onnxio.to_model(program.gradient).SerializeToString(), options)
    for feeds in batches(case):
        drawn = case.forward(program, feeds)[:2] if case.operator.random else None
        found = case.reference_outputs(program, feeds, run=drawn)
        dy = {s: d.astype(np.float32) for s, d in case.cotangents({s: found[s] for s in program.seeds}).items()}
        expected = case.reference_gradients(program, feeds, dy, drawn)
        named = {grad_name(s): d for s, d in dy.items()}
        given = {k: np.asarray(named.get(k, found.get(k)), v.dtype) for k, v in program.gradient.inputs.items()}
        got = session.run(None, {i.name: given[i.name] for i in session.get_inputs()})
        for w, g in zip(case.wrt, got, strict=True):
            size = max(1.0, np.abs(expected[w]).max(initial=0))
            np.testing.assert_allclose(g / size, expected[w] / size, atol=2e-5, rtol=2e-4, err_msg=f"{case} {w}")


@pytest.mark.parametrize("op", FIRST)
def test_the_exported_gradient_in_onnxruntime(op):
    for case in rows_of(op)[:AT_ONCE]:
        check(case)


@pytest.mark.slow
@pytest.mark.parametrize("op", [op for op in FIRST if len(rows_of(op)) > AT_ONCE])
def test_the_exported_gradient_of_further_rows_in_onnxruntime(op):
    for case in rows_of(op)[AT_ONCE:]:
        check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", FIRST.values(), ids=FIRST.keys())
def test_the_exported_gradient_optimized_by_onnxruntime(case):
    check(case, "ORT_ENABLE_ALL")


ORT_NEVER_HAD = (
    "GlobalMaxPool",
    "InstanceNormalization",
    "GroupNormalization",
    "Elu",
    "PRelu",
    "HardSwish",
    "CumSum",
    "Resize",
    "ConvTranspose",
    "Einsum",
)


@pytest.mark.parametrize("name", ORT_NEVER_HAD)
def test_what_ort_never_had(name):
    assert name in FIRST and f"| {name} |" in table()


def test_the_table_lists_every_operator():
    assert table().count("\n") == len(exportable()) + 1


def test_a_recurrence_of_any_length_is_refused_by_name():
    g = Graph("g")
    w, r = (g.parameter(n, np.ones((1, 8, k), np.float32)) for n, k in (("w", 3), ("r", 2)))
    g.output(g.op.LSTM(g.input("x", ("T", "N", 3)), w, r, hidden_size=2, name="y"))
    with pytest.raises(AidgeJaxError, match=r"node 'y_Grad/LSTMGrad' \(LSTMGrad\).*over 'T' time steps"):
        onnxio.to_model(make_program(g).gradient)
    assert "| LSTM | 14 | yes, step by step" in table()
