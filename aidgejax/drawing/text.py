"""A graph as text: a line for each tensor that it brings along, and for each node."""

from __future__ import annotations

from typing import Any

import numpy as np


def listing(graph: Any) -> str:
    """What print(graph) shows; graphs among the attributes of a node follow it, further in."""
    lines = [f"graph {graph.name}({', '.join(map(str, graph.inputs.values()))})"]
    for p in graph.producers.values():
        lines.append(f"  {p.role:9} {p.value}{_small(p.data)}")
    for n in graph.nodes:
        outs = ", ".join(str(graph.values.get(o, o)) if o else "_" for o in n.outputs)
        lines.append(f"  {outs} = {call(n)}")
        for k, inner in n.attrs.items():
            if _is_graph(inner):
                lines += [f"    {k}:", *(f"    {line}" for line in str(inner).split("\n"))]
    lines.append(f"  return {', '.join(graph.outputs)}")
    return "\n".join(lines)


def call(node: Any) -> str:
    """Operator, inputs and attributes of a node; absent inputs at the end are left out."""
    shown = [_literal(i) for i in node.inputs]
    while shown and shown[-1] == "_":
        shown.pop()
    attrs = "".join(f", {k}={_attribute(v)}" for k, v in node.attrs.items() if v is not None)
    return f"{node.op}({', '.join(shown)}{attrs})"


def _is_graph(v: Any) -> bool:
    return hasattr(v, "nodes")


def _literal(i: Any) -> str:
    if i is None:
        return "_"
    return str(list(i)) if isinstance(i, tuple) else str(i)


def _attribute(v: Any) -> str:
    if _is_graph(v):
        return repr(v)
    if isinstance(v, np.ndarray):
        return f"{v.dtype}{list(v.shape)}"
    return str(list(v)) if isinstance(v, tuple) else str(v)


def _small(data: np.ndarray) -> str:
    return f" = {data.tolist()}" if data.size <= 4 and data.dtype != object else ""
