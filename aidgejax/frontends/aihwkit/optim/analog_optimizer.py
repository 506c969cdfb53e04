"""AnalogSGD, AnalogAdam and AnalogOptimizer: torch's optimizers with torch, aidgejax.optim's rules for arrays."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ....errors import AidgeJaxError
from ....training import optim as rules
from ..exceptions import ArgumentError, ArgumentTypeError
from ..nn.modules._layer import TiledLayer
from ..nn.modules._module import adopt_torch, on_adoption
from ..nn.modules._post_update import post_update


class ArrayOptimizer:
    """An aidgejax.optim.Optimizer over the layers that a model's `parameters()` lists."""

    def __init__(self, parameters: Iterable[Any], rule: rules.Optimizer, **settings: Any) -> None:
        self._layers, self._rule = list(parameters), rule
        self.param_groups: list[dict[str, Any]] = [{"params": self._layers, **settings}]
        self._states = [rule.init(dict(layer.params)) for layer in self._layers]

    @property
    def lr(self) -> float:
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        self.param_groups[0]["lr"] = value

    def step(self, closure: Any = None) -> Any:
        loss = None if closure is None else closure()
        for k, layer in enumerate(self._layers):
            params = dict(layer.params)
            grads = {name: layer.grads.get(name) for name in params}
            layer.params, self._states[k] = self._rule.update(params, grads, self._states[k], self.lr)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for layer in self._layers:
            layer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number of the layer: the rule's state, leaves in order}, "param_groups": the settings}."""
        leaves = {k: [np.asarray(a) for a in jax.tree.leaves(state)] for k, state in enumerate(self._states)}
        settings = {k: v for k, v in self.param_groups[0].items() if k != "params"}
        return {"state": leaves, "param_groups": [{**settings, "params": list(range(len(self._layers)))}]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there.  ArgumentError where it is of other layers or another optimizer."""
        new = []
        for k, state in enumerate(self._states):
            old, tree = jax.tree.flatten(state)
            found = state_dict["state"].get(k, state_dict["state"].get(str(k)))
            if found is None or [np.shape(a) for a in found] != [np.shape(a) for a in old]:
                raise ArgumentError(f"the state is of another optimizer or model: layer {k} does not match")
            new.append(jax.tree.unflatten(tree, [jnp.asarray(a) for a in found]))
        self._states = new
        self.param_groups[0] |= {k: v for k, v in state_dict["param_groups"][0].items() if k != "params"}


class ArraySGD(ArrayOptimizer):
    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        rule = rules.sgd(momentum, dampening, weight_decay, nesterov)
        super().__init__(params, rule, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
                         nesterov=nesterov)  # fmt: skip


class ArrayAdam(ArrayOptimizer):
    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, rules.adam(*betas, eps, weight_decay), lr=lr, betas=betas, eps=eps,
                         weight_decay=weight_decay)  # fmt: skip


def is_plain(layer: Any) -> bool:
    """Does the layer do after a step what every layer of tiles does?"""
    return getattr(type(layer), "post_update_step", None) is TiledLayer.post_update_step


class StateError(ArgumentError, KeyError):
    """A state that lacks what optimizers' states have."""

    __str__ = Exception.__str__  # a KeyError's own puts its text in quotes


@contextmanager
def in_our_words(where: str) -> Iterator[None]:
    """What torch's optimizers refuse, as an error of both families."""
    try:
        yield
    except AidgeJaxError:
        raise
    except KeyError as e:
        raise StateError(f"{where}: {e} is missing") from None
    except ValueError as e:
        raise ArgumentError(f"{where}: {e}") from None
    except (TypeError, AttributeError) as e:
        raise ArgumentTypeError(f"{where}: {e}") from None


class AnalogOptimizerMixin:
    """After each step of the class beside it, weights of analog layers are clipped, mapped and drawn anew."""

    # Of the optimizer beside it; add_param_group with torch alone.
    param_groups: list[dict[str, Any]]
    add_param_group: Callable[[dict[str, Any]], None]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        adopt_torch()
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with in_our_words(f"{type(self).__name__} cannot be made of these"):
            super().__init__(*args, **kwargs)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there.  ArgumentError where it is of another optimizer or model."""
        with in_our_words(f"{type(self).__name__}.load_state_dict, what state_dict() gave is expected"):
            beside: Any = super()
            beside.load_state_dict(state_dict)

    def analog_layers(self) -> list[Any]:
        """The analog layers whose parameters it holds, each once."""
        groups = self.param_groups
        found: dict[int, Any] = {}
        for p in (p for group in groups for p in group["params"]):
            layer = getattr(p, "analog_layer", None) or (p if hasattr(p, "post_update_step") else None)
            if layer is not None:
                found[id(layer)] = layer
        return list(found.values())

    def step(self, closure: Any = None) -> Any:
        beside: Any = super()
        loss = beside.step(closure)
        layers = self.analog_layers()
        post_update([layer for layer in layers if is_plain(layer)])
        for layer in layers:
            if not is_plain(layer):
                layer.post_update_step()
        return loss

    def regroup_param_groups(self, *_: Any) -> None:
        """With torch: each analog context forms a group of its own, after the others, as in aihwkit."""
        groups = self.param_groups
        contexts = [p for group in groups for p in group["params"] if hasattr(p, "analog_layer")]
        for group in groups:
            group["params"] = [p for p in group["params"] if not hasattr(p, "analog_layer")]
        groups[:] = [g for g in groups if g["params"]]
        for p in contexts:
            self.add_param_group({"params": [p]})

    def set_learning_rate(self, learning_rate: float = 0.1) -> None:
        """For all groups."""
        for group in self.param_groups:
            group["lr"] = learning_rate


class AnalogSGD(AnalogOptimizerMixin, ArraySGD):
    """Stochastic gradient descent, then what follows a step; torch.optim.SGD with torch."""


class AnalogAdam(AnalogOptimizerMixin, ArrayAdam):
    """Adam, then what follows a step; torch.optim.Adam with torch."""


class AnalogOptimizer(AnalogOptimizerMixin):
    """AnalogOptimizer(torch.optim.X, params, ...): X with what follows a step."""

    def __new__(cls, optimizer_cls: Any = None, *args: Any, **kwargs: Any) -> Any:
        adopt_torch()
        if cls is not AnalogOptimizer:
            return super().__new__(cls)
        if not isinstance(optimizer_cls, type):
            raise ArgumentTypeError(
                f"AnalogOptimizer got {optimizer_cls!r}: expected the class of an optimizer, such as torch.optim.SGD, "
                f"and then its arguments"
            )
        kind = type(f"AnalogOptimizer{optimizer_cls.__name__}", (AnalogOptimizer, optimizer_cls), {})
        return object.__new__(kind)

    def __init__(self, optimizer_cls: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)


def _put_on(sgd: Any, adam: Any) -> None:
    """What the classes stand on, and so what they take: the mixin's __new__ would hide that from inspect and help."""
    kind: Any
    for kind, beside in ((AnalogSGD, sgd), (AnalogAdam, adam)):
        if kind.__bases__ != (AnalogOptimizerMixin, beside):
            kind.__bases__ = (AnalogOptimizerMixin, beside)
        kind.__signature__ = inspect.signature(beside)


def _adopt(torch: Any) -> None:
    _put_on(torch.optim.SGD, torch.optim.Adam)


_put_on(ArraySGD, ArrayAdam)
on_adoption(_adopt)
if "torch" in sys.modules:
    adopt_torch()
