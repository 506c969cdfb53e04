"""From the graph that was trained to the one that is deployed, for a target if one is named."""

from __future__ import annotations

from ..analog import layers as analog_layers
from ..arguments import checked_call
from ..errors import GraphError
from ..graph import Graph
from .deploy import deployed
from .targets import Target, misfits, target_called


@checked_call
def to_integer(graph: Graph, target: Target | str | None = None) -> Graph:
    """A converted and calibrated graph as it is deployed; parameters are those that the graph holds.

    Tensors keep their names; the integers of tensor t are `t.int`, and of a weight or bias they bear its own name.
    target: one of `targets`, or a Target; what it cannot compute is refused, all of it at once.
    Raises GraphError where nothing is quantized, or nothing was calibrated; SettingError for a target there is not.
    """
    tiles = [t.node.name for t in analog_layers(graph)]
    if tiles:
        raise GraphError(
            f"graph {graph.name!r} has analog tiles ({', '.join(tiles[:4])}{', ...' if len(tiles) > 4 else ''}), which "
            f"multiply no integers: write it with onnxio.write, or make it digital first (analog.to_digital)"
        )
    chosen = None if target is None else target_called(target)
    integers = deployed(graph)
    found = misfits(integers, chosen) if chosen is not None else []
    if chosen is not None and found:
        more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
        raise GraphError(
            f"graph {graph.name!r} does not fit target {chosen.name!r}: {'; '.join(found[:4])}{more}. "
            f"quant.targets[...].scheme(bits) is a scheme that does"
        )
    return integers
