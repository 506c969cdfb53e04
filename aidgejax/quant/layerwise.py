"""A deployed graph cut apart at its quantized tensors, so that each layer is compared on equal inputs.

With free steps a value next to a half may fall the other way in one runtime; every layer behind it then computes from
other levels, and end to end the count says how deep the network is rather than how exact a layer is.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..graph import Graph, Value
from ..interpreter.shape_inference import infer_shapes


def apart(graph: Graph, tensors: Iterable[str]) -> tuple[Graph, dict[str, str]]:
    """(the graph that takes these tensors as inputs and computes each from the others, {tensor: what was computed}).

    Its outputs are the computed tensors, then those outputs of the graph that are none of them.
    """
    given = {t for t in tensors if t not in graph.inputs and t not in graph.producers}
    copy = graph.copy()
    computed = {t: copy.fresh(f"{t}.computed") for t in sorted(given)}
    copy.nodes = [n.replace(outputs=tuple(computed.get(o, o) if o else o for o in n.outputs)) for n in graph.nodes]
    for t, name in computed.items():
        value = graph.value(t)
        shape = (graph.inputs[next(iter(graph.inputs))].shape or (None,))[:1] + (value.shape or ())[1:]
        copy.values.pop(t, None)
        copy.inputs[t] = Value(t, shape if value.shape else None, value.dtype)
        copy.values[name] = Value(name, value.shape, value.dtype)
    copy.outputs = [*computed.values(), *(o for o in graph.outputs if o not in given)]
    return infer_shapes(copy.check()), computed
