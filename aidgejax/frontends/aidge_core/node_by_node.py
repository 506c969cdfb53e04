"""Running a graph one node at a time: what graphs with operators of Python's own need.

Each other node is a compiled program of its own; one compiled program for all is `lowering` and `execution`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...execution.cache import Plan
from .implementation import late
from .lowering import Lowered, lower, static_shape
from .node import Node, Port
from .operator import Operator
from .random import Generator
from .tensor import Tensor

NOTHING: Plan = ((), (), ())


class OneNode:
    """A node with the Producers that feed it, as `lower` takes a graph."""

    def __init__(self, node: Node) -> None:
        feeding = [p.node for p in node.sources if p and p.node.type() == "Producer"]
        self.node = node
        self.members = dict.fromkeys([*feeding, node])

    def name(self) -> str:
        return self.node.name() or self.node.type()

    def execution_order(self) -> list[Node]:
        return list(self.members)

    def get_ordered_outputs(self) -> list[Port]:
        return [Port(self.node, k) for k in range(self.node.get_nb_outputs())]

    def feeds(self) -> dict[Port, Tensor]:
        """What its inputs hold."""
        found: dict[Port, Tensor] = {}
        for k in range(self.node.get_nb_inputs()):
            source, tensor = self.node.sources[k], self.node.get_operator().get_input(k)
            if tensor is not None and not (source and source.node in self.members):
                found[Port(self.node, k)] = tensor
        return found


def infer(node: Node) -> bool:
    """Give the outputs of a node their shapes; False where they are unknown."""
    op = node.get_operator()
    inputs = [t for t in op.get_inputs() if t is not None]
    dims = op.output_dims([t.dims for t in inputs])
    if dims is None and not op.has_formula:
        return False
    if dims is not None:
        kinds = [t.cell.dtype for t in inputs]
        found = [(tuple(d), kinds[0] if kinds else np.dtype("float32")) for d in dims]
    else:
        low = lower(OneNode(node), OneNode(node).feeds())
        values = [low.compiled.graph.value(o) for o in low.outputs]
        found = [(static_shape(v), np.dtype(v.dtype)) for v in values]
    for tensor, (shape, dtype) in zip(op.get_outputs(), found, strict=False):
        if tensor.cell.shape != shape or tensor.cell.dtype != dtype:
            tensor.cell.clear(shape, dtype)
            tensor.gradient = None
    return True


def forward_dims(view: Any, dims: Sequence[Sequence[int]]) -> bool:
    """As lowering.forward_dims, one node after the other; False from the first whose shape is unknown."""
    for k, (node, i) in enumerate(view.get_ordered_inputs()):
        given = node.operator.given_inputs
        if k < len(dims) and (i not in given or given[i].dims != list(dims[k])):
            given[i] = Tensor(dims=dims[k])
    return all(infer(n) for n in view.execution_order() if n.type() != "Producer")


def is_opaque(view: Any) -> bool:
    """Does Python compute some node?"""
    return any(n.operator.is_opaque for n in view.members)


def start(view: Any) -> None:
    """Set what the first forward sets, by running the graph once, node by node; its inputs are connected."""
    if any(n.operator.is_to_be_started for n in view.members):
        EagerRun(view.execution_order()).forward()


def connect_and_start(view: Any, inputs: Sequence[Tensor]) -> None:
    """As start, on these inputs."""
    if any(n.operator.is_to_be_started for n in view.members):
        for (node, k), tensor in zip(view.get_ordered_inputs(), inputs, strict=True):
            node.operator.given_inputs[k] = tensor
        start(view)


@late("forward_dims")
def infer_alone(op: Operator) -> bool:
    """Operator.forward_dims()."""
    return infer(op.node if op.node is not None else Node(op))


@late("forward")
def run_alone(op: Operator) -> None:
    """Operator.forward()."""
    if op.impl is not None:
        op.impl.forward()
        return
    EagerRun([op.node if op.node is not None else Node(op)]).forward()


class EagerRun:
    """A forward pass, node by node, and the way back through it."""

    def __init__(self, order: list[Node]) -> None:
        self.order = [n for n in order if n.type() != "Producer"]
        self.passes: dict[Node, tuple[Lowered, int]] = {}

    def forward(self) -> None:
        for node in self.order:
            self.run(node)

    def run(self, node: Node) -> None:
        op = node.get_operator()
        if op.is_to_be_started:
            op.start()
        if op.impl is not None:
            if infer(node):
                for t in op.get_outputs():
                    if not t.has_data():
                        t.put(np.zeros(t.cell.shape, t.cell.dtype))
            op.impl.forward()
            return
        view = OneNode(node)
        low = lower(view, view.feeds())
        count = Generator.draw() if low.compiled.random else 0
        self.passes[node] = low, count
        outputs, _, updated = self._again(low, count, NOTHING, False)
        for name, array in updated.items():
            low.buffers[name].put(array)
        for name, tensor in zip(low.outputs, op.get_outputs(), strict=True):
            tensor.put(outputs[name])

    def _again(self, low: Lowered, count: int, plan: Plan, save: bool) -> tuple[dict, dict, dict]:
        params, buffers, batch = self._arrays(low)
        backend = self._backend(low)
        return low.compiled.forward(plan, save, backend, params, buffers, batch, Generator.seed(), count)

    @staticmethod
    def _backend(low: Lowered) -> str:
        owners = [n.get_operator().backend_name for n in low.owners.values()]
        return "numpy" if "numpy" in owners else "cpu"

    def _arrays(self, low: Lowered) -> tuple[dict, dict, dict]:
        numpy = self._backend(low) == "numpy"

        def take(t: Tensor) -> Any:
            return t.cell.read() if numpy else t.cell.device_array()

        batch = {}
        for name, node, k in low.inputs:
            tensor = node.get_operator().get_input(k)
            if tensor is not None:
                batch[name] = take(tensor)
        return (
            {name: take(t) for name, t in low.params.items()},
            {name: take(t) for name, t in low.buffers.items()},
            batch,
        )

    def backward(self) -> None:
        for node in self.order:
            for tensor in node.get_operator().get_outputs():
                if tensor.gradient is not None and tensor.gradient.collected is not None:
                    tensor.gradient.set_to_zero()
        for node in reversed(self.order):
            op = node.get_operator()
            reached = [t.gradient is not None and not t.gradient.is_zero() for t in op.get_outputs()]
            if not any(reached):
                continue
            if op.impl is not None:
                for t in op.get_inputs():
                    if t is not None:
                        t.own_gradient()
                op.impl.backward()
                for t in op.get_inputs():
                    if t is not None and t.gradient is not None:
                        t.gradient.collected = t.gradient
            else:
                self._backward(node, reached)

    def _backward(self, node: Node, reached: list[bool]) -> None:
        low, count = self.passes[node]
        inputs: dict[str, Tensor] = {}
        for name, owner, k in low.inputs:
            tensor = owner.get_operator().get_input(k)
            if tensor is not None and tensor.cell.dtype.kind == "f":
                inputs[name] = tensor
        tensors = {**low.params, **inputs}
        outputs = zip(low.outputs, node.get_operator().get_outputs(), reached, strict=True)
        seeds = {name: t.own_gradient().array() for name, t, is_reached in outputs if is_reached}
        plan = (tuple(seeds), tuple(tensors), ())
        saved = self._again(low, count, plan, True)[1]
        params = self._arrays(low)[0]
        before = {}
        for name, tensor in tensors.items():
            grad = tensor.own_gradient()
            before[name] = None if grad.is_zero() else grad.array()
        found = low.compiled.backward(plan, self._backend(low), params, saved, seeds, before)
        for name, total in found.items():
            tensors[name].own_gradient().collect(total, total)
