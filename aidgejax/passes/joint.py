"""Forward and gradient as one explicit graph; what the gradient may not keep, it computes again.

This is the graph of a training model, of a training step in one file, and of TVM's adjoint.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import jax.numpy as jnp
import numpy as np

from ..graph import Builder, Graph, Value
from ..interpreter.shape_inference import infer_shapes
from .edit import renamed
from .gradient import grad_name, make_gradient
from .recompute import Again

ONES_ARE_STORED = 1 << 10  # a larger loss (reduction "none") gets its ones from a node


def make_joint(
    graph: Graph,
    loss: str,
    wrt: Iterable[str],
    *,
    kept: Collection[str] | None = None,
    unreachable: str = "raise",
) -> tuple[Graph, dict[str, str]]:
    """(the graph with the nodes of its gradient behind its own, {tensor of wrt: the tensor that is its gradient}).

    loss: a floating-point tensor of `graph`, whose shapes are known; the gradient is that of the sum of its elements.
    kept: the forward's tensors that the gradient may read; the others it computes again, each where it is first needed.
        None: all of them.
    unreachable: as passes.gradient.make_gradient has it.  The outputs stay those of `graph`.
    Raises NoGradientRule and GraphError as passes.gradient.make_gradient does.
    """
    wrt = list(dict.fromkeys(wrt))
    backward = infer_shapes(make_gradient(graph, [loss], wrt, unreachable=unreachable))
    whole = graph.copy()
    for p in backward.producers.values():
        if not whole.has(p.name):
            whole.constant(p.name, p.data)
    if (seed := grad_name(loss)) in backward.inputs:
        _start(whole, seed, whole.value(loss))
    written = graph.writer()
    again = Again(written, whole, kept)
    for node in backward.nodes:
        if any(o in written for o in node.output_names):
            continue  # metadata that the gradient computes for itself is there already
        whole.nodes.append(renamed(node, {i: again(i) for i in node.input_names if i in written}))
        whole.values.update({o: backward.value(o) for o in node.output_names})
    return whole, dict(zip(wrt, backward.outputs, strict=True))


def _start(graph: Graph, seed: str, loss: Value) -> None:
    """d loss / d loss: ones."""
    shape = loss.shape
    if shape is not None and all(isinstance(d, int) for d in shape):
        sizes = [d for d in shape if isinstance(d, int)]
        if np.prod(sizes) <= ONES_ARE_STORED:
            graph.constant(seed, np.ones(sizes, jnp.dtype(loss.dtype or "float32")))
            return
    zeros = Builder(graph, f"{seed}/").ZerosLike(loss)
    graph.add("Add", [zeros, 1.0], names=[seed], name=f"{seed}/Add")
