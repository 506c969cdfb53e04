"""Spelling a graph in standard ONNX operators: nodes that ONNX does not have are replaced by their decompositions."""

from __future__ import annotations

from ..errors import ModelFileError
from ..graph import Builder, Graph, Node, Value
from ..ops import Operator, lookup
from ..walk import infer_shapes


def is_standard(node: Node, operator: Operator, schema_attributes: set[str] | None) -> bool:
    """Does ONNX have this operator, with these attributes?"""
    if operator.onnx is None:
        return False
    foreign = {k for k, v in node.attrs.items() if v != operator.attributes.get(k)} - (schema_attributes or set())
    return not foreign


def in_standard_operators(graph: Graph, schema_attributes) -> Graph:
    """The same graph in operators that ONNX has, tensor names kept.  Shapes must be known.

    schema_attributes(operator) -> the attribute names that ONNX gives it.
    Raises ModelFileError naming a node that cannot be spelled.
    """
    for _ in range(8):
        odd = [n for n in graph.nodes if not is_standard(n, lookup(n.op), schema_attributes(lookup(n.op)))]
        if not odd:
            return graph
        graph = infer_shapes(_replace(graph, {n.name for n in odd}))
    raise ModelFileError(f"graph {graph.name!r}: the decompositions of {', '.join(sorted({n.op for n in odd}))} "
                         f"never end")


def _replace(graph: Graph, odd: set[str]) -> Graph:
    result = graph.copy()
    result.nodes = []
    for node in graph.nodes:
        if node.name not in odd:
            result.nodes.append(node)
            continue
        operator = lookup(node.op)
        if operator.decompose is None:
            raise ModelFileError(f"node {node.name!r} ({node.op}) of graph {graph.name!r} cannot be written: ONNX does "
                                 f"not have it as it stands, and aidgejax/ops gives no decomposition")
        inputs = [graph.value(i) if isinstance(i, str) else i for i in operator.pad_inputs(node.inputs)]
        start = len(result.nodes)
        # Outputs that the node writes are freed first, so that the last nodes of the decomposition may bear their names.
        for o in node.output_names:
            result.values.pop(o, None)
        made = operator.decompose(Builder(result, f"{node.name}/"), *inputs,
                                  **{**operator.attributes, **node.attrs})
        made = made if isinstance(made, tuple) else (made,)
        _rename_outputs(result, start, {m.name: o for m, o in zip(made, node.outputs, strict=False) if m and o})
    return result


def _rename_outputs(result: Graph, start: int, final: dict[str, str]) -> None:
    fresh = {o for n in result.nodes[start:] for o in n.output_names}
    rename = {m: o for m, o in final.items() if m in fresh}
    nodes = [Node(n.op, tuple(rename.get(i, i) if isinstance(i, str) else i for i in n.inputs),
                  tuple(rename.get(o, o) if o else o for o in n.outputs), n.attrs, n.name, n.domain)
             for n in result.nodes[start:]]
    result.nodes[start:] = nodes
    for m, o in final.items():
        if m not in fresh:  # the decomposition passes a tensor through
            result.nodes.append(Node("Identity", (m,), (o,), {}, result.fresh("Identity")))
        result.values.pop(rename.get(m) and m, None)
        result.values[o] = Value(o, None, None)
