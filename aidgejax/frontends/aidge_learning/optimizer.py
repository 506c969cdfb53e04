"""Optimizers: they hold producers, a scheduler and the state; the rules are aidgejax.optim's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ...dtypes import x64_for
from ...errors import SettingError
from ...execution.cache import PROGRAMS
from ...training import optim
from ..aidge_core.attributes import Attributes
from ..aidge_core.errors import AidgeError, OrderError, TensorTypeError
from ..aidge_core.execution import zeros_like
from ..aidge_core.lowering import is_statistics
from ..aidge_core.node import Node
from ..aidge_core.tensor import Tensor
from .lr import LRScheduler, constant_lr

DEFAULT_RATE = 1e-5  # Aidge's, where no scheduler was set


class OptimizerError(SettingError, AidgeError):
    """A hyper-parameter that makes no sense."""


@PROGRAMS.cached
def _rule(kind: str, settings: tuple[tuple[str, Any], ...]) -> tuple[optim.Optimizer, Any, Any]:
    """(the core's optimizer, its init and its update, each compiled)"""
    make: Any = {"SGD": _sgd, "Adam": optim.adam}[kind]
    try:
        rule = make(**dict(settings))
    except SettingError as e:
        raise OptimizerError(str(e)) from None
    return rule, jax.jit(rule.init), jax.jit(rule.update, donate_argnums=2)


def _sgd(momentum: float, dampening: float, weight_decay: float) -> optim.Optimizer:
    """Aidge's first update takes the gradient alone; dampening acts without momentum as well."""
    return optim.sgd(momentum, dampening, weight_decay, first="bare", dampen_always=True)


class Optimizer:
    """The base: it holds parameters and a scheduler, and its update() changes nothing.

    set_parameters puts the annotation grad.no_reset on the producers, so that their gradients accumulate until
    reset_grad(); it stays after the optimizer is gone.  set_learning_rate_scheduler copies the scheduler; one whose
    step is 0 starts momentum and moments anew.
    """

    kind = ""

    def __init__(self) -> None:
        self.attr = Attributes({})
        self._parameters: list[Node] = []
        self._scheduler = constant_lr(DEFAULT_RATE)
        self._state: Any = None

    def parameters(self) -> list[Node]:
        return list(self._parameters)

    def set_parameters(self, parameters: Sequence[Node]) -> None:
        if not isinstance(parameters, list | tuple | set):
            raise TensorTypeError(f"set_parameters takes a list of Producer nodes, got {type(parameters).__name__}")
        for k, node in enumerate(parameters):
            if not isinstance(node, Node) or node.type() != "Producer":
                raise TensorTypeError(f"set_parameters: entry {k} is {node!r}; expected a Producer node")
        self._parameters = list(dict.fromkeys(parameters))
        self._state = None
        for node in self._parameters:
            if not (node.annotations().has_attr("grad.no_reset") and node.annotations().get_attr("grad.no_reset")):
                node.annotations().set_attr("grad.no_reset", True)
            _tensor(node).own_gradient()

    def learning_rate(self) -> float:
        """What the next update uses."""
        return self._scheduler.learning_rate()

    def learning_rate_scheduler(self) -> LRScheduler:
        return self._scheduler

    def set_learning_rate_scheduler(self, scheduler: LRScheduler) -> None:
        if not isinstance(scheduler, LRScheduler):
            raise TensorTypeError(
                f"set_learning_rate_scheduler takes what constant_lr, step_lr ... give, got {type(scheduler).__name__}"
            )
        self._scheduler = scheduler.copy()

    def reset_grad(self) -> None:
        """Zero the gradients of the parameters."""
        for node in self._parameters:
            _tensor(node).own_gradient().set_to_zero()

    def update(self) -> None:
        """One step of the rule for every parameter, then one of the scheduler."""

    # ---- what compiled epochs need as well ----------------------------------------------------------------

    def trained(self) -> list[Tensor]:
        """The tensors that update() changes: floating ones that are no running statistics."""
        return [
            _tensor(n) for n in self._parameters if _tensor(n).cell.dtype.kind not in "iub" and not is_statistics(n)
        ]

    def rule(self) -> tuple[optim.Optimizer, Any, Any]:
        return _rule(self.kind, tuple(self.attr.dict().items()))

    def state_of(self, params: list[Any]) -> Any:
        """The state before the coming update: a new one where the scheduler is at its beginning."""
        if self._state is None or self._scheduler.step() == 0:
            return self.rule()[1](params)
        return self._state

    def continue_from(self, state: Any) -> None:
        """The state that updates made elsewhere have left."""
        self._state = state


def _tensor(node: Node) -> Tensor:
    return node.get_operator().get_output(0)


class _Rule(Optimizer):
    def update(self) -> None:
        if not self._parameters:
            raise OrderError(f"{self.kind}::update(): no parameter to update! Did you call set_parameters() first?")
        tensors = self.trained()
        for node in self._parameters:
            if not _tensor(node).has_data():
                raise OrderError(
                    f"{self.kind}::update(): Producer {node.name()!r} has no data; call set_backend and fill it"
                )
        rule = self.rule()[2]
        lr = np.float32(self._scheduler.learning_rate())
        with x64_for(t.cell.dtype for t in tensors):
            params = [t.array() for t in tensors]
            grads = [zeros_like(g, t.backend) if (g := t.own_gradient()).is_zero() else g.array() for t in tensors]
            new, self._state = rule(params, grads, self.state_of(params), lr)
        for t, array in zip(tensors, new, strict=True):
            t.put(array)
        self._scheduler.update()


class SGD(_Rule):
    """v <- momentum * v + (1 - dampening) * (g + weight_decay * p);  p <- p - lr * v.

    The first update takes v <- g: no dampening and no decay.  Hyper-parameters live in `opt.attr`.
    """

    kind = "SGD"

    def __init__(self, momentum: float = 0.0, dampening: float = 0.0, weight_decay: float = 0.0) -> None:
        super().__init__()
        self.attr = Attributes({"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay})
        self.rule()


class Adam(_Rule):
    """p <- p - lr * m' / (sqrt(v') + epsilon), with bias-corrected means m' of g and v' of g**2."""

    kind = "Adam"

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.attr = Attributes({"beta1": beta1, "beta2": beta2, "epsilon": epsilon})
        self.rule()
