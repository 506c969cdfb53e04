"""Which activations are never negative."""

from __future__ import annotations

from ..aidge_core.graphview import GraphView
from ..aidge_core.node import Node
from ..aidge_core.recipes.surgery import checked
from .graphs import AFFINE
from .ptq_ranges import has_tag
from .tags import MERGING


def compute_sign_map(network: GraphView, verbose: bool = False) -> dict[Node, tuple[bool, bool]]:
    """{node: (is what it reads unsigned, is what it gives)}, on a graph with its scaling nodes.

    What only ReLUs read counts as unsigned already in front of them: the quantizer there clips at 0.  What is merged
    is unsigned where all of it is.  Scaling nodes of weights and biases are (True, True), as in Aidge.
    """
    order = [n for n in checked(network, "compute_sign_map").execution_order() if n.type() != "Producer"]
    found: dict[Node, tuple[bool, bool]] = {}
    for node in order:
        sources = [s.node for s in node.sources if s is not None and s.node in found]
        if has_tag(node, "isProducerQuantizer"):
            found[node] = (True, True)
            continue
        data = sources if node.type() in MERGING else [n for n in sources if not has_tag(n, "isProducerQuantizer")][:1]
        unsigned = bool(data) and all(found[n][1] for n in data)
        if node.type() in MERGING:
            found[node] = (unsigned, unsigned or _only_rectified(node))
        elif node.type() in AFFINE:
            found[node] = (unsigned, _only_rectified(node))
        elif has_tag(node, "isResidual"):
            found[node] = (unsigned, unsigned and _is_merged_unsigned(node, found))
        else:
            found[node] = (unsigned, unsigned or node.type() == "ReLU")
    if verbose:
        for node, (before, behind) in found.items():
            print(f"{node.name()}: {'unsigned' if before else 'signed'} -> {'unsigned' if behind else 'signed'}")
    return found


def _only_rectified(node: Node) -> bool:
    """Do only ReLUs read it, through its scaling node?"""
    readers = [r.node for r in node.readers[0]]
    if len(readers) == 1 and readers[0].type() == "Quantizer":
        readers = [r.node for r in readers[0].readers[0]]
    return bool(readers) and all(r.type() == "ReLU" for r in readers)


def _is_merged_unsigned(residual: Node, found: dict[Node, tuple[bool, bool]]) -> bool:
    """Is everything else unsigned that is merged with what this node scales?"""
    others = [s.node for r in residual.readers[0] for s in r.node.sources if s is not None and s.node is not residual]
    return all(found.get(n, (False, False))[1] for n in others)
