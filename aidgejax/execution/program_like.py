"""What Program and NumpyProgram have in common: all that training asks of either."""

from __future__ import annotations

from typing import Any, Protocol, Self

from ..graph import Graph
from .program import Arrays


class ProgramLike(Protocol):
    """A graph that can be executed forward and backward, by JAX (Program) or by NumPy (NumpyProgram).

    graph: what is executed, shapes inferred; seeds: the outputs from which the gradient starts; wrt: the tensors it is
    taken for; updates: {buffer: the tensor that is its next value}.
    """

    @property
    def graph(self) -> Graph: ...

    @property
    def seeds(self) -> tuple[str, ...]: ...

    @property
    def wrt(self) -> tuple[str, ...]: ...

    @property
    def updates(self) -> dict[str, str]: ...

    def with_graph(self, graph: Graph) -> Self:
        """The same seeds and wrt for another graph with those tensors."""

    def with_updated_params(self, params: Arrays, saved: Arrays) -> Arrays:
        """The parameters as `forward` left them."""

    def forward(
        self, params: Arrays, buffers: Arrays, batch: Arrays, key: Any = None, save: bool = True
    ) -> tuple[Arrays, Arrays, Arrays]:
        """(outputs, saved, buffers); see Program.forward."""

    def backward(self, params: Arrays, saved: Arrays, d_outputs: Arrays, grads: Arrays | None = None) -> Arrays:
        """{name: dL/d name} for every name of `wrt`; see Program.backward."""
