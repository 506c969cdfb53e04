"""A Program's interface over the NumPy backend."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from .. import reference
from ..graph import Graph
from ..passes.gradient import grad_name
from .program import Arrays, Program


@dataclass(frozen=True)
class NumpyProgram:
    """A Program's interface over the NumPy backend.

    Its gradients come from the backend's own backwards, which share nothing with the rules in aidgejax/ops.
    The program lends its prepared graph, seeds and wrt.
    """

    program: Program

    @property
    def graph(self) -> Graph:
        return self.program.graph

    @property
    def seeds(self) -> tuple[str, ...]:
        return self.program.seeds

    @property
    def wrt(self) -> tuple[str, ...]:
        return self.program.wrt

    def with_graph(self, graph: Graph) -> NumpyProgram:
        """As Program.with_graph."""
        return NumpyProgram(self.program.with_graph(graph))

    @cached_property
    def updates(self) -> dict[str, str]:
        return self.program.updates

    def with_updated_params(self, params: Arrays, saved: Arrays) -> Arrays:
        """As Program.with_updated_params."""
        return self.program.with_updated_params(params, saved)

    def forward(
        self,
        params: Arrays,
        buffers: Arrays,
        batch: Arrays,
        key: Any = None,
        save: bool = True,
        given: Arrays | None = None,
    ) -> tuple[Arrays, Arrays, Arrays]:
        """As Program.forward; `saved` is every tensor.  given: see reference.execute."""
        feeds = {
            k: np.asarray(v)
            for k, v in {**params, **buffers, **batch}.items()
            if k in self.graph.inputs or k in self.graph.producers
        }
        rng = None if key is None else np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
        found = reference.execute(self.graph, feeds, given=given, rng=rng)
        updates = self.updates
        return (
            {o: found[o] for o in self.graph.outputs},
            found if save else {},
            {b: found[updates[b]] if b in updates else v for b, v in buffers.items()},
        )

    def backward(self, params: Arrays, saved: Arrays, d_outputs: Arrays, grads: Arrays | None = None) -> Arrays:
        fresh = reference.gradients(self.graph, saved, {k: np.asarray(v) for k, v in d_outputs.items()}, self.wrt)
        return fresh if grads is None else {w: np.asarray(grads[w]) + g for w, g in fresh.items()}

    def backward_from_gradient_graph(self, saved: Arrays, d_outputs: Arrays) -> Arrays:
        """The rules' gradient graph, executed in NumPy."""
        named = {grad_name(s): np.asarray(d) for s, d in d_outputs.items()}
        backward = self.program.gradient
        found = reference.execute(backward, {k: named.get(k, saved.get(k)) for k in backward.inputs})
        return {w: found[o] for w, o in zip(self.wrt, backward.outputs, strict=True)}
