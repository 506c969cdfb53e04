"""Short names for what nobody asks for by name: in a small packed file names are a quarter of the bytes."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from ..graph import Graph
from ..passes.edit import with_renamed_tensors
from .sites import LAYERS


def short_names(graph: Graph) -> Graph:
    """The same graph with tensors between nodes, scales and zero points called t0, t1, ..., and nodes without a name.

    Inputs, outputs, layers, integer weights and biases keep their names.
    """
    kept = {*graph.inputs, *graph.outputs, *(k for k, p in graph.producers.items() if p.data.dtype.kind != "f")}
    kept -= {k for k, p in graph.producers.items() if p.data.ndim == 0}
    taken = kept | {n.name for n in graph.nodes}
    free = (name for k in count() if (name := f"t{k}") not in taken)
    written = [*graph.producers, *(o for n in graph.nodes for o in n.output_names)]
    names = {t: next(free) for t in dict.fromkeys(written) if t not in kept}
    short = with_renamed_tensors(graph, names)
    short.nodes = [n if n.op.removeprefix("QLinear") in LAYERS else n.replace(name="") for n in short.nodes]
    short.producers = {names.get(k, k): replace(p, name=names.get(k, k)) for k, p in graph.producers.items()}
    return short.check()
