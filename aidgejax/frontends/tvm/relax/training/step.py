"""One update as one compiled program: the adjoint, then the optimizer."""

from __future__ import annotations

from typing import Any

import jax

from ..compiled import LoweredFunction
from ..structure import flat


class TrainingStep:
    """step(params, states, optim_state, batch, count) -> (loss, params, states, optim_state), flat lists of arrays.

    counts: how many inputs, parameters and states there are.  everywhere: where the results lie on several devices.
    The optimizer's state is given away: use the one that is returned.  count: updates so far; where the graph draws
    random numbers, they are drawn from it.
    """

    def __init__(
        self, adjoint: LoweredFunction, optimizer: LoweredFunction, counts: tuple[int, int, int], everywhere: Any = None
    ) -> None:
        self.adjoint, self.optimizer, self._counts = adjoint, optimizer, counts
        self._returned = len(flat(adjoint.result[0]))
        out = {} if everywhere is None else {"out_shardings": everywhere}
        self.undonated = jax.jit(self._pure, **out)
        self._jitted = jax.jit(self._pure, donate_argnums=2, **out)
        self.scanned = jax.jit(self._scan, donate_argnums=2, **out)

    def __call__(self, params: list, states: list, optim_state: list, batch: list, count: Any) -> tuple:
        return self._jitted(params, states, optim_state, batch, count)

    @staticmethod
    def key(count: Any) -> Any:
        return jax.random.fold_in(jax.random.key(0), count)

    def _pure(self, params: list, states: list, optim_state: list, batch: list, count: Any) -> tuple:
        inputs, n_params, n_states = self._counts
        key = self.key(count) if self.adjoint.is_random else None
        found = self.adjoint([*batch[:inputs], *params, *states, *batch[inputs:]], key)
        returned, grads = found[: self._returned], found[self._returned :]
        updated = self.optimizer([*params, *grads, *optim_state])
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
