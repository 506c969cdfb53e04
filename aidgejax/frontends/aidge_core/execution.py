"""Schedulers: forward, backward, and the life of gradients between them (see the docstring of SequentialScheduler)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from ...errors import AidgeJaxError
from .._shared.tensor_cell import moved_to, on_device
from .absent import AbsentMethods
from .attributes import current_edits
from .diagrams import write_gantt
from .errors import OrderError, TensorError, TensorTypeError
from .graphview import GraphView
from .lowering import Lowered, is_kept, lower, place_of_model, require_backend, static_shape
from .node import Node, Port
from .node_by_node import EagerRun, is_opaque, start
from .random import Generator
from .scheduling import SchedulingElement, SchedulingPolicy, in_order, sharing, shown
from .tensor import Gradient, Tensor, as_tensor


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


class Scheduler(AbsentMethods):
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
        self._learned: dict[Any, Any] = {}  # signature of a compiled graph -> the plan of its last backward pass
        self._largest: dict[Any, int] = {}
        self._eager: EagerRun | None = None
        self._seconds: dict[str, float] = {}

    def graph_view(self) -> GraphView:
        return self._view

    # ---- forward ----------------------------------------------------------------------------------------

    def forward(self, forward_dims: bool = True, data: Sequence[Any] = ()) -> list[Tensor]:
        """Run the graph on `data`: Tensors, or arrays (torch tensors too), one per graph input, in order.

        forward_dims=False: the caller promises that batches are not larger than those seen so far (a shorter last
        batch is fine); a larger one is refused.  Without data the inputs of the last call are used again.
        Returns the output tensors: live ones, which the next forward overwrites.
        """
        began = perf_counter()
        found = self._forward(forward_dims, data)
        self._seconds = {"forward": perf_counter() - began}
        return found

    def _forward(self, forward_dims: bool, data: Sequence[Any]) -> list[Tensor]:
        backend = require_backend(self._view)
        feeds = self._connected(data)
        if is_opaque(self._view):
            return self._node_by_node()
        start(self._view)
        self._eager = None
        low = self._lower(feeds, backend)
        self._check_batch(low, feeds, forward_dims)
        place = place_of_model(self._view)
        take = (lambda t: t.cell.read()) if backend == "numpy" else (lambda t: moved_to(place, t.array()))
        params = {k: self._producer(low, k, t, take) for k, t in low.params.items()}
        buffers = {k: self._producer(low, k, t, take) for k, t in low.buffers.items()}
        tensors = {name: feeds[Port(node, k)] for name, node, k in low.inputs}
        batch = {name: take(t) for name, t in tensors.items()}
        for tensor in low.resets:
            if tensor.gradient is not None:
                tensor.gradient.set_to_zero()
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
                tensor.cell.defer(static_shape(known), known.dtype, partial(run.value, name))
            tensor.on_grad_access = self._touched
        return [low.values[o] for o in low.outputs]

    def _node_by_node(self) -> list[Tensor]:
        """The forward of a graph of which Python computes a part."""
        for node in self._view.members:
            if not is_kept(node):
                for tensor in node.operator.get_outputs():
                    if tensor.gradient is not None:
                        tensor.gradient.set_to_zero()
        self._run, self._eager = None, EagerRun(self._view.execution_order())
        self._eager.forward()
        return [n.operator.get_output(k) for n, k in self._view.get_ordered_outputs()]

    def _connected(self, data: Sequence[Any]) -> dict[Port, Tensor]:
        """{(node, input): tensor} of all graph inputs."""
        if isinstance(data, Tensor) or not isinstance(data, list | tuple):
            raise TensorTypeError(f"data is {type(data).__name__}: expected a list with one Tensor per graph input")
        ports = self._view.get_ordered_inputs()
        feeds: dict[Port, Tensor] = {}
        for n, (node, k) in enumerate(ports):
            if n < len(data):
                tensor = _input(data[n], n, node.operator)
                node.operator.given_inputs[k] = tensor
            else:
                parent = node.sources[k]
                tensor = node.operator.given_inputs.get(k) or (parent and parent[0].operator.get_output(parent[1]))
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
            feeds[Port(node, k)] = tensor
        for node in self._view.members:  # optional inputs that somebody set
            for k, tensor in node.operator.given_inputs.items():
                if node.sources[k] is None and (node, k) not in feeds:
                    feeds[Port(node, k)] = tensor
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
            tuple((n.id(), k, t.cell.shape, t.cell.dtype) for (n, k), t in feeds.items()),
            tuple((t.cell.shape, t.cell.dtype) for t in (*low.params.values(), *low.buffers.values())),
            tuple(low.owners[n].operator.get_output(0).cell.read().tobytes() for n in static),
            tuple(
                t.cell.read().tobytes()
                for (n, k), t in feeds.items()
                if (n, k) not in {(node, i) for _, node, i in low.inputs}
            ),
        )

    def _check_batch(self, low: Lowered, feeds: dict, forward_dims: bool) -> None:
        for (node, k), tensor in feeds.items():
            rows = tensor.cell.shape[0] if tensor.cell.shape else 1
            port = Port(node, k)
            known = self._largest.get(port) or (self._view.known_shapes.get(port) or (0,))[0]
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
        learned = self._learned.get(low.compiled.signature)
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
        began = perf_counter()
        if self._eager is not None:
            self._eager.backward()
        else:
            self._backward()
        self._seconds["backward"] = perf_counter() - began

    def _backward(self) -> None:
        run = self._run
        if run is None:
            raise OrderError("backward() before forward(): there is nothing to go back through")
        low = run.low
        seeds = self._seeds(low)
        plan = (tuple(seeds), self._wrt(low, run.inputs), ())
        tensors = {**low.params, **low.values, **run.inputs}
        if not seeds:
            for t in low.params.values():
                t.own_gradient()
            return
        before: dict[str, Any] = {}
        for w in plan[1]:
            grad = tensors[w].own_gradient()
            if w in seeds:  # its seed is part of what the pass gives
                before[w] = None if grad.collected is None else grad.array() - seeds[w]
            elif grad.is_zero() and w not in low.kept:
                before[w] = None
            else:
                before[w] = zeros_like(grad, run.backend) if grad.is_zero() else grad.array()
        if run.plan != plan:
            run.plan, run.saved = plan, run.again(plan, True)[1]
            self._learned[low.compiled.signature] = plan
        found = low.compiled.backward(plan, run.backend, run.params, run.saved or {}, seeds, before)
        for w, total in found.items():
            tensors[w].own_gradient().collect(total, total)
        run.passes.append(seeds)

    def _seeds(self, low: Lowered) -> dict[str, Any]:
        found = {}
        for name, tensor in low.values.items():
            if tensor.gradient is not None and (start := tensor.gradient.start()) is not None:
                found[name] = start
        return found

    def _wrt(self, low: Lowered, inputs: dict[str, Tensor] | None = None) -> tuple[str, ...]:
        wanted = list(low.params)
        if inputs is None:
            given = ((name, node.operator.given_inputs.get(k)) for name, node, k in low.inputs)
            inputs = {name: t for name, t in given if t is not None}
        wanted += [name for name, t in inputs.items() if t.gradient is not None and t.cell.dtype.kind == "f"]
        outputs = set(low.outputs)
        wanted += [
            name
            for name, t in low.values.items()
            if t.gradient is not None and t.gradient.accessed and (name not in outputs or name in low.read)
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
        tensor.own_gradient().collect(total, total)

    # ---- schedules --------------------------------------------------------------------------------------

    def generate_scheduling(self) -> None:
        self._view.execution_order()

    def reset_scheduling(self) -> None:
        self._run = self._eager = None
        self._seconds.clear()

    clear_scheduling = reset_scheduling

    def set_scheduling_policy(self, policy: SchedulingPolicy) -> None:
        """Accepted: XLA decides what runs when; lists and diagrams show one order in which it may."""
        SchedulingPolicy(policy)

    def save_and_restore_inputs(self, graph_view: Any) -> None:
        """Nothing to do: no node overwrites its inputs."""

    def tag_fork_branches(self, allow_shared_producers: bool = False) -> None:
        """Annotate nodes behind an output with several readers: "schedule.branch" is the reader's number."""
        for node in self._view.members:
            for ports in node.outputs():
                for k, port in enumerate(ports if len(ports) > 1 else ()):
                    if port.node in self._view.members and (allow_shared_producers or node.type() != "Producer"):
                        port.node.annotations().set_attr("schedule.branch", k)

    def get_sequential_static_scheduling(
        self, step: int = 0, sorting: SchedulingPolicy = SchedulingPolicy.Default
    ) -> list[Node]:
        return self._view.execution_order()

    def get_static_scheduling(self, step: int = 0) -> list[SchedulingElement]:
        """The nodes in the order in which they run, one per unit of time."""
        return in_order(self._view.execution_order())

    def get_forward_scheduling(self) -> list[SchedulingElement]:
        """The nodes of the last forward, with their times; empty before any."""
        return self._timed("forward", self._view.execution_order())

    def get_backward_scheduling(self) -> list[SchedulingElement]:
        """The same for the last backward, in its order."""
        return self._timed("backward", self._view.execution_order()[::-1])

    def _timed(self, which: str, order: list[Node]) -> list[SchedulingElement]:
        return sharing(order, self._seconds[which]) if which in self._seconds else []

    def save_scheduling_diagram(self, file_name: str, ignore_producers: bool = False) -> None:
        """Gantt diagrams of the last passes: <file_name>_forward.mmd, and <file_name>_backward.mmd if there was one."""
        write_gantt(f"{file_name}_forward", shown(self.get_forward_scheduling(), ignore_producers))
        if "backward" in self._seconds:
            write_gantt(f"{file_name}_backward", shown(self.get_backward_scheduling(), ignore_producers))

    def save_static_scheduling_diagram(self, file_name: str, ignore_producers: bool = False) -> None:
        """A Gantt diagram of the static scheduling: <file_name>.mmd."""
        write_gantt(file_name, shown(self.get_static_scheduling(), ignore_producers))

    def save_factorized_static_scheduling_diagram(
        self, file_name: str, ignore_producers: bool = False, min_repeat: int = 2
    ) -> None:
        """The same diagram: repeated parts are written out."""
        self.save_static_scheduling_diagram(file_name, ignore_producers)


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
    if op.backend_name == "numpy":
        return Tensor(array)
    tensor = Tensor(dims=array.shape, kind=array.dtype)
    tensor.backend_name, tensor.cell.place = "cpu", op.place
    tensor.put(on_device(array, op.place))
    return tensor


_ZEROS: dict[Any, Any] = {}


def zeros_like(grad: Gradient, backend: str) -> Any:
    """One array of zeros per shape, shared: nothing writes into it."""
    if backend == "numpy":
        return np.zeros(grad.owner.cell.shape, grad.owner.cell.dtype)
    key = (grad.owner.cell.shape, grad.owner.cell.dtype, grad.cell.place)
    if key not in _ZEROS:
        if len(_ZEROS) > 1000:
            _ZEROS.clear()
        _ZEROS[key] = on_device(np.zeros(key[0], key[1]), grad.cell.place)
    return _ZEROS[key]
