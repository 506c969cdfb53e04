"""Graphs of functions as programs: inside another program, or compiled by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from ....execution.cache import PROGRAMS, signature
from ....graph import Graph
from ....interpreter.evaluate import Evaluator, Fetches
from ....interpreter.shape_inference import infer_shapes
from ....ops import lookup
from ....passes.mode import normalized
from ..._shared.tensor_cell import placed
from ..errors import RelaxTypeError, WrongArgumentCount
from ..runtime import Device, Tensor, check, cpu
from .expr import Var
from .structure import Structure, flat, refill
from .types import ShapeType, TupleType


class LoweredFunction:
    """A graph as a pure function of its arrays, one after the other: call it inside a program that is compiled."""

    def __init__(self, graph: Graph, result: Structure) -> None:
        self.graph = infer_shapes(normalized(graph))
        self.result, self.results = result, flat(result)
        self.is_random = any(lookup(n.op).random for n in self.graph.nodes)
        self.evaluator = Evaluator(self.graph, "NHWC")

    def __call__(self, arrays: Sequence[Any], key: Any = None, fetch: Fetches | None = None) -> list[Any]:
        env = dict(zip(self.graph.inputs, map(jnp.asarray, arrays), strict=True)) | self.graph.constants
        found = self.evaluator(env, key, self.results, fetch)
        return [jnp.asarray(found.in_graph_layout(r)) for r in self.results]


class CompiledFunction:
    """A function that is compiled at its first call, once per shapes; takes and returns Tensors."""

    def __init__(
        self, name: str, graph: Graph, params: Sequence[Var], result: Structure, device: Device | None = None
    ) -> None:
        self.name, self.params = name, list(params)
        self._graph, self._result, self._device = graph, result, device or cpu()

    @cached_property
    def lowered(self) -> LoweredFunction:
        key = ("relax", signature(self._graph), repr(self._result))
        return PROGRAMS.get(key, lambda: LoweredFunction(self._graph, self._result))

    @cached_property
    def _jitted(self) -> Any:
        return jax.jit(self.lowered)

    def __call__(self, *args: Any, key: Any = None) -> Any:
        params = self.params
        if len(args) != len(params):
            raise WrongArgumentCount(
                f"function {self.name!r} takes {len(params)} arguments "
                f"({', '.join(p.name_hint for p in params)}), got {len(args)}"
            )
        sizes: dict[str, int] = {}
        arrays = [
            a
            for p, given in zip(params, args, strict=True)
            for a in self._checked(p.name_hint, p.struct_info, given, sizes)
        ]
        arrays = [placed(a, self._device.jax) for a in arrays]
        with jax.enable_x64(True):
            found = self._jitted(arrays, key)
        return refill(self._result, map(Tensor, found))

    def _checked(self, what: str, type_: Any, given: Any, sizes: dict[str, int]) -> list[Any]:
        if isinstance(type_, ShapeType):
            return []
        if isinstance(type_, TupleType):
            if not isinstance(given, tuple | list) or len(given) != len(type_.fields):
                raise RelaxTypeError(
                    f"function {self.name!r}, argument {what}: expected a tuple of "
                    f"{len(type_.fields)}, got {_described(given)}"
                )
            return [
                a
                for k, (t, g) in enumerate(zip(type_.fields, given, strict=True))
                for a in self._checked(f"{what}[{k}]", t, g, sizes)
            ]
        shape = type_.shape if type_.is_known else tuple(f"{what}_{d}" for d in type_.shape)
        return [check(f"function {self.name!r}, argument {what}: {type_}", given, shape, type_.dtype, sizes)]


def _described(given: Any) -> str:
    return f"{type(given).__name__} of {len(given)}" if isinstance(given, tuple | list) else type(given).__name__
