"""aidge_quantization.fixedq: fixed-point quantizers of a given span."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._shared.absent_names import absent_name
from ..aidge_core.errors import GraphViewError
from ..aidge_core.execution import SequentialScheduler
from ..aidge_core.graphview import GraphView
from ..aidge_core.node import Node
from ..aidge_core.recipes.surgery import bypass
from ..aidge_core.tensor import as_tensor
from .factories import FixedQ
from .graphs import affine, insert

__all__ = ["insert_and_init_quantizers", "insert_quantizers"]


def insert_quantizers(network: GraphView, nb_bits: int, span: float) -> None:
    """A FixedQ in front of the data (<layer>_fixedq_i) and the weight (<layer>_fixedq_p) of each Conv2D and FC.

    A ReLU right in front of it is passed over: the quantizer is then unsigned and clips at 0 itself.
    """
    if isinstance(nb_bits, bool) or not isinstance(nb_bits, int) or nb_bits < 1 or not span > 0:
        raise GraphViewError(
            f"insert_quantizers: nb_bits is {nb_bits!r} and span {span!r}; expected 1 or more, above 0"
        )
    for node in _layers(network):
        above = node.sources[0]
        unsigned = above is not None and above.node.type() == "ReLU"
        insert(network, node, 0, FixedQ(nb_bits, float(span), unsigned, name=f"{node.name()}_fixedq_i"))
        if above is not None and unsigned:
            _without(network, above.node, f"{node.name()}_fixedq_i")
        if node.sources[1] is not None:
            insert(network, node, 1, FixedQ(nb_bits, float(span), False, name=f"{node.name()}_fixedq_p"))


def insert_and_init_quantizers(network: GraphView, nb_bits: int, calibration_data: Any, scale: float) -> None:
    """As insert_quantizers; each span is `scale` times the root mean square of what is quantized.

    calibration_data: one Tensor, which the graph is run on before anything is inserted.
    """
    x = as_tensor(calibration_data, "calibration_data")
    scheduler = SequentialScheduler(network)
    scheduler.forward(data=[x])
    spans: dict[Node, list[float]] = {}
    for node in _layers(network):
        tensors = [node.get_operator().get_input(k) for k in (0, 1)]
        spans[node] = [scale * float(np.sqrt(np.mean(np.square(t.cell.read())))) if t else 1.0 for t in tensors]
    insert_quantizers(network, nb_bits, 1.0)
    for node, pair in spans.items():
        for k, span in enumerate(pair):
            source = node.sources[k]
            if source is not None and source.node.type() == "FixedQ":
                source.node.get_operator().attr.span = span


def _without(graph: GraphView, relu: Node, quantizer: str) -> None:
    """Let the quantizer read what the ReLU reads; the ReLU goes when nobody reads it any more."""
    if len(relu.readers[0]) == 1:
        bypass(graph, relu)
        return
    source, node = relu.sources[0], graph.node_called(quantizer)
    if source is not None:
        source.node.add_child(node, source.index, 0)


def _layers(graph: GraphView) -> list[Node]:
    return [n for n in affine(graph, "insert_quantizers") if n.type() in ("Conv2D", "FC")]


ABSENT = {"dev_qat": "it is unfinished in Aidge; use insert_and_init_quantizers and train"}


def __getattr__(name: str) -> object:
    raise absent_name(__name__, name, ABSENT)
