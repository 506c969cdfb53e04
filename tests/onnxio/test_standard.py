"""Replacement nodes in other nodes: names are kept, nothing stale is left behind."""

from dataclasses import replace

import numpy as np
import pytest

from aidgejax import onnxio, run
from aidgejax.errors import GraphError, ModelFileError
from aidgejax.graph import Graph, Node
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.onnxio.exporter.decompose import decomposed, is_standard
from aidgejax.onnxio.schemas import schema_for
from aidgejax.ops import OPERATORS, operator
from aidgejax.passes.rewrite import replace_nodes

X = np.float32([[1, -2, 3], [4, 5, -6]])


@pytest.fixture
def invent():
    """Register operators for the time of one test."""
    made = []

    def make(name, decompose, forward=None, **options):
        operator(name, decompose=decompose, **options)(forward or (lambda x: x))
        made.append(name)

    yield make
    for name in made:
        del OPERATORS[name]


def graph_of(op, outputs=("y",), more=(), **attrs):
    g = Graph("g")
    x = g.input("x", ("N", 3))
    g.add(op, [x, *more], attrs, names=outputs, name="odd")
    last = g.op.Relu(next(o for o in outputs if o), name="after")
    g.output(last)
    for o in outputs:
        if o:
            g.output(o)
    return infer_shapes(g)


def written_again(graph):
    """In standard operators, checked, and the same after being written and read."""
    result = decomposed(graph)
    result.check()
    written = {o for n in result.nodes for o in n.output_names}
    assert set(result.values) == written, "values that nothing writes, or the other way round"
    assert result.outputs == graph.outputs
    assert len({n.name for n in result.nodes}) == len(result.nodes)
    again = onnxio.read(onnxio.to_model(graph))
    assert [str(n.outputs) for n in again.nodes] == [str(n.outputs) for n in result.nodes]
    return result


def test_one_node_keeps_its_name(invent):
    invent("Odd", lambda op, x: op.Neg(x))
    g = written_again(graph_of("Odd"))
    assert [str(n) for n in g.nodes] == ["y = Neg(x)", "after = Relu(y)"]
    assert [n.name for n in g.nodes] == ["odd", "after"]
    assert g.value("y").shape == ("N", 3)


def test_several_nodes_are_named_after_theirs(invent):
    invent("Odd", lambda op, x: op.Exp(op.Neg(op.Neg(x))))
    g = written_again(graph_of("Odd"))
    assert [str(n) for n in g.nodes] == [
        "odd/Neg = Neg(x)",
        "odd/Neg_1 = Neg(odd/Neg)",
        "y = Exp(odd/Neg_1)",
        "after = Relu(y)",
    ]
    assert [n.name for n in g.nodes] == ["odd/Neg", "odd/Neg_1", "odd", "after"]
    assert g.value("odd/Neg").shape == ("N", 3)


def test_an_input_passed_through(invent):
    invent("Odd", lambda op, x: x)
    assert [str(n) for n in written_again(graph_of("Odd")).nodes] == ["y = Identity(x)", "after = Relu(y)"]


def test_outputs_of_which_some_are_passed_through_or_the_same(invent):
    def decompose(op, x):
        y = op.Neg(x)
        return y, x, y, x

    invent("Odd", decompose, lambda x: (-x, x, -x, x), outputs=4)
    g = written_again(graph_of("Odd", ("a", "b", "c", "d")))
    assert [str(n) for n in g.nodes] == [
        "a = Neg(x)",
        "b = Identity(x)",
        "c = Identity(a)",
        "d = Identity(x)",
        "after = Relu(a)",
    ]
    assert [n.name for n in g.nodes][0] == "odd"


def test_outputs_that_are_not_named(invent):
    def decompose(op, x):
        return op.Neg(x), op.Abs(x), op.Exp(x)

    invent("Odd", decompose, lambda x: (-x, x, x), outputs=3)
    g = written_again(graph_of("Odd", (None, "b", None)))
    assert "b = Abs(x)" in [str(n) for n in g.nodes]
    assert g.node("odd").op == "Abs"


def test_an_output_in_the_middle_feeds_another(invent):
    def decompose(op, x):
        y = op.Neg(x)
        return y, op.Abs(y)

    invent("Odd", decompose, lambda x: (-x, x), outputs=2)
    g = written_again(graph_of("Odd", ("a", "b")))
    assert [str(n) for n in g.nodes][:2] == ["a = Neg(x)", "b = Abs(a)"]


def test_a_missing_output_is_reported(invent):
    invent("Odd", lambda op, x: (op.Neg(x), None), lambda x: (-x, x), outputs=2)
    with pytest.raises(GraphError, match=r"node 'odd' \(Odd\) .* gives no output 1, which the graph uses as 'b'"):
        written_again(graph_of("Odd", ("a", "b")))


def test_several_passes(invent):
    invent("Odd", lambda op, x: op.Neg(op.Odder(x)))
    invent("Odder", lambda op, x: op.Abs(op.Oddest(x)))
    invent("Oddest", lambda op, x: x)
    g = written_again(graph_of("Odd"))
    assert [str(n) for n in g.nodes] == [
        "odd/Odder/Oddest = Identity(x)",
        "odd/Odder = Abs(odd/Odder/Oddest)",
        "y = Neg(odd/Odder)",
        "after = Relu(y)",
    ]


def test_a_decomposition_without_end(invent):
    invent("Odd", lambda op, x: op.Odd(x))
    with pytest.raises(ModelFileError, match="Odd was not reduced to standard operators after"):
        written_again(graph_of("Odd"))


def test_names_that_are_taken_already(invent):
    invent("Odd", lambda op, x: op.Add(op.Neg(x), np.ones(3, np.float32)))
    g = graph_of("Odd")
    g.add("Abs", ["x"], names=["odd/Neg"], name="odd/Neg")
    g.constant("Add.const", np.zeros(2, np.float32))
    g.output("odd/Neg")
    result = written_again(infer_shapes(g))
    assert [str(n) for n in result.nodes] == [
        "odd/Neg_1 = Neg(x)",
        "y = Add(odd/Neg_1, Add.const_1)",
        "after = Relu(y)",
        "odd/Neg = Abs(x)",
    ]
    assert result.constants["Add.const_1"].tolist() == [1, 1, 1]
    assert result.producers["Add.const"].data.tolist() == [0, 0]


def test_two_of_a_kind_do_not_meet(invent):
    invent("Odd", lambda op, x: op.Exp(op.Neg(x)))
    g = Graph("g")
    x = g.input("x", (3,))
    for _ in range(2):
        x = g.op.Odd(x)
    g.output(x)
    assert [str(n) for n in written_again(infer_shapes(g)).nodes] == [
        "Odd/Neg = Neg(x)",
        "Odd = Exp(Odd/Neg)",
        "Odd_1/Neg = Neg(Odd)",
        "Odd_1 = Exp(Odd_1/Neg)",
    ]


def test_attributes_decide(invent):
    g = Graph("g")
    g.input("x", (3,))
    assert is_standard(g, Node("Relu", ("x",), ("y",), {"slope_at_zero": 0.0}))
    assert not is_standard(g, Node("Relu", ("x",), ("y",), {"slope_at_zero": 1.0}))
    assert not is_standard(g, Node("SumLike", ("x", "x"), ("z",)))


def test_dtypes_and_attributes_decide_the_opset():
    g = Graph("g")
    for name, dtype in (("x", "float32"), ("wide", "float64")):
        g.input(name, (1, 2, 2, 2), dtype)
    attention = Node("Attention", ("x", "x", "x"), ("y",), {"left_window_size": -1})
    assert schema_for(g, attention).since_version == 23
    assert schema_for(g, replace(attention, attrs={"left_window_size": 2})).since_version == 25
    assert schema_for(g, replace(attention, inputs=("x", "x", "x", None, None, None, "x"))) is None
    rotation = Node("RotaryEmbedding", ("x", "x", "x"), ("y",))
    assert is_standard(g, rotation)
    assert not is_standard(g, replace(rotation, inputs=("wide",) * 3))  # ONNX has it for 32 bits: it is decomposed out
    g = graph_of("Relu", slope_at_zero=1.0)
    assert written_again(g).node("odd").attrs == {}
    assert run(onnxio.read(onnxio.to_model(g)), [X])[1].tolist() == np.maximum(X, 0).tolist()


def test_what_cannot_be_decomposed_is_named(invent):
    invent("Odd", None)
    with pytest.raises(
        ModelFileError,
        match=r"node 'odd' \(Odd\) of graph 'g' cannot be written: ONNX does not have "
        r"it, and aidgejax/ops gives no decomposition",
    ):
        written_again(graph_of("Odd"))


def test_literals_and_absent_inputs_arrive_as_they_are(invent):
    seen = []

    def decompose(op, x, a=None, b=None, c=None):
        seen.append((x.name, x.shape, a, b, c))
        return op.Neg(x)

    invent("Odd", decompose, lambda x, a=None, b=None, c=None: x)
    written_again(graph_of("Odd", more=[None, 2.0]))
    assert seen[0] == ("x", ("N", 3), None, 2.0, None)


def test_the_graph_that_is_decomposed_is_left_as_it_was(invent):
    invent("Odd", lambda op, x: op.Add(op.Neg(x), np.ones(3, np.float32)))
    g = graph_of("Odd")
    before = str(g)
    written_again(g)
    assert str(g) == before


def test_shapes_known_before_are_known_to_the_function():
    g = graph_of("Neg")
    shapes = []

    def write(op, y):
        shapes.append(y.shape)
        return op.Abs(y)

    result = replace_nodes(g, lambda n: write if n.name == "after" else None)
    assert shapes == [("N", 3)] and result.count() == {"Neg": 1, "Abs": 1}
