"""Equal constants and equal nodes of a model become one."""

import numpy as np
import onnx.reference
import pytest

from aidgejax import onnxio
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.onnxio.exporter.deduplicate import deduplicated

TWICE = """<ir_version: 8, opset_import: ["": 17]> g (float[N,3] x) => (float[N,3] y, float[N,3] z)
<float[3] w = {1, 2, 3}, float[3] v = {1, 2, 3}> {
  a = Mul(x, w)  b = Mul(x, v)  s = Exp(a)  t = Exp(b)  d, m = Dropout(x)  e, n = Dropout(x)
  p = Add(s, t)  q = Add(d, e)  y = Add(p, q)  z = Add(p, q) }"""


def merged(*kept):
    model = onnx.parser.parse_model(TWICE)
    for t in model.graph.initializer:
        t.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(t), t.name))
    deduplicated(model, kept)
    onnx.checker.check_model(model, full_check=True)
    return model


def test_what_is_said_twice_is_said_once():
    model = merged()
    assert [t.name for t in model.graph.initializer] == ["w"]
    # Dropout is random, and y and z are promised.
    assert [n.output[0] for n in model.graph.node] == ["a", "s", "d", "e", "p", "q", "y", "z"]
    assert list(model.graph.node[4].input) == ["s", "s"]
    x = np.ones((2, 3), np.float32)
    before, after = (
        onnx.reference.ReferenceEvaluator(m).run(None, {"x": x}) for m in (onnx.parser.parse_model(TWICE), model)
    )
    np.testing.assert_array_equal(before, after)


def test_what_is_asked_for_by_name_stays():
    model = merged("w", "v")
    assert [t.name for t in model.graph.initializer] == ["w", "v"]
    assert [n.output[0] for n in model.graph.node][:4] == ["a", "b", "s", "t"]


@pytest.mark.parametrize("size", [6, 17])  # the two forms of a weight's gradient
def test_the_nodes_of_a_weight_s_gradient_do_not_grow_with_groups_or_batch(size):
    def nodes(batch, group):
        g = Graph("g")
        w = g.parameter("w", np.ones((32, 32 // group, 3, 3), np.float32))
        g.output(g.op.Conv(g.input("x", (batch, 32, size, size)), w, group=group, pads=(1, 1, 1, 1)))
        return len(onnxio.to_model(make_program(g).gradient).graph.node)

    assert nodes(2, 2) == nodes("N", 2) == nodes(2, 4)
    assert nodes(2, 32) <= nodes(2, 2)
