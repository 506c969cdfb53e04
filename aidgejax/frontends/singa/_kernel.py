"""One operation of SINGA's as a small Graph, compiled once per kind, attributes, shapes and dtypes.

`write(op, *values, **attributes)` writes the operation as nodes of a graph and returns its output, or several;
its gradient comes from the rules that stand beside those operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...execution.cache import ProgramCache
from ...execution.program import Program, make_program
from ...graph import Graph, Value
from ...ops import lookup, rows_are_split

Spec = tuple[tuple[int, ...], str]


class Kernel:
    """forward(arrays, key, save) -> (outputs, saved);  backward(arrays, saved, cotangents, wanted) -> cotangents."""

    def __init__(
        self,
        kind: str,
        write: Callable[..., Any],
        attributes: dict[str, Any],
        specs: tuple[Spec, ...],
        sources: tuple[int, ...],
    ) -> None:
        graph = Graph(kind)
        values = [graph.input(f"x{k}", *spec) for k, spec in enumerate(specs)]
        written = write(graph.op, *values, **attributes)
        for value in written if isinstance(written, tuple) else (written,):
            graph.output(value)
        floats = [values[k].name for k in sources if values[k].is_float]
        self.program: Program = make_program(graph, wrt=floats, unreachable="zeros")
        self.graph = self.program.graph
        self.outputs = tuple(self.graph.outputs)
        self._seeds = {s: _spec(self.graph.value(s)) for s in self.program.seeds}
        self.random = any(lookup(n.op).random for n in self.graph.nodes)
        self._compiled_forward = jax.jit(self._forward, static_argnums=2)
        self._compiled_backward = jax.jit(self._backward, static_argnums=3)

    @property
    def forward(self) -> Any:
        """Within a step over several devices not compiled apart: one on a single device would be given the same."""
        return self._forward if rows_are_split() else self._compiled_forward

    @property
    def backward(self) -> Any:
        return self._backward if rows_are_split() else self._compiled_backward

    def _forward(self, arrays: list, key: Any, save: bool) -> tuple[list, dict]:
        batch = {f"x{k}": a for k, a in enumerate(arrays)}
        outputs, saved, _ = self.program.forward({}, {}, batch, key, save=save)
        return [outputs[o] for o in self.outputs], {k: v for k, v in saved.items() if k not in batch}

    def _backward(self, arrays: list, saved: dict, cotangents: list, wanted: tuple[int, ...]) -> list:
        batch = {f"x{k}": a for k, a in enumerate(arrays)}
        given = dict(zip(self.outputs, cotangents, strict=True))
        seeds = {s: self._like(s, given[s]) for s in self.program.seeds}
        grads = self.program.backward({}, {**batch, **saved}, seeds)
        return [grads.get(f"x{k}") for k in wanted]

    def _like(self, seed: str, d: Any) -> Any:
        shape, dtype = self._seeds[seed]
        if d is None:
            return jnp.zeros(shape, dtype)
        return jnp.broadcast_to(jnp.reshape(jnp.asarray(d, dtype), _fit(jnp.shape(d), shape)), shape)


def _spec(value: Value) -> Spec:
    """Shape and dtype, which are known: every input of a kernel has its sizes."""
    return tuple(d for d in value.shape or () if isinstance(d, int)), value.dtype or "float32"


def _fit(shape: tuple[int, ...], known: tuple[int, ...]) -> tuple[int, ...]:
    """A cotangent of as many elements as its tensor has is taken for it, whatever its shape, as SINGA does."""
    return known if math.prod(shape) == math.prod(known) else shape


# Small programs, one per operation and shapes: many more of them than of whole graphs.
KERNELS = ProgramCache(8192)


@KERNELS.cached
def kernel(
    kind: str,
    write: Callable[..., Any],
    attributes: tuple[tuple[str, Any], ...],
    specs: tuple[Spec, ...],
    sources: tuple[int, ...],
) -> Kernel:
    """The kernel of an operation; a second call with the same arguments compiles nothing."""
    return Kernel(kind, write, dict(attributes), specs, sources)


def hashable(attributes: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((k, _frozen(v)) for k, v in attributes.items())


def _frozen(v: Any) -> Any:
    return tuple(map(_frozen, v)) if isinstance(v, list | tuple) else v


add_up = jax.jit(jnp.add)
