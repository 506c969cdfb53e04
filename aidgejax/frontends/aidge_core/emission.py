"""How an operator of the table writes its nodes into the core's graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...dtypes import ONNX_CODES
from ...graph import Graph, Value
from .errors import GraphViewError


class Emission:
    """What an emitting function writes through: c.named(core operator, inputs, attributes) and the like.

    name: of the Aidge node that is being written; outputs: how many it has.
    """

    def __init__(self, graph: Graph, ranks: dict[str, int | None]) -> None:
        self.graph, self.ranks = graph, ranks
        self.name, self.outputs = "", 1
        self._alike: dict[str, str] = {}
        self.sequences: dict[str, Value] = {}  # {an element: the sequence that a Pop takes it from}

    def named(self, core: str, *inputs: Any, outputs: int = 1, **attrs: Any) -> Any:
        """The node that gives the result; it bears the Aidge node's name."""
        return self._add(core, inputs, outputs, attrs, self.name)

    def step(self, core: str, *inputs: Any, outputs: int = 1, **attrs: Any) -> Any:
        """A node on the way to it."""
        return self._add(core, inputs, outputs, attrs, self.graph.fresh(f"{self.name}/{core}"))

    def _add(self, core: str, inputs: Sequence[Any], outputs: int, attrs: dict[str, Any], name: str) -> Any:
        inputs = list(inputs)
        while inputs and inputs[-1] is None:
            inputs.pop()
        found = self.graph.add(core, inputs, attrs, outputs=outputs, name=name)
        return found[0] if outputs == 1 else found

    def constant(self, key: str, array: np.ndarray) -> Value:
        return self.graph.constant(self.graph.fresh(f"{self.name}.{key}"), array)

    def rank(self, value: Value) -> int | None:
        return self.ranks.get(value.name)

    def alike(self, written: Value, read: Value) -> Value:
        """`written`, whose shape is `read`'s: a quantizer keeps what is known of a weight."""
        self._alike[written.name] = read.name
        return written

    def size(self, value: Value, axis: int) -> int:
        name = value.name
        while name in self._alike:
            name = self._alike[name]
        shape = self.graph.value(name).shape
        size = None if shape is None else shape[axis]
        if not isinstance(size, int):
            raise GraphViewError(f"node {self.name!r}: the shape of its weight must be known; feed it by a Producer")
        return size

    @staticmethod
    def onnx_dtype(kind: np.dtype) -> int:
        return ONNX_CODES[kind.name]
