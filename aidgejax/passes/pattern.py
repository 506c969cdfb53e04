"""Finding nodes by a query: `matches(graph, "Producer-1>(Conv|Gemm)")` finds the weights.

    node       Conv     a node of this type; parameters, buffers and constants are of type Producer
               .        any node                   $        no node: the graph ends here
               Conv[f]  for which lambdas["f"](node) is true
               Conv#1   an anchor: wherever Conv#1 is written again, it is the same node.  Conv# is one too
    edge       A->B     output 0 of A goes to input 0 of B
               A-2>B    output 0 of A goes to input 2 of B;   A-1-2>B  output 1 to input 2;   A-*>B  to any input
               B<-A  B<2-A  B<2-1-A  B<*-A                    the same, read from B;   ~ may stand for -
    group      (Conv|Gemm)   either;  alternatives longer than a node must begin with the same type
               (Conv->Relu)  a sequence
    repeated   Relu?  Relu+  Relu*  Relu{2}   0 or 1, 1 or more, 0 or more, exactly 2 times; as many as possible.
               A repeated group is entered again by the edge in front of it, and binds its anchors anew
    several    Conv#->Relu;Conv#<1-Producer   all must match; each after the first begins at an anchor

Spaces mean nothing.  Nodes at different places of a query are different nodes, save through anchors.  The language is
that of aidge_core's SinglePassGraphMatching, as observed; every query ends here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import QueryError
from ..graph import Graph, Node, Producer
from .pattern_query import Edge, Instructions, Pattern, compile_query

PRODUCER = "Producer"
PATIENCE = 50_000  # steps from one first node, where the ways to match can multiply


@dataclass(frozen=True)
class Vertex:
    """A node as the matcher sees it.  inputs: (position of the vertex, its output) each, None where nothing comes in.

    node: whatever the caller wants to find again; it is what lambdas are asked about.
    """

    type: str
    name: str
    inputs: tuple[tuple[int, int] | None, ...] = ()
    node: Any = None


@dataclass(frozen=True)
class Match:
    """vertices: all that were matched, the first node of the query first;  anchors: {"Conv#1": vertex}."""

    vertices: tuple[Vertex, ...]
    anchors: dict[str, Vertex]

    @property
    def root(self) -> str:
        """The name of the node that the query begins with."""
        return self.vertices[0].name

    @property
    def nodes(self) -> list[str]:
        """The names of all nodes, sorted."""
        return sorted(v.name for v in self.vertices)


def matches(
    graph: Graph | Iterable[Vertex],
    query: str,
    disjoint: bool = False,
    lambdas: Mapping[str, Callable[[Any], Any]] | None = None,
) -> list[Match]:
    """One Match per node that the query can begin with, in the order of the graph; matches may overlap.

    graph: a Graph, or the vertices of another kind of graph.
    disjoint: of overlapping matches keep the one with more nodes, or the earlier.
    lambdas: {name: predicate} for Type[name]; a predicate is given the vertex's node: a graph.Node or a Producer.
    Raises QueryError, with the position, for a query that cannot be read.
    """
    vertices = vertices_of(graph) if isinstance(graph, Graph) else list(graph)
    program = compile_query(query)
    lambdas = dict(lambdas or {})
    for pattern in program.patterns:
        if pattern.test is not None and pattern.test not in lambdas:
            raise QueryError(
                f"query {query!r} uses [{pattern.test}] at position {pattern.at}, but lambdas has "
                f"{', '.join(map(repr, lambdas)) or 'none'}"
            )
    if not program.code:
        return []
    search = _Search(program, vertices, lambdas)
    found = [m for start in range(len(vertices)) if (m := search.first(start)) is not None]
    return _disjoint(found) if disjoint else found


def vertices_of(graph: Graph) -> list[Vertex]:
    """The producers and nodes of a Graph; its inputs are where it begins, not nodes."""
    writers: dict[str, tuple[int, int]] = {}
    things: list[Producer | Node] = [*graph.producers.values(), *graph.nodes]
    for k, thing in enumerate(things):
        outputs = (thing.name,) if isinstance(thing, Producer) else thing.outputs
        writers.update({name: (k, o) for o, name in enumerate(outputs) if name is not None})
    return [
        Vertex(PRODUCER, t.name, (), t)
        if isinstance(t, Producer)
        else Vertex(
            t.op,
            t.name or next(iter(t.output_names), ""),
            tuple(writers.get(i) if isinstance(i, str) else None for i in t.inputs),
            t,
        )
        for t in things
    ]


# ---- trying it ----------------------------------------------------------------------------------------


class _Search:
    """Depth first, first choice first.  A state that was tried before is not tried again, so it always ends."""

    def __init__(self, program: Instructions, vertices: list[Vertex], lambdas: dict[str, Callable]) -> None:
        self.code, self.vertices, self.lambdas = program.code, vertices, lambdas
        self.readers: list[list[tuple[int, int, int]]] = [[] for _ in vertices]  # (own output, reader, its input)
        for k, v in enumerate(vertices):
            for i, source in enumerate(v.inputs):
                if source is not None:
                    self.readers[source[0]].append((source[1], k, i))
        self.narrow = program.narrow and not self.has_cycle()

    def first(self, start: int) -> Match | None:
        """The first match whose first node is vertex `start`."""
        # A state: instruction, vertex (None beyond the end), anchors, vertices matched so far.
        stack: list[tuple[int, int | None, dict[str, int], tuple[int, ...]]] = [(0, start, {}, ())]
        tried = set()
        while stack:
            pc, at, anchors, path = stack.pop()
            state = (pc, at, frozenset(anchors.items()), not path if self.narrow else frozenset(path))
            if state in tried:
                continue
            tried.add(state)
            if len(tried) > PATIENCE and not self.narrow:
                raise QueryError(
                    f"no match found within {PATIENCE} steps from node {self.vertices[start].name!r}: "
                    f"there are too many ways to match. Replace -*> and repetitions by something narrower"
                )
            kind, *rest = self.code[pc]
            if kind == "done":
                return Match(tuple(self.vertices[k] for k in path), {n: self.vertices[k] for n, k in anchors.items()})
            if kind == "split":
                stack += [(rest[1], at, anchors, path), (rest[0], at, anchors, path)]
            elif kind == "jump":
                stack.append((rest[0], at, anchors, path))
            elif kind == "release":
                stack.append((pc + 1, at, {n: k for n, k in anchors.items() if n not in rest[0]}, path))
            else:
                stack += reversed(self.step(pc, at, anchors, path, *rest))
        return None

    def step(
        self,
        pc: int,
        at: int | None,
        anchors: dict[str, int],
        path: tuple[int, ...],
        edge: Edge | None,
        pattern: Pattern,
        later: bool,
    ) -> list[tuple]:
        """The states that one step leads to, in the order in which they are to be tried."""
        bound = anchors.get(pattern.anchor) if pattern.anchor else None
        if edge is None:  # a beginning: at its anchor, or, the first time, at the given vertex
            given = at if not path and not later else None
            candidates = [k for k in (bound, given) if k is not None][:1]
        else:
            candidates = self.neighbours(at, edge) if at is not None else []
            if pattern.type == "$":
                ends = at is not None and not (candidates if not edge.forward else self.children(at, edge.output))
                return [(pc + 1, None, anchors, path)] if ends else []
        states = []
        for k in candidates:
            if k == bound and self.fits(k, pattern):
                states.append((pc + 1, k, anchors, path))
            elif bound is None and k not in path and self.fits(k, pattern):
                states.append((pc + 1, k, {**anchors, pattern.anchor: k} if pattern.anchor else anchors, (*path, k)))
        return states

    def neighbours(self, at: int, edge: Edge) -> list[int]:
        """The vertices at the other end of such an edge, each once."""
        if edge.forward:
            found = [k for o, k, i in self.readers[at] if edge.output in (None, o) and edge.input in (None, i)]
        else:
            found = [
                source[0]
                for i, source in enumerate(self.vertices[at].inputs)
                if source is not None and edge.input in (None, i) and edge.output in (None, source[1])
            ]
        return list(dict.fromkeys(found))

    def children(self, at: int, output: int | None) -> list[int]:
        return [k for o, k, _ in self.readers[at] if output in (None, o)]

    def fits(self, k: int, pattern: Pattern) -> bool:
        vertex = self.vertices[k]
        return pattern.type in (".", vertex.type) and (
            pattern.test is None or bool(self.lambdas[pattern.test](vertex.node))
        )

    def has_cycle(self) -> bool:
        missing = [sum(s is not None for s in v.inputs) for v in self.vertices]
        ready = [k for k, m in enumerate(missing) if m == 0]
        for k in ready:
            for _, reader, _ in self.readers[k]:
                missing[reader] -= 1
                if missing[reader] == 0:
                    ready.append(reader)
        return len(ready) < len(self.vertices)


def _disjoint(found: list[Match]) -> list[Match]:
    taken: set[int] = set()
    kept = []
    for k in sorted(range(len(found)), key=lambda k: -len(found[k].vertices)):
        ids = {id(v) for v in found[k].vertices}
        if not taken & ids:
            taken |= ids
            kept.append(k)
    return [found[k] for k in sorted(kept)]
