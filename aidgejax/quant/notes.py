"""What a graph remembers of its quantizers across a file.

In memory the nodes say everything.  ONNX has no FakeQuantize: it is written as QuantizeLinear and DequantizeLinear (and
a Clip where there are fewer than 8 bits), which any runtime reads.  The notes, a string in the model's metadata, say
which nodes these were, so that training goes on where it stopped.
"""

from __future__ import annotations

import json
from typing import Any

from ..arguments import checked_call
from ..errors import ModelFileError
from ..graph import Graph, Node
from ..interpreter.shape_inference import infer_shapes

KEY = "aidgejax.quant"
NOTED = ("FakeQuantize", "PowerOfTwo", "RoundTo", "TanhClamp", "ScaleAdjust")


def noted(graph: Graph, **more: Any) -> Graph:
    """The same graph with its quantizers in its metadata.  more: what else is to be remembered, as JSON has it."""
    held = memory(graph)
    held |= more
    held["nodes"] = [[n.op, n.name, list(n.inputs), list(n.outputs), n.attrs] for n in graph.nodes if n.op in NOTED]
    copy = graph.copy()
    copy.metadata[KEY] = json.dumps(held)
    return copy


def memory(graph: Graph) -> dict[str, Any]:
    """Everything that was noted."""
    text = graph.metadata.get(KEY)
    if text is None:
        return {}
    try:
        held = json.loads(text)
        rows = held.get("nodes", [])
        if not all(isinstance(r, list) and len(r) == 5 and r[0] in NOTED for r in rows):
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise ModelFileError(f"the metadata {KEY!r} is not what aidgejax writes: {str(text)[:80]!r}") from None
    return held


@checked_call
def restored(graph: Graph) -> Graph:
    """The graph with the quantizers that its notes name as single nodes again; itself where there is nothing to do."""
    have = {n.name for n in graph.nodes if n.op in NOTED}
    missing = [r for r in memory(graph).get("nodes", []) if r[1] not in have]
    if not missing:
        return graph
    copy = graph.copy()
    writer = copy.writer()
    instead: dict[str, Node] = {}
    written: set[str] = set()
    for op, name, inputs, outputs, attrs in missing:
        old = writer.get(outputs[0])
        if old is None or not all(copy.has(i) for i in inputs if isinstance(i, str)):
            continue  # somebody has changed the file; what is left is what it says
        kept = {k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items()}
        instead[old.name] = Node(op, tuple(inputs), tuple(outputs), kept, name)
        written.update(o for o in outputs if o)
    copy.nodes = [
        instead.get(n.name, n) for n in copy.nodes if n.name in instead or not written.intersection(n.output_names)
    ]
    copy.prune()
    return infer_shapes(copy.check())
