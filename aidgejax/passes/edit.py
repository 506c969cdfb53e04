"""Node surgery: tensors renamed in a node or a graph, and a graph written into another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..graph import Graph, Node, Value


def renamed(node: Node, names: Mapping[str, str]) -> Node:
    """The node reading and writing `names[t]` where it read or wrote tensor t."""

    def new(i: Any) -> Any:
        return names.get(i, i) if isinstance(i, str) else i

    return node.replace(inputs=tuple(map(new, node.inputs)), outputs=tuple(map(new, node.outputs)))


def passed_on(node: Node) -> Node:
    """An Identity of its first input in the place of a node."""
    return node.replace(op="Identity", inputs=node.inputs[:1], attrs={}, domain="")


def with_renamed_tensors(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph with node outputs called `names[t]` instead of t: in the nodes, in the outputs, in what is known."""
    copy = graph.map_nodes(lambda n: renamed(n, names))
    copy.values = {names.get(k, k): Value(names.get(k, k), v.shape, v.dtype) for k, v in graph.values.items()}
    copy.outputs = [names.get(o, o) for o in graph.outputs]
    return copy


def with_all_renamed(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph with every tensor t called `names[t]`, inputs and producers too."""
    copy = with_renamed_tensors(graph, names)
    copy.inputs = {(new := names.get(v.name, v.name)): replace(v, name=new) for v in graph.inputs.values()}
    copy.producers = {(new := names.get(p.name, p.name)): replace(p, name=new) for p in graph.producers.values()}
    return copy


def inline(graph: Graph, other: Graph, given: Mapping[str, str]) -> dict[str, str]:
    """Append the nodes of `other`, whose inputs are `given` tensors of `graph`.  Returns {name there: name here}."""
    names = dict(given)
    for p in other.producers.values():
        if p.name not in names:
            names[p.name] = graph.producer(graph.fresh(p.name), p.data, p.role).name
    taken = {n.name for n in graph.nodes}
    for node in other.nodes:
        for o in node.output_names:
            names[o] = graph.fresh(o)
            v = other.value(o)
            graph.values[names[o]] = Value(names[o], v.shape, v.dtype)
        name, k = node.name, 0
        while name in taken:
            k += 1
            name = f"{node.name}_{k}"
        taken.add(name)
        graph.nodes.append(renamed(node, names).replace(name=name))
    return names
