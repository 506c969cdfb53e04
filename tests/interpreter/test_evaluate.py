"""Shapes are found by asking each operator; equal questions are asked once, and different ones each on their own."""

from dataclasses import replace

import numpy as np
import pytest

from aidgejax import Graph, infer_shapes
from aidgejax.ops import OPERATORS


def test_equal_questions_are_asked_once(monkeypatch):
    asked = []
    operator = OPERATORS["MatMul"]

    def counting(a, b):
        asked.append(a.shape)
        return operator.forward(a, b)

    monkeypatch.setitem(OPERATORS, "MatMul", replace(operator, forward=counting))
    g = Graph()
    y = g.input("x", ("N", 6))
    for k in range(40):
        y = g.op.MatMul(y, g.parameter(f"w{k}", np.zeros((6, 6), np.float32)))
    g.output(y)
    graph = infer_shapes(infer_shapes(g))
    assert graph.value(y.name).shape == ("N", 6) and len(asked) == 3, (
        "once for each size of N: two to learn from, one to check"
    )


def test_what_python_calls_equal_is_told_apart():
    g = Graph()
    x = g.input("x", (3,), "int32")
    named = {n: g.op.Mul(x, c, name=n) for n, c in (("whole", 1), ("real", 1.0), ("truth", True))}
    for y in named.values():
        g.output(y)
    graph = infer_shapes(g)
    assert graph.value("whole").dtype == "int32" and "float" in graph.value("real").dtype
    assert graph.value("truth").dtype == "int32"


@pytest.mark.parametrize("large", [False, True], ids=["few", "many"])
def test_values_that_decide_a_shape_are_part_of_the_question(large):
    ones = (1,) * (70 if large else 0)
    g = Graph()
    x = g.input("x", (12,))
    for n, target in (("a", (3, 4)), ("b", (4, 3)), ("c", (2, 6))):
        g.output(
            g.op.Squeeze(
                g.op.Reshape(x, g.constant(f"t{n}", np.array([*ones, *target]))), tuple(range(len(ones))), name=n
            )
            if large
            else g.op.Reshape(x, g.constant(f"t{n}", np.array(target)), name=n)
        )
    graph = infer_shapes(g)
    assert [graph.value(n).shape for n in "abc"] == [(3, 4), (4, 3), (2, 6)]
