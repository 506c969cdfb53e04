"""Graph queries over a GraphView.  The language, and the search, stand in aidgejax.matches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import QueryError
from ...passes.pattern import Match, Vertex, matches
from .building import generate_graph
from .errors import BadQuery, TensorTypeError
from .graphview import GraphView
from .node import Node
from .tensor import Tensor


class MatchingResult:
    """graph: a GraphView of the matched nodes;  root_node: where the query begins;  anchors: of a query with
    Conv2D#1, {"Conv2D": {"#1": node}}."""

    def __init__(self, match: Match | None = None) -> None:
        self.graph = GraphView()
        self.root_node: Node | None = None
        self.anchors: dict[str, dict[str, Node]] = {}
        if match is not None:
            self.graph.members = {v.node: None for v in match.vertices}
            self.root_node = match.vertices[0].node
            for anchor, vertex in match.anchors.items():
                kind, _, number = anchor.partition("#")
                self.anchors.setdefault(kind, {})[f"#{number}"] = vertex.node

    @property
    def startNode(self) -> Node | None:  # noqa: N802
        return self.root_node


class SinglePassGraphMatching:
    """SinglePassGraphMatching(graph).match("Producer-1>(Conv2D|FC)") -> one MatchingResult per place where it fits."""

    def __init__(self, graph: GraphView) -> None:
        if not isinstance(graph, GraphView):
            raise TensorTypeError(f"SinglePassGraphMatching(graph): expected a GraphView, got {type(graph).__name__}")
        self.graph = graph
        self._lambdas: dict[str, Callable[[Node], bool]] = {}

    def add_node_lambda(self, name: str, func: Callable[[Node], bool]) -> None:
        """Let `Type[name]` in a query ask func(node)."""
        self._lambdas[name] = func

    def match(self, query: str, disjoint: bool = False) -> list[MatchingResult]:
        """Raises BadQuery (a RuntimeError) for a query that cannot be read."""
        if not isinstance(query, str):
            raise TensorTypeError(f"a query is a str, got {query!r}")
        try:
            return [MatchingResult(m) for m in matches(self._vertices(), query, disjoint, self._lambdas)]
        except QueryError as e:
            raise BadQuery(str(e)) from None

    def build_query_from(self, graph: Any, constants_check: bool = False) -> str:
        """A query that this graph matches, each node under an anchor: "Conv2D#0;Conv2D#0-0-0>ReLU#1".

        graph: a GraphView, or a Connector for what leads to it.  constants_check: accepted.
        """
        view = graph if isinstance(graph, GraphView) else generate_graph([graph])
        order = view.execution_order()
        if not order:
            return ""
        root = next((n for n in order if n.type() != "Producer"), order[0])
        numbered = [root, *(n for n in order if n is not root)]
        anchors = {node: f"{node.type()}#{k}" for k, node in enumerate(numbered)}
        found: list[str] = [anchors[root]]
        seen, waiting, written = {root}, [root], set()
        while waiting:
            node = waiting.pop(0)
            behind = [(node, k, p.node, p.index) for k, out in enumerate(node.readers) for p in out]
            before = [(p.node, p.index, node, k) for k, p in enumerate(node.sources) if p]
            for edge in (*behind, *before):
                source, out, reader, into = edge
                if edge in written or source not in anchors or reader not in anchors:
                    continue
                written.add(edge)
                if source is node:
                    found.append(f"{anchors[source]}-{out}-{into}>{anchors[reader]}")
                else:
                    found.append(f"{anchors[reader]}<{into}-{out}-{anchors[source]}")
                for other in (source, reader):
                    if other not in seen:
                        seen.add(other)
                        waiting.append(other)
        if len(seen) < len(order):
            raise BadQuery("build_query_from: the graph is in several parts; a query describes one")
        return ";".join(found)

    def match_from(self, start_node: Node, query: str) -> MatchingResult:
        """The match that begins at this node; an empty result where there is none."""
        return next((m for m in self.match(query) if m.root_node is start_node), MatchingResult())

    def _vertices(self) -> list[Vertex]:
        order = self.graph.execution_order()
        at = {n: k for k, n in enumerate(order)}
        return [
            Vertex(n.type(), n.name(), tuple((at[p[0]], p[1]) if p and p[0] in at else None for p in n.sources), n)
            for n in order
        ]


def init_producer(graph: GraphView, pattern: str, filler: Callable[[Tensor], Any]) -> int:
    """Fill every Producer that begins a match of the query; how many.

    init_producer(model, "Producer-1>(Conv2D|FC)", he_filler) fills the weights, -2> the biases.
    Raises BadQuery where the query's first node is no Producer.  What the filler raises comes through.
    """
    if not callable(filler):
        raise TensorTypeError(
            f"init_producer(graph, query, filler): filler is {filler!r}; expected a function of one "
            f"Tensor, such as aidge_core.he_filler"
        )
    matched = SinglePassGraphMatching(graph).match(pattern)
    roots = dict.fromkeys(m.root_node for m in matched if m.root_node is not None)
    for node in roots:
        if node.type() != "Producer":
            raise BadQuery(
                f"Root node must be a Producer: query {pattern!r} begins at node {node.name()!r} "
                f"({node.type()}); write it as 'Producer-1>...'"
            )
    for node in roots:
        filler(node.get_operator().get_output(0))
    return len(roots)
