"""aihwkit.optim: optimizers that clip and map the weights of analog layers after each step.

The rules are aidgejax.optim's; what follows a step is aidgejax.analog's.  A graph from convert_to_analog takes
`aidgejax.analog.with_post_update(aidgejax.optim.sgd(), graph)` instead, all of it inside the compiled step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...training import optim as rules


class AnalogOptimizer:
    """An aidgejax.optim.Optimizer over the layers that a model's `parameters()` lists."""

    def __init__(self, rule: rules.Optimizer, parameters: Iterable[Any], lr: float) -> None:
        self._layers, self._rule, self.lr = list(parameters), rule, lr
        self._states = [rule.init(layer.params) for layer in self._layers]

    def step(self) -> None:
        for k, layer in enumerate(self._layers):
            grads = {name: layer.grads.get(name) for name in layer.params}
            layer.params, self._states[k] = self._rule.update(layer.params, grads, self._states[k], self.lr)
            layer.post_update_step()

    def zero_grad(self) -> None:
        for layer in self._layers:
            layer.zero_grad()

    def regroup_param_groups(self, *_: Any) -> None:
        """Nothing to do here; kept for the scripts that call it."""


class AnalogSGD(AnalogOptimizer):
    """Stochastic gradient descent, as torch.optim.SGD, then clip and remap."""

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(rules.sgd(momentum, dampening, weight_decay, nesterov), parameters, lr)


class AnalogAdam(AnalogOptimizer):
    """Adam, as torch.optim.Adam, then clip and remap."""

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(rules.adam(*betas, eps, weight_decay), parameters, lr)
