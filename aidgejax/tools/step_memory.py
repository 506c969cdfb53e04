"""The memory of a training step, predicted from shapes alone: nothing is compiled and nothing runs.

    print(step_memory(make_program(graph, training=True), optim.adam(), sizes={"N": 64}))

Held throughout: parameters, buffers, optimizer state and the batch.  Held from forward to gradient: the saved tensors,
listed by the node that writes them.  The peak follows the tensors of both graphs from their node to their last reader.
Of element-wise nodes that read one another a compiler makes one, and computes again in the gradient what it can from
what such a node reads: their results count as never written, and what they read lives as long as they would.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from ..execution.program import Program
from ..graph import Node
from ..ops import lookup
from ..training.optim import Optimizer
from .inspect import symbols_at
from .summary import bytes_of

SHOWN = 12  # nodes of the printed list


@dataclass(frozen=True)
class Saved:
    """A tensor that the gradient reads back, and the node that writes it."""

    node: str
    op: str
    tensor: str
    bytes: int


@dataclass(frozen=True)
class StepMemory:
    """Bytes of one training step.  at: what symbolic sizes were taken to be.

    gradients: one for each trained parameter.  saved: in order of execution.  peak: the largest sum, over the nodes of
    forward and gradient, of what is alive there and of what is held throughout.
    """

    graph: str
    at: Mapping[str, int]
    parameters: int
    buffers: int
    optimizer: int
    batch: int
    gradients: int
    saved: tuple[Saved, ...]
    peak: int

    @property
    def saved_bytes(self) -> int:
        return sum(s.bytes for s in self.saved)

    @property
    def throughout(self) -> int:
        """Parameters, buffers, optimizer state and the batch."""
        return self.parameters + self.buffers + self.optimizer + self.batch

    def __str__(self) -> str:
        sizes = f" at {', '.join(f'{s}={n}' for s, n in self.at.items())}" if self.at else ""
        lines = [f"bytes of a training step of {self.graph}{sizes}, before anything is compiled"]
        for name in ("parameters", "buffers", "optimizer", "batch", "gradients"):
            lines.append(f"  {name:12} {getattr(self, name):16,}")
        lines.append(f"  {'saved':12} {self.saved_bytes:16,}  in {len(self.saved)} tensors, the largest:")
        for s in sorted(self.saved, key=lambda s: -s.bytes)[:SHOWN]:
            lines.append(f"    {s.bytes:16,}  {s.op:24} {s.node}")
        lines.append(f"  {'peak':12} {self.peak:16,}  results of element-wise nodes for such nodes are never written")
        return "\n".join(lines)


def step_memory(program: Program, optimizer: Optimizer, *, sizes: Mapping[str, int] | None = None) -> StepMemory:
    """The bytes that one step of this program takes.

    sizes: numbers for symbolic sizes; default 1 each.  Raises what the gradient raises: NoGradientRule, GraphError.
    """
    graph = program.graph
    at = symbols_at(graph, sizes)
    trained = {w: jax.ShapeDtypeStruct(a.shape, a.dtype) for w, a in graph.params.items() if w in program.wrt}
    state = jax.eval_shape(optimizer.init, trained)
    writer = graph.writer()
    saved = tuple(
        Saved(writer[t].name, writer[t].op, t, bytes_of(graph.value(t), at)) for t in program.saves if t in writer
    )
    held = StepMemory(
        graph.name,
        at,
        sum(a.nbytes for a in graph.params.values()),
        sum(a.nbytes for a in graph.buffers.values()),
        _bytes(state),
        sum(bytes_of(v, at) for v in graph.inputs.values()),
        _bytes(trained),
        saved,
        0,
    )
    return StepMemory(**{**vars(held), "peak": held.throughout + _peak(program, at)})


def _bytes(tree: Any) -> int:
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))


def _peak(program: Program, at: Mapping[str, int]) -> int:
    """The most bytes of tensors that nodes write and that are alive at once."""
    forward, backward = program.graph, program.gradient
    walk = [(forward, n) for n in forward.nodes] + [(backward, n) for n in backward.nodes]
    last = {i: k for k, (_, n) in enumerate(walk) for i in n.input_names}
    last |= dict.fromkeys([*forward.outputs, *program.updates.values(), *backward.outputs], len(walk))
    unwritten = _unwritten([n for _, n in walk], {t for t, k in last.items() if k == len(walk)})
    for _, node in reversed(walk):
        until = max((last[o] for o in node.output_names if o in unwritten), default=-1)
        last |= {i: max(last[i], until) for i in node.input_names}
    sizes: dict[str, int] = {}
    leaving: dict[int, list[str]] = {}
    alive = most = 0
    for k, (graph, node) in enumerate(walk):
        for o in node.output_names:
            if o not in sizes:
                sizes[o] = 0 if o in unwritten else bytes_of(graph.value(o), at)
                leaving.setdefault(last.get(o, k), []).append(o)
                alive += sizes[o]
        most = max(most, alive)
        alive -= sum(sizes[o] for o in leaving.pop(k, ()))
    return most


def _unwritten(nodes: Sequence[Node], results: Collection[str]) -> set[str]:
    """What element-wise nodes write for such nodes alone, and what a Barrier hands on.  A normalization that moves its
    statistics is one, but for them."""
    alone = {i: True for n in nodes for i in n.input_names}
    for n in nodes:
        if lookup(n.op).layout != "same":
            alone |= dict.fromkeys(n.input_names, False)
    found = {
        o
        for n in nodes
        if lookup(n.op).layout == "same" or lookup(n.op).updates
        for o in n.output_names
        if alone.get(o)
    }
    return found.difference(results).union(o for n in nodes if n.op == "Barrier" for o in n.output_names)
