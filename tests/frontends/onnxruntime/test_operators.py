"""The gradient of every operator, spelled in standard operators, as plain onnxruntime computes it.

The rows are those of tests/ops/cases; they have a symbolic batch where they can have one.  What the gradients are is
decided there (central differences in float64); here the exported graph must say the same.
"""

import numpy as np
import pytest

from aidgejax import onnxio
from aidgejax.gradient import grad_name
from aidgejax.onnxio.exportable import exportable, table
from tests.ops.cases import TABLE

ort = pytest.importorskip("onnxruntime")

ROWS = [c for c in TABLE if c.wrt and "onnx_gradient" not in c.excused and c.op in exportable()
        and not c.operator.random]
FIRST = {c.op: c for c in reversed(ROWS)}


def check(case):
    program = case.program(np.float32, symbolic=True)
    feeds = case.feeds()
    found = case.reference_outputs(program, feeds)
    dy = {s: d.astype(np.float32) for s, d in case.cotangents({s: found[s] for s in program.seeds}).items()}
    expected = case.reference_gradients(program, feeds, dy)
    model = onnxio.to_model(program.gradient)
    named = {grad_name(s): d for s, d in dy.items()}
    given = {k: np.asarray(named.get(k, found.get(k)), v.dtype) for k, v in program.gradient.inputs.items()}
    for level in (ort.GraphOptimizationLevel.ORT_ENABLE_ALL, ort.GraphOptimizationLevel.ORT_DISABLE_ALL):
        options = ort.SessionOptions()
        options.graph_optimization_level, options.log_severity_level = level, 3
        session = ort.InferenceSession(model.SerializeToString(), options)
        got = session.run(None, {i.name: given[i.name] for i in session.get_inputs()})
        for w, g in zip(case.wrt, got, strict=True):
            size = max(1.0, np.abs(expected[w]).max(initial=0))
            np.testing.assert_allclose(g / size, expected[w] / size, atol=2e-5, rtol=2e-4, err_msg=w)


@pytest.mark.slow
@pytest.mark.parametrize("case", FIRST.values(), ids=FIRST.keys())
def test_the_exported_gradient_in_onnxruntime(case):
    check(case)


ORT_NEVER_HAD = ("GlobalMaxPool", "InstanceNormalization", "GroupNormalization", "Elu", "PRelu", "HardSwish", "CumSum",
                 "Resize", "ConvTranspose", "Einsum")


@pytest.mark.parametrize("name", ORT_NEVER_HAD)
def test_what_ort_never_had(name):
    check(FIRST[name])
    assert f"| {name} |" in table()


def test_the_table_lists_every_operator():
    assert table().count("\n") == len(exportable()) + 1
