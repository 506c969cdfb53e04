"""One update as one compiled program: the adjoint, then the optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from .....training.parallel import Placement
from ..compiled import LoweredFunction
from ..structure import flat


class Layout:
    """Where a trainer's parameters and its optimizer's state lie on the devices of a placement.

    params, optim_state: {name: shape}, in order; what begins with a parameter's name and has its shape lies as it does.
    """

    def __init__(
        self, placement: Placement, params: Mapping[str, tuple], optim_state: Mapping[str, tuple], dtypes: Sequence[Any]
    ) -> None:
        self.placement = placement
        declared = {n: jax.ShapeDtypeStruct(s, d) for (n, s), d in zip(params.items(), dtypes, strict=True)}
        own = placement.parameter_shardings(declared)
        self.params = list(own.values())
        self.optim_state = [
            next(
                (own[p] for p in sorted(params, key=len, reverse=True) if name.startswith(p) and shape == params[p]),
                placement.everywhere,
            )
            for name, shape in optim_state.items()
        ]

    def settings(self, states: int) -> dict[str, Any]:
        """Of jax.jit, for a step that returns (loss, parameters, states, the optimizer's state)."""
        everywhere = self.placement.everywhere
        out = (everywhere, self.params, [everywhere] * states, self.optim_state)
        return {"out_shardings": out, "compiler_options": self.placement.compiler_options() or None}

    def run(self, adjoint: LoweredFunction, arrays: Sequence[Any], key: Any, inputs: int) -> list[Any]:
        """The adjoint, of whose arrays the first are inputs, and the parameters come next."""
        names = list(adjoint.graph.inputs)[inputs : inputs + len(self.params)]
        fetch = {n: f for n, s in zip(names, self.params, strict=True) if (f := self.placement.gathering(s))}
        with self.placement.rows_apart():
            return adjoint(arrays, key, fetch)

    def shares(self, grads: Sequence[Any]) -> list[Any]:
        return [self.placement.own_share(g, s) for g, s in zip(grads, self.params, strict=True)]

    def constrained(self, updated: Sequence[Any]) -> list[Any]:
        """New parameters and optimizer state, where the old ones lie: the carry of a scan keeps its place."""
        where = [*self.params, *self.optim_state]
        return [jax.lax.with_sharding_constraint(x, s) for x, s in zip(updated, where, strict=True)]


class TrainingStep:
    """step(params, states, optim_state, batch, count) -> (loss, params, states, optim_state), flat lists of arrays.

    counts: how many inputs, parameters and states there are.  layout: where they lie on several devices.
    The optimizer's state is given away: use the one that is returned.  count: updates so far; where the graph draws
    random numbers, they are drawn from it.
    """

    def __init__(
        self,
        adjoint: LoweredFunction,
        optimizer: LoweredFunction,
        counts: tuple[int, int, int],
        layout: Layout | None = None,
    ) -> None:
        self.adjoint, self.optimizer, self._counts, self._layout = adjoint, optimizer, counts, layout
        self._returned = len(flat(adjoint.result[0]))
        how: Any = {} if layout is None else layout.settings(counts[2])
        self.undonated = jax.jit(self._pure, **how)
        self._jitted = jax.jit(self._pure, donate_argnums=2, **how)
        self.scanned = jax.jit(self._scan, donate_argnums=2, **how)

    def __call__(self, params: list, states: list, optim_state: list, batch: list, count: Any) -> tuple:
        return self._jitted(params, states, optim_state, batch, count)

    @staticmethod
    def key(count: Any) -> Any:
        return jax.random.fold_in(jax.random.key(0), count)

    def _pure(self, params: list, states: list, optim_state: list, batch: list, count: Any) -> tuple:
        inputs, n_params, n_states = self._counts
        key = self.key(count) if self.adjoint.is_random else None
        arrays = [*batch[:inputs], *params, *states, *batch[inputs:]]
        if self._layout is None:
            found = self.adjoint(arrays, key)
        else:
            found = self._layout.run(self.adjoint, arrays, key, inputs)
        returned, grads = found[: self._returned], found[self._returned :]
        if self._layout is not None:
            grads = self._layout.shares(grads)
        updated = self.optimizer([*params, *grads, *optim_state])
        if self._layout is not None:
            updated = self._layout.constrained(updated)
        return (
            returned[0],
            updated[:n_params],
            returned[len(returned) - n_states :] if n_states else [],
            updated[n_params:],
        )

    def _scan(self, params: list, states: list, optim_state: list, batches: list, count: Any) -> tuple:
        def one(carry: tuple, batch: list) -> tuple:
            params, states, optim_state, count = carry
            loss, params, states, optim_state = self._pure(params, states, optim_state, batch, count)
            return (params, states, optim_state, count + 1), loss

        carry: Any
        losses: Any
        carry, losses = jax.lax.scan(one, (params, states, optim_state, count), batches)
        params, states, optim_state, _ = carry
        return losses, params, states, optim_state
