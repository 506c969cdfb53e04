"""Short names for what nobody asks for by name: in a small packed file names are a quarter of the bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import count, product
from string import ascii_lowercase

from ..graph import Graph
from ..passes.edit import with_renamed_tensors
from .sites import LAYERS


def short_names(graph: Graph) -> Graph:
    """The same graph, nodes without names, tensors between them, scales and zero points called a, ..., z, aa, ...

    What is read most often has the shortest names.  Inputs, outputs, layers, integer weights and biases keep theirs.
    """
    kept = {*graph.inputs, *graph.outputs, *(k for k, p in graph.producers.items() if p.data.dtype.kind != "f")}
    kept -= {k for k, p in graph.producers.items() if p.data.ndim == 0}
    taken = kept | {n.name for n in graph.nodes}
    free = (name for n in count(1) for k in product(ascii_lowercase, repeat=n) if (name := "".join(k)) not in taken)
    written = dict.fromkeys([*graph.producers, *(o for n in graph.nodes for o in n.output_names)])
    read = Counter(i for n in graph.nodes for i in n.input_names)
    names = {t: next(free) for t in sorted(written, key=lambda t: -read[t]) if t not in kept}
    short = with_renamed_tensors(graph, names)
    short.nodes = [n if n.op.removeprefix("QLinear") in LAYERS else n.replace(name="") for n in short.nodes]
    short.producers = {names.get(k, k): replace(p, name=names.get(k, k)) for k, p in graph.producers.items()}
    return short.check()
