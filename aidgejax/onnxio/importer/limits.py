"""How large the settings of a file may be.

Some numbers of a node cost time and memory while its shapes are inferred, whatever its tensors hold: a window is
walked over tap by tap, a stride phase by phase.  From a file that anybody may have written they are believed up to
here; a graph that is built by hand is not asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ...errors import ModelFileError
from ...graph import Graph, Node
from ...ops import lookup
from ...ops.control_flow import is_control_flow

# {attribute: the largest product of its numbers}
ATTRIBUTES = {"kernel_shape": 1 << 16, "strides": 1 << 16, "size": 1 << 16, "output_shape": 1 << 40}
LARGEST_TENSOR = 1 << 40  # elements


def check_attribute_limits(graph: Graph) -> None:
    """Reject attributes that would make shape inference prohibitively expensive.  Expects an upgraded graph."""
    for node in graph.nodes:
        if is_control_flow(node):
            continue
        for name, largest, values in _settings(graph, node):
            if values and max(map(abs, values)) > largest:
                raise ModelFileError(
                    f"node {node.name!r} ({node.op}): {name} is {list(values)[:8]}; from a file, up "
                    f"to {largest} is read"
                )
        outputs = node.attrs.get("num_outputs", len(node.outputs))
        if outputs != len(node.outputs):
            raise ModelFileError(
                f"node {node.name!r} ({node.op}): num_outputs is {outputs}, but it has {len(node.outputs)} outputs"
            )


def _settings(graph: Graph, node: Node) -> Iterator[tuple[str, int, tuple]]:
    for name, largest in ATTRIBUTES.items():
        value = node.attrs.get(name)
        if isinstance(value, tuple):
            yield f"the product of {name}", largest, (math.prod(value),)
        elif isinstance(value, int):
            yield name, largest, (value,)
    operator = lookup(node.op)
    limits = operator.limits(node.attrs) if operator.limits else {}
    for i, name in zip(node.inputs, operator.inputs, strict=False):
        if name in limits:
            data = graph.producers[i].data if isinstance(i, str) and i in graph.producers else i
            if data is not None and not isinstance(data, str):
                yield name, limits[name], tuple(np.ravel(data).tolist())


def check_sizes(graph: Graph) -> None:
    """Refuse a tensor that no machine holds, and a size so large that it has become negative."""
    for node in graph.nodes:
        for o in node.output_names:
            sizes = [d for d in graph.value(o).shape or () if isinstance(d, int)]
            if min(sizes, default=0) < 0 or math.prod(sizes) > LARGEST_TENSOR:
                raise ModelFileError(
                    f"node {node.name!r} ({node.op}) would write {graph.value(o)}, more than any machine holds"
                )
