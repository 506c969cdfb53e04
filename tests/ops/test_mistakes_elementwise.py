"""What the operators that work element by element say to a mistake, word by word; and what their gradients cost."""

import numpy as np
import pytest

from aidgejax.errors import GraphError
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph

MISTAKES = [
    ("Max", ((3,), (3,)), {"ties": "second"}, "ties is 'second', expected 'split', 'first' or 'last'"),
    ("Min", ((3,), (3,)), {"ties": 1}, "ties is 1, expected 'split', 'first' or 'last'"),
    ("Max", (), {}, "Max got no inputs, expected one or more"),
    ("Sum", (), {}, "Sum got no inputs, expected one or more"),
    ("Mean", (), {}, "Mean got no inputs, expected one or more"),
    ("Round", ((3,),), {"halves": "up"}, "halves is 'up', expected 'even' or 'away'"),
    ("Clip", ((3,), (2,)), {}, "Clip's bound 'low' has shape [2], expected a scalar"),
    ("Clip", ((3,), None, (3,)), {}, "Clip's bound 'high' has shape [3], expected a scalar"),
    (
        "PRelu",
        ((2, 3, 4, 4), (3,)),
        {},
        "PRelu's slope of shape [3] does not broadcast to x of shape [2, 3, 4, 4]; "
        "one slope per channel of an image has shape [c, 1, 1]",
    ),
    (
        "PRelu",
        ((3,), (2, 3)),
        {},
        "PRelu's slope of shape [2, 3] does not broadcast to x of shape [3]; one slope per "
        "channel of an image has shape [c, 1, 1]",
    ),
    ("Gelu", ((3,),), {"approximate": "erf"}, "approximate is 'erf', expected 'none' or 'tanh'"),
    ("Softmax", ((2, 3),), {"axis": 2}, "axis: axis 2 is outside a tensor of rank 2 (-2 to 1)"),
    ("LogSoftmax", ((2, 3),), {"axis": -3}, "axis: axis -3 is outside a tensor of rank 2 (-2 to 1)"),
    ("Hardmax", ((2, 3),), {"axis": 5}, "axis: axis 5 is outside a tensor of rank 2 (-2 to 1)"),
]


def graph_of(op, shapes, attrs):
    g = Graph("g")
    inputs = [None if s is None else g.input(f"x{k}", s) for k, s in enumerate(shapes)]
    g.add(op, inputs, attrs, names=["y"], name="here")
    g.output("y")
    return g


@pytest.mark.parametrize("op, shapes, attrs, message", MISTAKES, ids=lambda v: str(v) if isinstance(v, str) else "")
def test_a_mistake_is_named(op, shapes, attrs, message):
    with pytest.raises(GraphError) as error:
        make_program(graph_of(op, shapes, attrs))
    named = ", ".join("None" if s is None else f"x{k}:float32{list(s)}" for k, s in enumerate(shapes))
    assert str(error.value) == f"node 'here' ({op}) of graph 'g' with inputs {named}: {message}"


def test_a_shift_without_a_direction_is_named():
    g = Graph("g")
    g.output(g.op.BitShift(g.input("x", (3,), "uint8"), 1, direction="left", name="here"))
    with pytest.raises(GraphError, match="direction is 'left', expected 'LEFT' or 'RIGHT'"):
        make_program(g)


COSTS = [
    ("Add", ((3,), (3,)), {}, ["x0"], {"Identity": 1}),
    ("Mul", ((3,), (3,)), {}, ["x0", "x1"], {"Mul": 2}),
    ("Clip", ((3,), -1.0, 1.0), {}, ["x0"], {"GreaterOrEqual": 1, "LessOrEqual": 1, "And": 1, "Where": 1}),
    ("Pow", ((3,), 2), {}, ["x0"], {"Mul": 2}),
    ("Relu", ((3,),), {}, ["x0"], {"Greater": 1, "Where": 1}),
    ("Sigmoid", ((3,),), {}, ["x0"], {"Sub": 1, "Mul": 2}),
    ("Softmax", ((3,),), {}, ["x0"], {"Mul": 2, "ReduceSum": 1, "Sub": 1}),
    ("Swish", ((3,),), {}, ["x0"], {"Sigmoid": 1, "Sub": 1, "Mul": 2, "Add": 1}),
]


@pytest.mark.parametrize("op, inputs, attrs, wrt, nodes", COSTS, ids=lambda v: str(v) if isinstance(v, str) else "")
def test_a_gradient_is_no_larger_than_it_has_to_be(op, inputs, attrs, wrt, nodes):
    g = Graph("g")
    held = [g.input(f"x{k}", s) if isinstance(s, tuple) else s for k, s in enumerate(inputs)]
    g.output(getattr(g.op, op)(*held, **attrs))
    assert make_program(g, wrt=wrt).gradient.count() == nodes


@pytest.mark.parametrize("op", ["Max", "Min"])
def test_a_tie_is_shared_by_as_many_as_take_part(op):
    x = np.zeros((2, 1), np.float32)
    g = Graph("g")
    names = [g.input(n, (2, 1)) for n in "abc"]
    g.output(getattr(g.op, op)(*names, 0.0, name="y"))
    program = make_program(g, wrt=list("abc"))
    _, saved, _ = program.forward({}, {}, dict.fromkeys("abc", x))
    for grad in program.backward({}, saved, {"y": np.ones_like(x)}).values():
        np.testing.assert_array_equal(grad, x + 0.25)
