"""A Builder that knows where symbolic sizes can be read from."""

from __future__ import annotations

from collections.abc import Iterable

from ....graph import Builder, Graph, Value


class SizedBuilder(Builder):
    """Writes nodes into a graph.  symbolic: the inputs of the function that have a symbolic size, which it may read."""

    def __init__(self, graph: Graph, prefix: str, symbolic: Iterable[Value]) -> None:
        super().__init__(graph, prefix)
        self.symbolic = tuple(symbolic)
