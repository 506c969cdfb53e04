"""What was compiled, kept by what a graph is and not by who built it.

    call = PROGRAMS.get(("run", signature(graph), training), lambda: compile_it(graph))

One table for everybody, so that the same graph met again, by `run` or by a front end, is not traced and compiled anew.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property, wraps
from threading import RLock
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from ..dtypes import is_wide
from ..errors import NoGradientRule
from ..graph import Graph, Producer
from ..interpreter.constant_folding import compile_time_values
from ..ops import lookup
from .numpy_program import NumpyProgram
from .program import Arrays, Program, make_program

KEPT = 1024  # entries; the one that was not used for longest is dropped
_NONE = object()
DIGEST_BYTES = 256  # larger arrays are known by a digest, so that a key does not hold them


P = ParamSpec("P")
R = TypeVar("R")


class ProgramCache:
    """key -> what was compiled for it; the least recently used entry leaves first."""

    def __init__(self, kept: int = KEPT) -> None:
        self.kept = kept
        self._entries: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = RLock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The entry of this key; make() where there is none.  What make() raises is not kept."""
        with self._lock:
            found = self._entries.get(key, _NONE)
            if found is not _NONE:
                self._entries.move_to_end(key)
                return found
        made = make()  # outside the lock: it may compile for long, and ask for entries itself
        with self._lock:
            found = self._entries.setdefault(key, made)
            while len(self._entries) > self.kept:
                self._entries.popitem(last=False)
        return found

    def cached(self, make: Callable[P, R]) -> Callable[P, R]:
        """Decorator: what make(...) gives is kept by its arguments, which are hashable."""

        @wraps(make)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            key = (make, args, tuple(kwargs.items())) if kwargs else (make, args)
            return self.get(key, lambda: make(*args, **kwargs))

        return call

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


PROGRAMS = ProgramCache()


def signature(graph: Graph) -> Hashable:
    """Equal for graphs that compute the same, given the same tensors: constants count with their data."""
    return (
        tuple(graph.inputs.values()),
        tuple(graph.outputs),
        tuple((p.value, p.role, _frozen(p.data) if p.role == "constant" else None) for p in graph.producers.values()),
        tuple((n.op, n.domain, n.name, _frozen(n.inputs), n.outputs, _frozen(n.attrs)) for n in graph.nodes),
    )


def _frozen(x: Any) -> Hashable:
    if isinstance(x, np.ndarray | np.generic):
        data = np.ascontiguousarray(x)
        if data.dtype == object:
            return "object", data.shape, tuple(map(_frozen, data.ravel()))
        raw = (
            data.tobytes()
            if data.nbytes <= DIGEST_BYTES
            else hashlib.sha256(data.reshape(-1).view(np.uint8).data).digest()
        )
        return data.dtype.name, data.shape, raw
    if isinstance(x, Graph):
        return signature(x)
    if isinstance(x, dict):
        return tuple((k, _frozen(v)) for k, v in sorted(x.items()))
    if isinstance(x, list | tuple):
        return tuple(map(_frozen, x))
    return type(x).__name__, repr(x) if isinstance(x, float) else x  # -0.0 is not 0.0, and NaN is NaN


def without_data(graph: Graph) -> Graph:
    """The graph with zeros that take no memory for parameters and buffers: a kept program does not hold a model."""
    graph = graph.copy()
    graph.producers = {
        name: p
        if p.role == "constant"
        else Producer(name, np.broadcast_to(np.zeros((), p.data.dtype), p.data.shape), p.role)
        for name, p in graph.producers.items()
    }
    return graph


def holds_64_bits(graph: Graph) -> bool:
    """Does a call of this graph take, keep or return 64-bit data?  Shapes and other metadata do not count."""
    known = compile_time_values(graph)
    tensors = [
        *graph.inputs.values(),
        *(graph.value(o) for o in graph.outputs),
        *(p.value for p in graph.producers.values() if p.role != "constant"),
    ]
    return any(is_wide(v.dtype) for v in tensors if v.name not in known)


def is_random(graph: Graph) -> bool:
    """Does some node draw random numbers?"""
    return any(lookup(n.op).random for n in graph.nodes)


# ---- a graph whose gradient is asked for in several ways ----------------------------------------------------

Plan = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # seeds, wrt, tensors to show besides the outputs


def compiled_graph(graph: Graph) -> CompiledGraph:
    """The CompiledGraph of every graph of this signature.  Raises as make_program."""
    key = signature(graph)
    return PROGRAMS.get(("graph", key), lambda: CompiledGraph(graph, key))


class CompiledGraph:
    """Jitted functions of one graph.  A plan says from where a gradient starts, for what, and what is to be shown.

    signature: equal for equal graphs; wide: 64-bit data goes in or out; random: a call needs (seed, count).
    """

    def __init__(self, graph: Graph, key: Hashable) -> None:
        base = make_program(without_data(graph), seeds=[], wrt=[])
        self.signature, self.graph, self._layout = key, base.graph, base.layout
        self.wide, self.random = holds_64_bits(self.graph), is_random(self.graph)
        self._programs: dict[Plan, Program] = {}
        self._forwards: dict[Any, Any] = {}
        self._backwards: dict[Any, Any] = {}

    def program(self, plan: Plan) -> Program:
        if plan not in self._programs:
            seeds, wrt, shown = plan
            graph = self.graph.copy()
            graph.outputs += [s for s in shown if s not in graph.outputs]
            self._programs[plan] = Program(graph, seeds, wrt, self._layout, "zeros")
        return self._programs[plan]

    def forward(
        self,
        plan: Plan,
        save: bool,
        backend: str,
        params: Arrays,
        buffers: Arrays,
        batch: Arrays,
        seed: int,
        count: int,
    ) -> tuple[Arrays, Arrays, Arrays]:
        """(outputs, saved, the buffers that the pass updates); random numbers are those of (seed, count)."""
        program = self.program(plan)
        if backend == "numpy":
            key = self._key(seed, count)
            outputs, saved, updated = NumpyProgram(program).forward(params, buffers, batch, key, save=save)
            return outputs, saved, {b: updated[b] for b in program.updates}
        if (plan, save) not in self._forwards:
            updates = tuple(program.updates)

            def forward(params: Arrays, buffers: Arrays, batch: Arrays, seed: Any, count: Any) -> tuple:
                outputs, saved, updated = program.forward(params, buffers, batch, self._key(seed, count), save=save)
                return outputs, saved, {b: updated[b] for b in updates}

            self._forwards[plan, save] = jax.jit(forward)
        with jax.enable_x64(self.wide):
            return self._forwards[plan, save](params, buffers, batch, np.uint32(seed), np.uint32(count))

    def _key(self, seed: Any, count: Any) -> Any:
        return jax.random.fold_in(jax.random.key(seed), count) if self.random else None

    def backward(
        self, plan: Plan, backend: str, params: Arrays, saved: Arrays, seeds: Arrays, before: Arrays
    ) -> Arrays:
        """{name: gradient}; before: what to add it to, None for nothing."""
        program = self.program(plan)
        if backend == "numpy":
            numpy = NumpyProgram(program)
            try:
                fresh = numpy.backward(params, saved, seeds)
            except NoGradientRule:  # no plain backward for some operator: the rules, executed in NumPy
                fresh = numpy.backward_from_gradient_graph({**params, **saved}, seeds)
            return {w: g if before[w] is None else before[w] + g for w, g in fresh.items()}
        if plan not in self._backwards:

            def backward(params: Arrays, saved: Arrays, seeds: Arrays, before: Arrays) -> Arrays:
                fresh = program.backward(params, saved, seeds)
                return {w: g if before[w] is None else before[w] + g for w, g in fresh.items()}

            self._backwards[plan] = jax.jit(backward)
        with jax.enable_x64(self.wide):
            return self._backwards[plan](params, saved, seeds, before)

    @cached_property
    def differentiable(self) -> tuple[str, ...]:
        return tuple(o for o in self.graph.outputs if self.graph.value(o).is_float)
