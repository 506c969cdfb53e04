"""A program on several devices: parameters are gathered where a node reads them, and let go behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from ..errors import SettingError
from ..execution.program import Arrays, Program
from ..execution.program_like import ProgramLike
from ..graph import Graph, Node
from ..ops import lookup
from .parallel import Placement

Where = Mapping[str, NamedSharding]


class PlacedProgram:
    """A program whose parameters are gathered where a node reads them, and whose gradients are split as they are.

    What is computed from a parameter number by number (converted or quantized weights, and their gradients), each
    device computes for its own share: gathered for that, a weight would be kept whole up to the backward pass.
    """

    def __init__(self, program: ProgramLike, placement: Placement) -> None:
        if not isinstance(program, Program):
            raise SettingError(f"a {type(program).__name__} runs without JAX: it takes no placement")
        self._program, self._placement = program, placement

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)

    def forward(self, params: Arrays, buffers: Arrays, batch: Arrays, key: Any = None, save: bool = True) -> Any:
        own = self._own(params)
        fetch = self._fetches(self._program.graph, own, own)
        with self._placement.rows_apart():
            outputs, saved, buffers = self._program.forward(params, buffers, batch, key, save, fetch=fetch)
        constrained = jax.lax.with_sharding_constraint
        return outputs, {k: constrained(v, own[k]) if k in own else v for k, v in saved.items()}, buffers

    def backward(self, params: Arrays, saved: Arrays, d_outputs: Arrays, grads: Arrays | None = None) -> Arrays:
        own, graph = self._own(params), self._program.gradient
        own |= made_of_parameters(graph, own)
        fetch = self._fetches(graph, own, own | beside_parameters(graph, own))
        with self._placement.rows_apart():
            found = self._program.backward(params, saved, d_outputs, grads, fetch=fetch)
        return {w: self._placement.own_share(g, own[w]) if w in own else g for w, g in found.items()}

    def _own(self, params: Arrays) -> dict[str, NamedSharding]:
        """Where parameters lie, and what the forward makes of them."""
        own = self._placement.parameter_shardings(params)
        return own | made_of_parameters(self._program.graph, own)

    def _fetches(self, graph: Graph, own: Where, shares: Where) -> dict[str, Callable[[Any, Any, Node], Any]]:
        """{tensor: what a node reads of it}, see Evaluator.  shares: what each device computes its share of."""
        gathers = {k: f for k, where in own.items() if (f := self._placement.gathering(where))}
        whole = {
            str(i)
            for n in graph.nodes
            if (made := n.output_names[0]) in shares and made not in own
            for i in n.input_names
            if i not in own and graph.value(i).shape == graph.value(made).shape
        }

        def read(name: str) -> Callable[[Any, Any, Node], Any]:
            def f(array: Any, after: Any, node: Node) -> Any:
                where = shares.get(node.output_names[0])
                if name in own:
                    return array if where is not None else gathers[name](array, after, node)
                return array if where is None else self._placement.own_share(array, where)

            return f

        return {name: read(name) for name in (*gathers, *whole)}


def placed_program(program: ProgramLike, placement: Placement | None) -> ProgramLike:
    """The program, as it runs under this placement."""
    return program if placement is None else PlacedProgram(program, placement)


def made_of_parameters(graph: Graph, own: Where) -> dict[str, NamedSharding]:
    """{tensor that is computed from these parameters alone, number by number: where it lies}"""
    found: dict[str, NamedSharding] = {}
    still = {*own, *graph.constants}
    for node in graph.nodes:
        if len(node.output_names) != 1 or not still.issuperset(node.input_names):
            continue
        where = _as_its_input(graph, node, {**own, **found})
        if where is not None:
            found[node.output_names[0]] = where
            still.add(node.output_names[0])
    return found


def beside_parameters(graph: Graph, own: Where) -> dict[str, NamedSharding]:
    """{tensor of a gradient that is computed number by number beside a parameter of its shape: where that lies}"""
    found = {}
    for node in graph.nodes:
        if lookup(node.op).layout != "same" or not node.output_names:
            continue
        shape = graph.value(node.output_names[0]).shape
        beside = [i for i in node.input_names if i in own and shape and graph.value(i).shape == shape]
        if beside:
            found[node.output_names[0]] = own[beside[0]]
    return found


def _as_its_input(graph: Graph, node: Node, own: Where) -> NamedSharding | None:
    """Where the result of a node lies that moves or changes single numbers of its first input."""
    operator, source = lookup(node.op), next(iter(node.inputs), None)
    if not isinstance(source, str) or source not in own or operator.random:
        return None
    shape, where = graph.value(source).shape, own[source]
    if operator.layout == "same" and shape == graph.value(node.output_names[0]).shape:
        return where
    if node.op == "Transpose" and shape is not None:
        axes = (*where.spec, *(None,) * (len(shape) - len(where.spec)))
        order = node.attrs.get("perm") or range(len(shape))[::-1]
        return NamedSharding(where.mesh, PartitionSpec(*(axes[k] for k in order)))
    return None
