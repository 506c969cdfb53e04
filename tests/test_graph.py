import numpy as np
import pytest

from aidgejax.errors import GraphError
from aidgejax.graph import Graph


def small():
    g = Graph("small")
    op = g.op
    x = g.input("x", ("N", 3))
    w = g.parameter("w", np.ones(3, np.float32))
    g.output(op.Relu(op.Add(x, w), name="act"))
    return g


def test_a_graph_prints_itself():
    assert str(small()) == (
        "graph small(x:float32[N, 3])\n"
        "  parameter w:float32[3] = [1.0, 1.0, 1.0]\n"
        "  Add:?[?] = Add(x, w)\n"
        "  act:?[?] = Relu(Add)\n"
        "  return act"
    )


def test_literals_and_absent_inputs_are_printed_as_written():
    g = small()
    g.op.Clip("act", None, 6.0)
    g.op.ReduceSum("act", (0, 1), keepdims=0)
    assert [str(n) for n in g.nodes[-2:]] == [
        "Clip = Clip(act, _, 6.0)",
        "ReduceSum = ReduceSum(act, [0, 1], keepdims=0)",
    ]


def test_the_operators_are_counted():
    assert small().count() == {"Add": 1, "Relu": 1}


@pytest.mark.parametrize("build, message", [
    (lambda g: g.input("x", (1,)), r"graph 'small' has a tensor 'x' already"),
    (lambda g: g.parameter("", np.ones(1)), r"needs a name, got ''"),
    (lambda g: g.producer("p", np.ones(1), "weights"), r"role 'weights'; a role is one of parameter, buffer, constant"),
    (lambda g: g.output("nothing"), r"cannot output 'nothing': no input, producer or node writes it"),
    (lambda g: g.op.Relu(object()), r"Relu in graph 'small' was given <object.*expected a tensor of the graph"),
    (lambda g: g.value("y"), r"graph 'small' has no tensor 'y'"),
    (lambda g: g.node("y"), r"graph 'small' has no node 'y'"),
    (lambda g: g.with_params({"v": 1}), r"has no producer 'v'; it has 'w'"),
    (lambda g: g.with_params({"w": np.ones(4)}), r"producer 'w' .* has shape \(3,\), got \(4,\)"),
    (lambda g: g.frozen(["x"]), r"cannot freeze 'x': .* it has 'w'"),
    (lambda g: (g.op.Relu("later"), g.check()), r"node 'Relu' \(Relu\) .* reads 'later', which is not an input"),
    (lambda g: (g.nodes.reverse(), g.check()), r"reads 'Add', which is written only later: put the nodes in execution"),
    (lambda g: (g.nodes.append(g.nodes[0]), g.check()), r"writes 'Add', which exists already"),
])  # fmt: skip
def test_mistakes_are_named(build, message):
    with pytest.raises(GraphError, match=message):
        build(small())


def test_a_copy_is_independent():
    g = small()
    copy = g.copy()
    copy.op.Relu("act")
    copy.producers["w"].data = np.zeros(3)
    assert len(g.nodes) == 2 and g.params["w"].sum() == 3


def test_with_params_keeps_the_dtype():
    g = small().with_params({"w": np.arange(3.0)})
    assert g.params["w"].dtype == np.float32 and g.params["w"].tolist() == [0, 1, 2]


def test_frozen_parameters_are_constants():
    g = small().frozen(["w"])
    assert g.params == {} and list(g.constants) == ["w"]


def test_prune_drops_what_no_output_needs():
    g = small()
    g.op.Mul("act", np.ones(3, np.float32))
    g.prune()
    assert [n.op for n in g.nodes] == ["Add", "Relu"] and not g.constants


def test_readers_and_writers():
    g = small()
    assert [n.name for n in g.readers()["Add"]] == ["act"] and g.writer()["act"].op == "Relu"


def test_nodes_are_changed_by_field_and_by_graph():
    g = Graph("g")
    g.output(g.op.Relu(g.op.Neg(g.input("x", (2,)), name="a"), name="b"))
    tanh = g.nodes[1].replace(op="Tanh")
    assert (tanh.op, tanh.inputs, tanh.outputs, tanh.name) == ("Tanh", g.nodes[1].inputs, g.nodes[1].outputs, "b")
    changed = g.map_nodes(lambda n: tanh if n.op == "Relu" else n)
    assert [n.op for n in changed.nodes] == ["Neg", "Tanh"] and [n.op for n in g.nodes] == ["Neg", "Relu"]
    assert [n.op for n in g.map_nodes(lambda n: n if n.op == "Neg" else None).nodes] == ["Neg"]
