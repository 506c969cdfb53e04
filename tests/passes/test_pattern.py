"""The query language: what Aidge answered, what it should have, and the messages of mistakes."""

import json
import random
import re
import time
from pathlib import Path

import numpy as np
import pytest

from aidgejax.errors import QueryError
from aidgejax.graph import Graph
from aidgejax.passes.pattern import Vertex, matches, vertices_of

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/aidge/graph_queries.json").read_text())
PARAMETERS = {"Conv2D": ("w", "b"), "FC": ("w", "b"), "BatchNorm2D": ("scale", "shift", "batch_mean", "batch_variance")}


def aidge_model(layers):
    """sequential(layers) as Aidge sees it: each layer's producers are its inputs 1, 2, ..."""
    vertices, before = [], None
    for kind, *_, name in layers:
        producers = []
        for p in PARAMETERS.get(kind, ()):
            producers.append((len(vertices), 0))
            vertices.append(Vertex("Producer", f"{name}_{p}"))
        vertices.append(Vertex(kind, name, (before, *producers)))
        before = (len(vertices) - 1, 0)
    return vertices


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: c["query"] or "empty")
def test_aidge(case):
    model = aidge_model(GOLDEN["meta"]["model"])
    if case["error"]:
        with pytest.raises(QueryError, match="position|end"):
            matches(model, case["query"])
    else:
        assert sorted([m.root, m.nodes] for m in matches(model, case["query"])) == case["matches"]


def chain(*types, **more):
    """Types one after the other, each named by its letter and place."""
    return [Vertex(t, f"{t}{k}", ((k - 1, 0),) if k else (None,), **more) for k, t in enumerate(types)]


def answers(graph, query, **kwargs):
    return [" ".join(m.nodes) for m in matches(graph, query, **kwargs)]


# ---- on our own graphs --------------------------------------------------------------------------------


def small_net():
    g = Graph("net")
    op = g.op
    x = g.input("x", ("N", 3, 8, 8))
    w, b = g.parameter("w", np.zeros((4, 3, 3, 3), np.float32)), g.parameter("b", np.zeros(4, np.float32))
    y = op.Relu(op.Conv(x, w, b, name="conv"), name="relu")
    v = g.parameter("v", np.zeros((5, 144), np.float32))
    g.output(op.Gemm(op.Flatten(y, name="flat"), v, None, transB=1, name="fc"))
    return g


def test_a_graph():
    g = small_net()
    assert answers(g, "Producer-1>(Conv|Gemm)") == ["conv w", "fc v"]
    assert answers(g, "Producer-2>(Conv|Gemm)") == ["b conv"]
    assert answers(g, "Conv#->Relu;Conv#<1-Producer") == ["conv relu w"]
    assert answers(g, "Gemm->$") == ["fc"] and answers(g, "Relu->$") == []
    assert answers(g, "Conv<-$") == ["conv"] and answers(g, "Gemm<2-$") == ["fc"] and answers(g, "Gemm<1-$") == []
    (found,) = matches(g, "Producer-1>Gemm")
    assert found.vertices[0].node is g.producers["v"] and found.vertices[1].node is g.node("fc")
    assert matches(Graph(), ".") == []


def test_lambdas_are_asked_about_the_node():
    g = small_net()
    lambdas = {"wide": lambda p: p.data.ndim == 4, "transposed": lambda n: n.attrs.get("transB") == 1}
    assert answers(g, "Producer[wide]", lambdas=lambdas) == ["w"]
    assert answers(g, "Producer-1>.[ transposed ]", lambdas=lambdas) == ["fc v"]
    assert answers(g, "Gemm[transposed]#1;Gemm#1<1-Producer", lambdas=lambdas) == ["fc v"]


def test_outputs_have_numbers():
    net = [Vertex("Split", "s", (None,)), Vertex("A", "a", ((0, 0),)), Vertex("B", "b", ((0, 1), (0, 0)))]
    assert answers(net, "Split->A") == ["a s"] and answers(net, "Split->B") == []
    assert answers(net, "Split-1-0>B") == ["b s"] and answers(net, "Split-1>B") == ["b s"]
    assert answers(net, "B<1-0-Split") == ["b s"] and answers(net, "B<0-0-Split") == []
    assert answers(net, "B<0-1-Split") == answers(net, "B<*-*-Split") == answers(net, "B<0~1~Split") == ["b s"]
    assert answers(net, "Split-*-0>B") == ["b s"]


# ---- repetitions, groups, anchors ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "query, want",
    [
        ("A->B*->C", ["A0 B1 B2 B3 C4"]),
        ("A->B+->C", ["A0 B1 B2 B3 C4"]),
        ("A->B{3}->C", ["A0 B1 B2 B3 C4"]),
        ("A->B{2}->C", []),
        ("A->B{2}", ["A0 B1 B2"]),
        ("A->B?->B->B->C", ["A0 B1 B2 B3 C4"]),
        ("A->B*->B->C", ["A0 B1 B2 B3 C4"]),
        ("A->X?->B", ["A0 B1"]),
        ("A->X*", ["A0"]),
        ("A->(X|B){3}->C", ["A0 B1 B2 B3 C4"]),
        ("A->(B->B|B)->B->C", ["A0 B1 B2 B3 C4"]),
        ("A->(B#)+->C", ["A0 B1 B2 B3 C4"]),
        ("A->(B#1->B#2)?->B", ["A0 B1 B2 B3"]),
        ("A -> ( B + ) -> C", ["A0 B1 B2 B3 C4"]),
        ("A->(B?)*->C", ["A0 B1 B2 B3 C4"]),
        ("A~>B", ["A0 B1"]),
        ("C<~B", ["B3 C4"]),
        ("C<-B+<-A", ["A0 B1 B2 B3 C4"]),
        ("C<-(B<-B)?<-B", ["B1 B2 B3 C4"]),
        ("(A->B)", ["A0 B1"]),
        ("((A))->B", ["A0 B1"]),
        (".->C->$", ["B3 C4"]),
        ("(A#->B#)+", ["A0 B1"]),
        ("(A#->B#){2}", ["A0 B1"]),
        ("A#+->B", ["A0 B1"]),
        ("A#->B#1;A#->B#2", []),
        ("A#->B;A#->B#2", []),
        ("B#->.;B#<-A", ["A0 B1 B2"]),
    ],
)
def test_a_chain(query, want):
    assert answers(chain("A", "B", "B", "B", "C"), query) == want


def residual(blocks):
    """x -> (Conv -> Relu, or straight) -> Add, again and again: 2 ** blocks ways from end to end."""
    net = [Vertex("In", "in")]
    for k in range(blocks):
        at = len(net) - 1
        net += [
            Vertex("Conv", f"c{k}", ((at, 0),)),
            Vertex("Relu", f"r{k}", ((at + 1, 0),)),
            Vertex("Add", f"a{k}", ((at + 2, 0), (at, 0))),
        ]
    return net


def test_branches():
    net = residual(2)
    assert answers(net, "Add#1<0-Relu<-Conv<-.#;.#-1>Add#1") == ["a0 c0 in r0", "a0 a1 c1 r1"]
    assert answers(net, ".#->Conv#->Relu#->Add#1;.#-1>Add#1") == ["a0 c0 in r0", "a0 a1 c1 r1"]
    square = [Vertex("Relu", "r"), Vertex("Mul", "m", ((0, 0), (0, 0)))]
    assert answers(square, "Relu->Mul<1-Relu") == []  # two places of a query are two nodes
    assert answers(square, "Relu#->Mul<1-Relu#") == ["m r"]
    two = [Vertex("Conv", "c"), Vertex("Relu", "r", ((0, 0),)), Vertex("Relu", "s", ((0, 0),))]
    assert answers(two, "Relu<-Conv->Relu") == ["c r s", "c r s"]
    assert answers(two, "Conv#->Relu#1;Conv#->Relu#2") == ["c r s"]
    assert answers(two, "Conv#->Relu;Conv#->Relu;Conv#->Relu") == []


def test_disjoint_keeps_the_larger():
    net = chain("A", "B", "B", "C")
    assert answers(net, "B->.?") == ["B1 B2", "B2 C3"]
    assert answers(net, "B->.?", disjoint=True) == ["B1 B2"]
    assert answers(net, "B->.*", disjoint=True) == ["B1 B2 C3"]
    assert answers(net, "(A|B)", disjoint=True) == ["A0", "B1", "B2"]


def test_anchors_are_named():
    (found,) = matches(chain("A", "B", "B"), "A#x->(B#)+")
    assert {n: v.name for n, v in found.anchors.items()} == {"A#x": "A0", "B#": "B2"}
    assert found.root == "A0"


# ---- it always ends -----------------------------------------------------------------------------------


def test_the_query_that_hangs_aidge():
    model = aidge_model(GOLDEN["meta"]["model"])
    assert [m.nodes for m in matches(model, "(FC#->ReLU#)+")] == [["f1", "r3"]]


def ring(*types):
    return [Vertex(t, f"{t}{k}", (((k - 1) % len(types), 0),)) for k, t in enumerate(types)]


def test_cycles():
    net = ring("A", "B", "C")
    assert answers(net, "A->.*") == ["A0 B1 C2"]
    assert answers(net, "A#->B->C->A#") == ["A0 B1 C2"]
    assert answers(net, "A#->.*->A#") == ["A0 B1 C2"]
    assert answers(net, "A->(B->C->A)+") == []
    assert answers(net, "(A#->.)+") == ["A0 B1"]
    assert answers(ring("A"), "A#->A#") == ["A0"]


def test_many_ways_are_not_tried_one_by_one():
    began = time.monotonic()
    assert answers(residual(60), "In-*>.*-*>Missing") == []
    assert answers(residual(60), "In-*>(.-*>.)*-*>(.?-*>.?)*-*>Missing") == []
    assert len(answers(residual(60), "In-*>.*->$")) == 1
    assert time.monotonic() - began < 20


def test_too_many_ways_are_refused():
    with pytest.raises(QueryError, match="no match found within 50000 steps from node 'in': there are too many ways"):
        matches(residual(40), "In#-*>.*-*>Missing;In#->.")


def test_random_queries_end():
    rng, net = random.Random(0), residual(4) + ring("A", "B")
    pieces = ["In", "Conv", "Relu", "Add", ".", "Add#", ".#1", "(Conv|Relu)", "(Conv->Relu)", "$", "A#"]
    signs = ["", "", "", "?", "+", "*", "{2}"]
    edges = ["->", "-*>", "<-", "<1-", "-1>", ";", "~>"]
    read = 0
    for _ in range(400):
        query = rng.choice(pieces) + rng.choice(signs)
        for _ in range(rng.randrange(4)):
            query += rng.choice(edges) + rng.choice(pieces) + rng.choice(signs)
        try:
            for m in matches(net, query):
                assert len({id(v) for v in m.vertices}) == len(m.vertices)
            read += 1
        except QueryError:
            pass
    assert read > 100


def test_against_all_assignments():
    """Plain sequences: the first nodes are those from which some choice of nodes satisfies every edge."""
    import itertools

    rng = random.Random(1)
    for _ in range(60):
        net = [
            Vertex(
                rng.choice("AB"),
                f"v{k}",
                tuple((rng.randrange(k), 0) if k and rng.random() < 0.8 else None for _ in range(2)),
            )
            for k in range(6)
        ]
        length = rng.randrange(1, 4)
        types = [rng.choice(["A", "B", "."]) for _ in range(length)]
        edges = [rng.choice(["->", "-1>", "-*>", "<-", "<1-"]) for _ in range(length - 1)]
        query = types[0] + "".join(e + t for e, t in zip(edges, types[1:], strict=True))

        def holds(a, edge, b):
            if edge.startswith("<"):
                a, b = b, a
            inputs = {"->": (0,), "<-": (0,), "-1>": (1,), "<1-": (1,), "-*>": (0, 1)}[edge]
            return any(net[b].inputs[i] == (a, 0) for i in inputs)  # noqa: B023

        want = {
            net[c[0]].name
            for c in itertools.permutations(range(6), length)
            if all(t in (".", net[k].type) for t, k in zip(types, c, strict=True))
            and all(holds(a, e, b) for a, e, b in zip(c, edges, c[1:], strict=False))
        }
        assert {m.root for m in matches(net, query)} == want, query


# ---- mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query, message",
    [
        (
            "(Conv2D",
            "query '(Conv2D' cannot be read at its end; expected an edge, '|' or the ')' of the group that begins "
            "at position 0",
        ),
        (
            "Conv2D=ReLU",
            "query 'Conv2D=ReLU' cannot be read at position 6: '=ReLU'; expected an edge such as -> or <1-, "
            "';' or the end",
        ),
        ("!ReLU", "query '!ReLU' cannot be read at position 0: '!ReLU'; expected a node (a type, '.', '$') or '('"),
        ("A->", "query 'A->' cannot be read at its end; expected a node (a type, '.', '$') or '('"),
        ("A;", "query 'A;' cannot be read at its end; expected a node (a type, '.', '$') or '('"),
        ("A#1#2", "query 'A#1#2' cannot be read at position 3: '#2'; expected one [lambda] and one #anchor at most"),
        ("A->$->B", "query 'A->$->B': nothing can follow the $ before position 4, which is the end of the graph"),
        ("$", "query '$': a query begins with a node, not with $ (position 0: '$')"),
        ("A?->B", "query 'A?->B': the first node may not be optional (position 0: 'A?->B')"),
        ("(A*->B)", "query '(A*->B)': the first node may not be optional (position 1: 'A*->B)')"),
        ("A+", "query 'A+': a repeated beginning needs an anchor, e.g. A# (position 0: 'A+')"),
        (
            "A#->B;B#->C",
            "query 'A#->B;B#->C': a sequence after ';' begins at an anchor that was written before; B# is none "
            "(A#) (position 6: 'B#->C')",
        ),
        (
            "A->B;B->C",
            "query 'A->B;B->C': a sequence after ';' begins at an anchor that was written before; B is none "
            "(there are no anchors) (position 5: 'B->C')",
        ),
        (
            "C->(A->B|C)",
            "query 'C->(A->B|C)': the alternatives at position 3 begin with A, C; alternatives longer than one "
            "node must begin with the same type. Write two queries",
        ),
        ("A{0}", "query 'A{0}': {0} at position 1 repeats a node 0 times; expected 1 to 10000"),
        (
            "A->((B{100}){100}){100}",
            "query 'A->((B{100}){100}){100}' grows beyond 10000 steps when its repetitions are expanded",
        ),
        ("A[f]", "query 'A[f]' uses [f] at position 0, but lambdas has none"),
        (None, "a query is text such as 'Producer-1>(Conv|Gemm)', got None"),
    ],
)
def test_mistakes(query, message):
    with pytest.raises(QueryError, match=f"^{re.escape(message)}(\nmore: .*)?$"):
        matches(chain("A", "B"), query)


def test_a_deep_query_is_an_error_too():
    with pytest.raises(QueryError, match="no more than 50 groups nested in one another"):
        matches(chain("A"), "(" * 5000 + "A" + ")" * 5000)


def test_vertices_of_a_graph():
    found = {v.name: v for v in vertices_of(small_net())}
    assert found["fc"].inputs[2] is None and found["conv"].inputs[0] is None  # absent, and an input of the graph
    assert found["w"].type == "Producer"
