"""Products of one tensor with several weights, as queries, keys and values are made, become one product."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Graph, Node
from ..interpreter.shape_inference import infer_shapes


def join_products(graph: Graph) -> Graph:
    """The same graph where `MatMul`s of one tensor with several parameters are one MatMul and a Split.

    The weights stay parameters of their own, joined by a Concat in the graph; so the names that train, and their
    gradients, are the same.  Weights are f[k, n] each with its own n, behind a Cast each or none.  The gradient by the
    tensor becomes one product too, where it was several and their sum.
    """
    graph = infer_shapes(graph)
    for group in _groups(graph):
        graph = _joined(graph, group)
    return graph


@dataclass(frozen=True)
class _Product:
    """A MatMul with a parameter.  cast: the Cast between them, if there is one."""

    node: Node
    weight: str
    cast: Node | None


def _groups(graph: Graph) -> list[list[_Product]]:
    writer = graph.writer()
    found: dict[object, list[_Product]] = {}
    for node in graph.nodes:
        if node.op != "MatMul" or not isinstance(node.inputs[1], str) or node.outputs[0] is None:
            continue
        behind = writer.get(node.inputs[1])
        cast = behind if behind is not None and behind.op == "Cast" else None
        weight = node.inputs[1] if cast is None else cast.inputs[0]
        shape = graph.value(str(weight)).shape if weight in graph.params else None
        if shape is None or len(shape) != 2 or graph.value(str(node.inputs[0])).rank in (None, 0, 1):
            continue
        key = (node.inputs[0], shape[0], graph.value(node.inputs[1]).dtype, cast is None)
        found.setdefault(key, []).append(_Product(node, str(weight), cast))
    once = (g for g in found.values() if len({p.weight for p in g}) == len(g))  # a weight used twice stays shared
    return [g for g in once if len(g) > 1]


def _joined(graph: Graph, group: list[_Product]) -> Graph:
    joined, scratch = graph.copy(), graph.copy()
    before: list[Node] = []
    scratch.nodes = before
    first = group[0]
    (weight,) = scratch.add("Concat", [p.weight for p in group], {"axis": 1}, name=f"{first.node.name}/weights")
    if first.cast is not None:
        (weight,) = scratch.add("Cast", [weight], dict(first.cast.attrs))
    (product,) = scratch.add("MatMul", [first.node.inputs[0], weight], name=f"{first.node.name}/joined")
    sizes = [int(graph.params[p.weight].shape[1]) for p in group]
    scratch.add("Split", [product, sizes], {"axis": -1}, outputs=len(group), name=f"{first.node.name}/apart")
    cut = before.pop()
    inside = [o for n in before for o in n.output_names]
    before.append(cut.replace(outputs=tuple(p.node.outputs[0] for p in group)))
    gone = {p.node.name for p in group[1:]}
    nodes: list[Node] = []
    for node in joined.nodes:
        if node.name == first.node.name:
            nodes += before
        elif node.name not in gone:
            nodes.append(node)
    joined.nodes[:] = nodes
    joined.values |= {o: scratch.values[o] for o in inside}
    joined.producers |= {k: p for k, p in scratch.producers.items() if k not in joined.producers}
    joined.prune()
    return infer_shapes(joined)
