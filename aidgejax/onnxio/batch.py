"""Any batch: a model that was exported for a fixed batch size, made good for every size.

A fixed batch is burnt into the inputs, and into the targets of Reshape.  A leading size that repeats the input's is
written as 0 ("keep it"), another leading size as -1 ("what is left over"): at the exported size both mean what was
there before, and at other sizes they follow the batch.  What cannot be freed like this is reported with its node.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import GraphError
from ..graph import Graph, Node, Value
from ..walk import infer_shapes


def with_any_batch(graph: Graph, batch: str = "N") -> Graph:
    """The same graph with axis 0 of its inputs called `batch`.  Shapes must be known.

    Inputs whose first size differs from the first input's are left as they are (tables, masks).
    Raises GraphError naming the node in which the exported batch size remains.
    """
    sizes = [v.shape[0] for v in graph.inputs.values() if v.shape]
    fixed = next((d for d in sizes if isinstance(d, int)), None)
    if fixed is None:
        return graph
    twin = graph.copy()
    freed = [v for v in graph.inputs.values() if v.shape and v.shape[0] == fixed]
    for v in freed:
        twin.inputs[v.name] = Value(v.name, (batch, *(v.shape or ())[1:]), v.dtype)
    depends = {v.name for v in freed}
    twin.nodes = []
    for node in graph.nodes:
        if depends.intersection(node.input_names):
            depends.update(node.output_names)
            if node.op == "Reshape" and node.inputs[0] in depends:
                node = _freed(graph, node)
        twin.nodes.append(node)
    try:
        twin = infer_shapes(twin)
    except GraphError as e:
        raise GraphError(f"the batch size {fixed} is burnt in: with {batch!r} in its place, {e}") from None
    for o in twin.outputs:
        before, after = graph.value(o).shape, twin.value(o).shape
        if o in depends and before and before[0] == fixed and after == before:
            raise GraphError(f"the batch size {fixed} is burnt in: output {graph.value(o)} does not follow {batch!r}; "
                             f"look for the node that writes it, and for reductions over axis 0")
    return twin


def _freed(graph: Graph, node: Node) -> Node:
    """A Reshape whose leading size follows its input's."""
    target = node.inputs[1]
    if isinstance(target, str):
        if target not in graph.producers:
            return node  # computed from shapes
        target = tuple(int(d) for d in np.ravel(graph.producers[target].data))
    before = graph.value(node.inputs[0]).shape
    if not target or not before or target[0] < 1 or node.attrs.get("allowzero"):
        return node
    result = graph.value(node.output_names[0]).shape or ()
    lead = 0 if before[0] == target[0] else -1
    rest = target[1:]
    if lead == -1 and -1 in rest:  # only one size may be left over: spell the other
        rest = tuple(result[k] if d == -1 else d for k, d in enumerate(rest, start=1))
        if not all(isinstance(d, int) for d in rest):
            return node
    return replace(node, inputs=(node.inputs[0], (lead, *rest), *node.inputs[2:]))
