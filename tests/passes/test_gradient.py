import numpy as np
import pytest

from aidgejax.errors import GraphError, NoGradientRule, UnknownOperator
from aidgejax.execution.program import make_program
from aidgejax.graph import Graph
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.ops import OPERATORS, operator
from aidgejax.passes.gradient import make_gradient
from aidgejax.reference import execute


def graph_of(build, **shapes):
    g = Graph("g")
    values = {k: g.input(k, s) for k, s in shapes.items()}
    g.output(build(g.op, **values))
    return infer_shapes(g)


def test_the_gradient_is_a_graph_that_reads_well():
    g = Graph("g")
    x, w = g.input("x", ("N", 3)), g.parameter("w", np.ones(3, np.float32))
    g.output(g.op.Relu(g.op.Add(x, w), name="y"))
    assert str(make_program(g).gradient) == (
        "graph g_grad(w:float32[3], Add:float32[N, 3], y_grad:float32[N, 3])\n"
        "  y_Grad/Greater:bool[N, 3] = Greater(Add, 0.0)\n"
        "  y_Grad/Where:float32[N, 3] = Where(y_Grad/Greater, y_grad, 0.0)\n"
        "  w_grad:float32[3] = SumLike(y_Grad/Where, w)\n"
        "  return w_grad"
    )


def test_two_readers_meet_in_a_visible_add():
    backward = make_gradient(graph_of(lambda op, x: op.Mul(op.Relu(x), op.Identity(x)), x=(3,)), wrt=["x"])
    assert backward.count()["Add"] == 1
    assert backward.nodes[-1].op == "Add" and backward.outputs == ["x_grad"]


def test_the_same_tensor_twice_in_one_node():
    g = graph_of(lambda op, x: op.Mul(x, x), x=(2,))
    found = execute(make_gradient(g, wrt=["x"]), {"x": np.array([3.0, -2.0]), "Mul_grad": np.array([1.0, 10.0])})
    assert found["x_grad"].tolist() == [6.0, -40.0]


def test_what_nobody_asked_for_is_pruned():
    g = graph_of(lambda op, x, w: op.Mul(x, w), x=(3,), w=(3,))
    backward = make_gradient(g, wrt=["w"])
    assert [n.op for n in backward.nodes] == ["Mul"] and "w" not in backward.inputs


def test_an_intermediate_tensor_has_a_gradient():
    g = graph_of(lambda op, x: op.Mul(op.Relu(x, name="h"), 3.0), x=(3,))
    backward = make_gradient(g, wrt=["h"])
    found = execute(backward, {k: np.ones(3) for k in backward.inputs})
    assert found["h_grad"].tolist() == [3.0, 3.0, 3.0]


def test_a_parameter_that_passes_its_cotangent_on():
    g = graph_of(lambda op, a, b: op.Add(a, b), a=(2,), b=(2,))
    found = execute(make_gradient(g, wrt=["a", "b"]), {"Add_grad": np.array([1.0, 2.0])})
    assert found["a_grad"].tolist() == found["b_grad"].tolist() == [1.0, 2.0]


def test_unknown_shapes_are_summed_back_at_run_time():
    g = Graph("g")
    x, w = g.input("x", None), g.input("w", None)
    g.output(g.op.Add(x, w))
    backward = make_gradient(g, wrt=["w"])
    assert backward.count() == {"SumLike": 1}


def test_a_missing_rule_names_the_operator_and_the_value():

    @operator("OnlyForward")
    def only_forward(x):
        """x"""
        return x

    try:
        g = graph_of(lambda op, w: op.OnlyForward(w, name="y"), w=(3,))
        with pytest.raises(
            NoGradientRule,
            match=r"no gradient rule for operator 'OnlyForward', met at the node "
            r"writing y:float32\[3\]: a gradient has to reach its input 'x'.* fr",
        ):
            make_gradient(g, wrt=["w"])
    finally:
        del OPERATORS["OnlyForward"]


def test_a_parameter_that_does_not_reach_the_loss():
    g = graph_of(lambda op, x, w: op.Relu(x, name="y"), x=(3,), w=(3,))
    with pytest.raises(GraphError, match=r"'w' of graph 'g' does not reach 'y', so its gradient is zero.*freeze it"):
        make_gradient(g, wrt=["w"])
    found = execute(make_gradient(g, wrt=["w"], unreachable="zeros"), {"w": np.ones(3), "y_grad": np.ones(3)})
    assert found["w_grad"].tolist() == [0, 0, 0]


def test_unknown_operators_are_listed_all_at_once():
    g = Graph("g")
    g.output(g.op.Warp(g.op.Weft(g.input("x", (1,)))))
    with pytest.raises(UnknownOperator, match=r"uses 2 operator\(s\) .*: Warp \(node 'Warp'\); Weft \(node 'Weft'\)"):
        make_gradient(g)


def test_integers_have_no_gradient():
    g = Graph("g")
    g.output(g.op.Identity(g.input("i", (3,), "int64")))
    with pytest.raises(GraphError, match=r"no gradient from or to i:int64\[3\]"):
        make_gradient(g, wrt=["i"])
