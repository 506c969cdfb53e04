"""A graph of 16-bit floats computed in float32, and back: what is read to be trained, and written as it was."""

from __future__ import annotations

import json
from typing import Any

from ..dtypes import DTYPES, ONNX_CODES, ONNX_NAMES
from ..errors import SettingError
from ..graph import Graph, Node, Value

TYPES = "aidgejax.types"  # in the metadata: {tensor, or node and attribute: the dtype of the file}
NARROW = ("float16", "bfloat16")
ATTRIBUTES = ("to", "dtype", "output_dtype")


def widened(graph: Graph, dtype: str = "float32") -> Graph:
    """The graph with its 16-bit inputs, tensors and casts in float32; `narrowed` undoes it.

    Raises SettingError for another dtype than float32.
    """
    if dtype != "float32":
        raise SettingError(f"a model is widened to float32, got dtype={dtype!r}")
    found: dict[str, str] = {}
    copy = graph.copy()
    for v in graph.inputs.values():
        if v.dtype in NARROW:
            found[v.name], copy.inputs[v.name] = str(v.dtype), Value(v.name, v.shape, dtype)
    for p in copy.producers.values():
        if p.data.dtype.name in NARROW:
            found[p.name] = p.data.dtype.name
            p.data = p.data.astype(dtype)
    for k, node in enumerate(graph.nodes):
        named = {a: ONNX_NAMES.get(node.attrs[a]) for a in ATTRIBUTES if isinstance(node.attrs.get(a), int)}
        narrow = {a: n for a, n in named.items() if n in NARROW}
        if narrow:
            found |= {f"{node.name}:{a}": str(n) for a, n in narrow.items()}
            copy.nodes[k] = _with(node, dict.fromkeys(narrow, ONNX_CODES[dtype]))
    if not found:
        return graph
    copy.metadata[TYPES] = json.dumps(found)
    return _without_types(copy)


def narrowed(graph: Graph) -> Graph:
    """The graph with the types that `widened` took from it."""
    if TYPES not in graph.metadata:
        return graph
    types: dict[str, str] = json.loads(graph.metadata[TYPES])
    copy = graph.copy()
    del copy.metadata[TYPES]
    for name, dtype in types.items():
        if name in copy.inputs:
            copy.inputs[name] = Value(name, copy.inputs[name].shape, dtype)
        elif name in copy.producers:
            copy.producers[name].data = copy.producers[name].data.astype(DTYPES[dtype])
    for k, node in enumerate(copy.nodes):
        codes = {a: ONNX_CODES[types[key]] for a in ATTRIBUTES if (key := f"{node.name}:{a}") in types}
        if codes:
            copy.nodes[k] = _with(node, codes)
    return _without_types(copy)


def _with(node: Node, attrs: dict[str, Any]) -> Node:
    return node.replace(attrs={**node.attrs, **attrs})


def _without_types(graph: Graph) -> Graph:
    """Shapes stay what they were; dtypes are to be found anew."""
    graph.values = {k: Value(k, None, None) for k in graph.values}
    return graph
