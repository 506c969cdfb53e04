"""Graphs inside of nodes: what they are, and what they read from outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import AttributeProto, GraphProto, NodeProto

from ...errors import ModelFileError

DEEPEST = 16  # graphs inside of graphs


def subgraphs(node: NodeProto) -> list[tuple[str, GraphProto]]:
    """(attribute, graph) of every subgraph of a node."""
    return [(a.name, a.g) for a in node.attribute if a.type == AttributeProto.GRAPH and a.HasField("g")]


def every_graph(graph: GraphProto, deep: int = 0) -> Iterator[GraphProto]:
    """The graph and all graphs inside it; refused where they are nested too deep."""
    if deep > DEEPEST:
        raise ModelFileError(f"subgraph {graph.name!r} is nested {deep} graphs deep; expected at most {DEEPEST}")
    yield graph
    for node in graph.node:
        for _, inner in subgraphs(node):
            yield from every_graph(inner, deep + 1)


def captures(node: NodeProto) -> list[str]:
    """What the subgraphs of a node read from outside, in order."""
    return list(dict.fromkeys(name for _, inner in subgraphs(node) for name in outer_reads(inner)))


def outer_reads(graph: GraphProto) -> list[str]:
    """The tensors that a graph reads and neither is given nor writes."""
    own = {
        *(i.name for i in graph.input),
        *(t.name for t in graph.initializer),
        *(o for n in graph.node for o in n.output),
    }
    read = [*(i for n in graph.node for i in reads(n)), *(o.name for o in graph.output)]
    return list(dict.fromkeys(i for i in read if i not in own))


def reads(node: NodeProto) -> Sequence[str]:
    """The tensors that a node reads, itself or in its subgraphs."""
    inner = captures(node)
    return [*(i for i in node.input if i), *inner] if inner else [i for i in node.input if i]
