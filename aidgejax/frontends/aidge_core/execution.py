"""Schedulers: forward, backward, and the life of gradients between them (see the docstring of SequentialScheduler)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ...errors import AidgeJaxError
from ._errors import GraphViewError, OrderError, TensorError, TensorTypeError
from .attributes import current_edits
from .graphview import GraphView, require_backend
from .lowering import Lowered, lower
from .node import Node
from .random import Generator
from .tensor import Gradient, Tensor, as_tensor, on_device


@dataclass
class Run:
    """A forward pass: enough to go back through it, more than once, and to look inside."""

    low: Lowered
    backend: str
    params: dict
    buffers: dict
    batch: dict
    inputs: dict[str, Tensor]
    count: int
    plan: Any = None
    saved: dict | None = None
    passes: list[dict] = field(default_factory=list)
    inside: dict | None = None

    def again(self, plan: Any, save: bool) -> tuple[dict, dict, dict]:
        """The same pass once more: same data, same parameters, same random numbers."""
        return self.low.compiled.forward(
            plan, save, self.backend, self.params, self.buffers, self.batch, Generator.seed(), self.count
        )

    def value(self, name: str) -> Any:
        """A tensor inside the graph, computed when somebody looks; then all of them are."""
        if self.inside is None:
            self.inside = self.again(((), (), tuple(self.low.values)), False)[0]
        declared = np.dtype(self.low.compiled.graph.value(name).dtype)  # int64, which JAX keeps in 32 bits by default
        array = self.inside[name]
        return array if array.dtype == declared else np.asarray(array).astype(declared)


class Scheduler:
    """What the schedulers share: scheduler.forward(data=[...]), scheduler.backward().

    Before a node runs forward, the gradients of its outputs are set to zero, Producers included, unless its annotation
    "grad.no_reset" is true; gradients of graph inputs are never reset.  Each backward pass adds its gradient to what is
    there.  It starts where gradients were written since the forward: by a loss, or by hand (`pred.grad[0] = 1.0`).
    A graph input gets a gradient if its `.grad` was touched before.  The output of a node inside the graph has one as
    soon as somebody looks at it.
    """

    def __init__(self, graph_view: GraphView, reset_cp_model: bool = True) -> None:
        if not isinstance(graph_view, GraphView):
            raise TensorTypeError(f"a scheduler runs a GraphView, got {type(graph_view).__name__}")
        self._view = graph_view
        self._run: Run | None = None
        self._lowered: tuple[Any, Lowered] | None = None
        self._learned: dict[int, Any] = {}  # id of a compiled graph -> the plan of its last backward pass
        self._largest: dict[Any, int] = {}
        self._counter = itertools.count()

    def graph_view(self) -> GraphView:
        return self._view

    # ---- forward ----------------------------------------------------------------------------------------

    def forward(self, forward_dims: bool = True, data: Sequence[Any] = ()) -> list[Tensor]:
        """Run the graph on `data`: Tensors, or arrays (torch tensors too), one per graph input, in order.

        forward_dims=False: the caller promises that batches are not larger than those seen so far (a shorter last
        batch is fine); a larger one is refused.  Without data the inputs of the last call are used again.
        Returns the output tensors: live ones, which the next forward overwrites.
        """
        backend = require_backend(self._view)
        feeds = self._connected(data)
        low = self._lower(feeds, backend)
        self._check_batch(low, feeds, forward_dims)
        take = (lambda t: t._look()) if backend == "numpy" else (lambda t: t.array())
        params = {k: self._producer(low, k, t, take) for k, t in low.params.items()}
        buffers = {k: self._producer(low, k, t, take) for k, t in low.buffers.items()}
        tensors = {name: feeds[node, k] for name, node, k in low.inputs}
        batch = {name: take(t) for name, t in tensors.items()}
        for tensor in low.resets:
            if tensor._grad is not None:
                tensor._grad.set_to_zero()
        run = Run(low, backend, params, buffers, batch, tensors, Generator.draw() if low.compiled.random else 0)
        run.plan = self._expected(low)
        outputs, run.saved, updated = run.again(run.plan or ((), (), ()), run.plan is not None)
        for name, array in updated.items():
            low.buffers[name].put(array)
        self._run = run
        for name, tensor in low.values.items():
            if name in outputs:
                tensor.put(outputs[name])
            else:
                known = low.compiled.graph.value(name)
                tensor.promise(known.shape, known.dtype, partial(run.value, name))
            tensor._on_touch = self._touched
        return [low.values[o] for o in low.outputs]

    def _connected(self, data: Sequence[Any]) -> dict[tuple[Node, int], Tensor]:
        """{(node, input): tensor} of all graph inputs."""
        if isinstance(data, Tensor) or not isinstance(data, list | tuple):
            raise TensorTypeError(f"data is {type(data).__name__}: expected a list with one Tensor per graph input")
        ports = self._view.get_ordered_inputs()
        feeds = {}
        for n, (node, k) in enumerate(ports):
            if n < len(data):
                tensor = _input(data[n], n, node._op)
                node._op._given[k] = tensor
            else:
                parent = node._parents[k]
                tensor = node._op._given.get(k) or (parent and parent[0]._op.get_output(parent[1]))
                if tensor is None:
                    raise OrderError(
                        f"the graph has {len(ports)} input(s), data gives {len(data)}: input {k} of node "
                        f"{node.name()!r} ({node.type()}) is missing"
                    )
            if not tensor.has_data():
                raise TensorError(
                    f"data[{n}], for input {k} of node {node.name()!r} ({node.type()}), is an empty "
                    f"Tensor: it has no data"
                )
            feeds[node, k] = tensor
        for node in self._view._nodes:  # optional inputs that somebody set
            for k, tensor in node._op._given.items():
                if node._parents[k] is None and (node, k) not in feeds:
                    feeds[node, k] = tensor
        return feeds

    def connect_inputs(self, data: Sequence[Any]) -> None:
        self._connected(data)

    def _lower(self, feeds: dict, backend: str) -> Lowered:
        if self._lowered is not None:
            key, low = self._lowered
            if key == self._key(low, feeds):
                return low
        low = lower(self._view, feeds)
        self._lowered = self._key(low, feeds), low
        low.compiled  # noqa: B018  (raises here, naming the node, where shapes do not fit)
        return low

    def _key(self, low: Lowered, feeds: dict) -> Any:
        static = [n for n, p in low.graph.producers.items() if p.role == "constant" and n in low.owners]
        return (
            current_edits(),
            tuple((n.id(), k, t._dims, t._kind) for (n, k), t in feeds.items()),
            tuple((t._dims, t._kind) for t in (*low.params.values(), *low.buffers.values())),
            tuple(low.owners[n]._op.get_output(0)._look().tobytes() for n in static),
            tuple(
                t._look().tobytes()
                for (n, k), t in feeds.items()
                if (n, k) not in {(node, i) for _, node, i in low.inputs}
            ),
        )

    def _check_batch(self, low: Lowered, feeds: dict, forward_dims: bool) -> None:
        for (node, k), tensor in feeds.items():
            rows = tensor._dims[0] if tensor._dims else 1
            port = (node, k)
            known = self._largest.get(port) or getattr(self._view, "_dims_known", {}).get(port, 0)
            if not forward_dims and known and rows > known:
                raise TensorError(
                    f"forward(False): the batch has {rows} rows, the largest so far had {known}; "
                    f"call forward(True, data=...) when shapes grow"
                )
            self._largest[port] = max(rows, known)

    @staticmethod
    def _producer(low: Lowered, name: str, tensor: Tensor, take: Any) -> Any:
        if not tensor.has_data():
            node = low.owners[name]
            raise OrderError(f"Producer {node.name()!r} has no data: call set_backend, then fill it")
        return take(tensor)

    def _expected(self, low: Lowered) -> Any:
        """The plan that the coming backward pass will probably have, so that the forward saves what it reads."""
        learned = self._learned.get(id(low.compiled))
        if learned is not None:
            return learned
        if not low.kept or not low.compiled.differentiable:
            return None
        plan = (low.compiled.differentiable, self._wrt(low), ())
        try:
            low.compiled.program(plan).gradient  # noqa: B018
        except AidgeJaxError:  # nobody may want this gradient; backward will say so where somebody does
            return None
        return plan

    # ---- backward ---------------------------------------------------------------------------------------

    def backward(self) -> None:
        """Add the gradient of this forward pass to Producers, touched inputs, and whatever else has a `.grad`.

        Raises OrderError before any forward, NoGradientRule where an operator has no gradient.
        """
        run = self._run
        if run is None:
            raise OrderError("backward() before forward(): there is nothing to go back through")
        low = run.low
        seeds = self._seeds(low)
        plan = (tuple(seeds), self._wrt(low, run.inputs), ())
        tensors = {**low.params, **low.values, **run.inputs}
        if not seeds:
            for t in low.params.values():
                _gradient_of(t)
            return
        before, own = {}, {}
        for w in plan[1]:
            grad = _gradient_of(tensors[w])
            if w in seeds:  # its seed is part of what the pass gives
                own[w], before[w] = seeds[w], None if grad._collected is None else grad.array() - seeds[w]
            elif grad.is_zero() and w not in low.kept:
                before[w] = None
            else:
                before[w] = _zeros_like(grad, run.backend) if grad.is_zero() else grad.array()
        if run.plan != plan:
            run.plan, (_, run.saved, _) = plan, run.again(plan, True)
            self._learned[id(low.compiled)] = plan
        found = low.compiled.backward(plan, run.backend, run.params, run.saved, seeds, before)
        for w, total in found.items():
            tensors[w]._grad.collect(total, total)
        run.passes.append(seeds)

    def _seeds(self, low: Lowered) -> dict[str, Any]:
        found = {}
        for name, tensor in low.values.items():
            if tensor._grad is not None and (start := tensor._grad.start()) is not None:
                found[name] = start
        return found

    def _wrt(self, low: Lowered, inputs: dict[str, Tensor] | None = None) -> tuple[str, ...]:
        wanted = list(low.params)
        for name, t in (inputs or {}).items():
            if t._grad is not None and t._kind.kind == "f":
                wanted.append(name)
        if inputs is None:
            wanted += [
                name
                for name, node, k in low.inputs
                if (t := node._op._given.get(k)) is not None and t._grad is not None and t._kind.kind == "f"
            ]
        outputs = set(low.outputs)
        wanted += [
            name
            for name, t in low.values.items()
            if t._grad is not None and t._grad._touched and (name not in outputs or name in low.read)
        ]
        return tuple(dict.fromkeys(wanted))

    def _touched(self, tensor: Tensor) -> None:
        """Somebody looks at the gradient inside the graph: catch up with the passes since the forward."""
        run = self._run
        if run is None or not run.passes:
            return
        name = next((k for k, t in run.low.values.items() if t is tensor), None)
        if name is None or name in run.low.outputs:
            return
        total = None
        for seeds in run.passes:
            plan = (tuple(seeds), (name,), ())
            saved = run.again(plan, True)[1]
            total = run.low.compiled.backward(plan, run.backend, run.params, saved, seeds, {name: total})[name]
        tensor._grad.collect(total, total)

    # ---- schedules --------------------------------------------------------------------------------------

    def generate_scheduling(self) -> None:
        self._view._execution_order()

    def reset_scheduling(self) -> None:
        self._run = None

    clear_scheduling = reset_scheduling

    def get_sequential_static_scheduling(self, step: int = 0) -> list[Node]:
        return self._view._execution_order()


class SequentialScheduler(Scheduler):
    __doc__ = Scheduler.__doc__


class ParallelScheduler(Scheduler):
    """The same: what runs side by side is XLA's decision."""


def _input(data: Any, n: int, op: Any) -> Tensor:
    if isinstance(data, Tensor):
        return data
    if data is None or isinstance(data, list | tuple | str) or not hasattr(data, "__array__"):
        return as_tensor(data, f"data[{n}]")
    array = np.asarray(data)
    if op._backend == "numpy":
        return Tensor(array)
    tensor = Tensor(dims=array.shape, kind=array.dtype)
    tensor._backend, tensor._device = "cpu", on_device(array, op._place)
    return tensor


def _gradient_of(tensor: Tensor) -> Gradient:
    if tensor._grad is None:
        tensor._grad = Gradient(tensor)
    return tensor._grad


_ZEROS: dict[Any, Any] = {}


def _zeros_like(grad: Gradient, backend: str) -> Any:
    """One array of zeros per shape, shared: nothing writes into it."""
    if backend == "numpy":
        return np.zeros(grad._owner._dims, grad._owner._kind)
    key = (grad._owner._dims, grad._owner._kind, grad._place)
    if key not in _ZEROS:
        if len(_ZEROS) > 1000:
            _ZEROS.clear()
        _ZEROS[key] = on_device(np.zeros(key[0], key[1]), grad._place)
    return _ZEROS[key]


def forward_dims(view: GraphView, dims: list[tuple[int, ...]]) -> bool:
    """GraphView.forward_dims."""
    ports = view.get_ordered_inputs()
    kinds = {
        t._kind
        for n in view._nodes
        if n.type() == "Producer"
        for t in [n.get_operator().get_output(0)]
        if t._kind.kind == "f"
    }
    feeds: dict[Any, Any] = {}
    for n, (node, k) in enumerate(ports):
        given = node._op._given.get(k)
        parent = node._parents[k]
        if n < len(dims) and dims[n]:
            feeds[node, k] = given if given is not None and given._dims == dims[n] and given.has_data() else dims[n]
        elif given is not None:
            feeds[node, k] = given
        elif parent and parent[0]._op.get_output(parent[1])._dims:
            feeds[node, k] = parent[0]._op.get_output(parent[1])
        else:
            return False
    if any(math.prod(f) <= 0 for f in feeds.values() if isinstance(f, tuple)):
        raise GraphViewError(f"forward_dims: {dims} has a size below 1")
    low = lower(view, feeds, kinds.pop() if len(kinds) == 1 else None)
    graph = low.compiled.graph
    for name, tensor in low.values.items():
        known = graph.value(name)
        if tensor._dims != known.shape or not tensor.has_data():
            tensor._host = tensor._device = tensor._promise = tensor._grad = None
            tensor._dims, tensor._kind = tuple(known.shape), np.dtype(known.dtype)
    view._shapes_known = {port: f._dims if isinstance(f, Tensor) else f for port, f in feeds.items()}
    view._dims_known = {
        port: (f._dims if isinstance(f, Tensor) else f)[0]
        for port, f in feeds.items()
        if (f._dims if isinstance(f, Tensor) else f)
    }
    return True
