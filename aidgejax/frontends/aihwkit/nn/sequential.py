"""A row of layers, analog or not, with a backward."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ....execution.program import make_program
from ....graph import Graph
from ..exceptions import TileError


class _Function:
    """An operator without parameters, as a layer."""

    op = "Identity"

    def __init__(self) -> None:
        self._saved: tuple[Any, Any] | None = None
        self._programs: dict[int, Any] = {}

    def __call__(self, x: Any) -> Any:
        x = jnp.asarray(x)
        if x.ndim not in self._programs:
            g = Graph(self.op)
            g.add(self.op, [g.input("x", [f"N{k}" for k in range(x.ndim)])], names=["y"])
            g.output("y")
            self._programs[x.ndim] = make_program(g, wrt=["x"])
        program = self._programs[x.ndim]
        outputs, saved, _ = program.forward({}, {}, {"x": x})
        self._saved = (program, saved)
        return outputs["y"]

    def backward(self, dy: Any) -> Any:
        if self._saved is None:
            raise TileError("backward needs a call of the layer first")
        program, saved = self._saved
        return program.backward({}, saved, {"y": jnp.asarray(dy)})["x"]

    def parameters(self) -> list:
        return []


class ReLU(_Function):
    """max(x, 0)"""

    op = "Relu"


class Tanh(_Function):
    """tanh(x)"""

    op = "Tanh"


class Sigmoid(_Function):
    """1 / (1 + exp(-x))"""

    op = "Sigmoid"


class Flatten(_Function):
    """f[n, *d] -> f[n, prod(d)]"""

    op = "Flatten"


class AnalogSequential:
    """Layers one after the other; `backward` goes through them in reverse."""

    def __init__(self, *layers: Any) -> None:
        self.layers = list(layers)

    def __iter__(self):
        return iter(self.layers)

    def __getitem__(self, k: int) -> Any:
        return self.layers[k]

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def backward(self, dy: Any) -> Any:
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def parameters(self) -> list:
        return [p for layer in self.layers for p in layer.parameters()]

    def train(self, mode: bool = True) -> AnalogSequential:
        for layer in self.parameters():
            layer.train(mode)
        return self

    def eval(self) -> AnalogSequential:
        return self.train(False)
