"""Control flow, sequences and optional values, unrolled into plain nodes.

    straight, outputs = unrolled(graph)            # all that decides is constant, or follows from shapes
    straight, outputs = unrolled(graph, feeds)     # or from these inputs

An If becomes the branch that is taken, or one node with both where data decides (conditional.py); a Loop or a Scan its
body as often as it runs, a sequence a Python list of tensors' names.  What is left is a graph like any other: it has a
gradient, it is one compiled program.

Subgraphs are Graphs among a node's attributes.  What they read from outside are inputs of the node, after ONNX's own;
`captures` lists their names inside.
"""

from . import (
    loops,  # noqa: F401  (registers what it unrolls)
    sequences,  # noqa: F401
)
from .conditional import has_conditionals
from .unroller import MOST_NODES, DataDependent, Evaluate, Item, flat_feeds, is_dynamic, unrolled

__all__ = [
    "MOST_NODES",
    "Evaluate",
    "Item",
    "DataDependent",
    "flat_feeds",
    "has_conditionals",
    "is_dynamic",
    "unrolled",
]
