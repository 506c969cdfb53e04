"""Optimizers.  The rules are aidgejax.optim's; state belongs to a tensor, not to its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...training import optim
from .._shared.traced_step import Stored, concretely
from ._ctensor import raw
from ._errors import BadSetting, DoesNotFit, NotATensor, StatesError
from ._kernel import KERNELS
from ._operation import backward
from ._schedules import DecayScheduler, Number, setting
from ._tensor import Tensor
from .device import bring_together


class _State:
    """The optimizer's state of one parameter, leaf by leaf where a compiled step finds it."""

    def __init__(self, label: str, tensor: Tensor, state: Any) -> None:
        self.label, self.tensor = label, tensor
        leaves, tree = jax.tree.flatten(state)
        self._tree: Any = tree
        self._places = [Stored(leaf) for leaf in leaves]

    def read(self) -> Any:
        return self._tree.unflatten(p.array for p in self._places)

    def write(self, state: Any) -> None:
        for place, leaf in zip(self._places, jax.tree.leaves(state), strict=True):
            place.array = leaf


class Optimizer:
    """lr: a number or a DecayScheduler.  opt(loss) trains on a loss: it updates every parameter and counts a step."""

    rule: str = ""
    fields: tuple[tuple[str, str], ...] = ()  # (its name in get_states, its name in aidgejax.optim's state)

    def __init__(self, lr: Any, dtype: Any = 0) -> None:
        self.lr, self.dtype = setting(lr, "learning rate"), dtype
        self._settings: dict[str, DecayScheduler] = {}
        self._states: dict[int, _State] = {}
        self._pending: dict[str, dict[str, Any]] = {}
        self._values: dict[str, Tensor] = {}
        self.step_counter = Tensor(data=np.zeros((1,), np.float32), requires_grad=False)
        self._refresh()

    # ---- what a user calls ----

    def __call__(self, loss: Tensor) -> None:
        """Backward from a loss, an update of every parameter, and one step."""
        for p, g in backward(loss):
            self.apply(p.name, p, g)
        self.step()

    def backward_and_update(self, loss: Tensor) -> None:
        """The same under its older name."""
        self(loss)

    def call(self, loss: Tensor) -> None:
        """The same as calling it."""
        self(loss)

    def update(self, param: Tensor, grad: Tensor) -> None:
        """Update one parameter; no step is counted, so schedules stand still until `step`."""
        self.apply(param.name, param, grad)

    def apply(self, param_name: str, param_value: Tensor, param_grad: Tensor) -> None:
        """Update one parameter in place."""
        if not isinstance(param_value, Tensor):
            raise NotATensor(
                f"{type(self).__name__}.apply: the parameter {param_name!r} is a Tensor, got "
                f"{type(param_value).__name__}"
            )
        grad = raw(param_grad)
        if tuple(np.shape(grad)) != param_value.shape:
            raise DoesNotFit("shape mismatch", param_value.shape, tuple(np.shape(grad)), param_name)
        state = self._state_of(getattr(param_name, "name", param_name), param_value)
        free = {k: v.array[0] for k, v in self._free().items()}
        update = _compiled(self.rule, tuple(self._fixed().items()), tuple(free))
        new, after = update(param_value.array, grad, state.read(), self.lr_value.array[0], tuple(free.values()))
        param_value.data.array = new
        state.write(after)

    def device_check(self, *inputs: Tensor) -> None:
        """Bring the tensors to the device of the first."""
        bring_together(inputs)

    def step(self) -> None:
        """Count a step, which schedules look at."""
        self.step_counter.data.array = self.step_counter.array + 1
        self._refresh()

    @property
    def lr_value(self) -> Tensor:
        """The learning rate of the next update, a Tensor of shape (1,)."""
        return self._values["lr"]

    def get_states(self) -> dict[str, Any]:
        """{"step_counter": number, and per kind of state {parameter's name: Tensor}}"""
        states: dict[str, Any] = {"step_counter": float(self.step_counter)}
        for name, field in self.fields:
            held = {s.label: getattr(s.read(), field) for s in self._states.values()}
            states[name] = {k: Tensor(data=v, requires_grad=False, name=k) for k, v in held.items() if v is not None}
        return states

    def set_states(self, states: dict[str, Any]) -> None:
        """Go on from what get_states gave; state of parameters not met yet waits for them, by name."""
        unknown = [k for k in states if k not in ("step_counter", *dict(self.fields))]
        if unknown or "step_counter" not in states:
            raise StatesError(
                f"{type(self).__name__}.set_states takes step_counter and "
                f"{', '.join(dict(self.fields)) or 'nothing else'}; got {', '.join(states)}"
            )
        self.step_counter.set_value(float(states["step_counter"]))
        self._pending = {name: dict(states.get(name, {})) for name, _ in self.fields}
        for state in self._states.values():
            state.write(self._resumed(state.label, state.tensor, state.read()))
        self._refresh()

    # ---- for compiled epochs ----

    def core(self) -> tuple[optim.Optimizer, Callable[[Any], Any]]:
        """(optimizer, schedule) for aidgejax.fit: the same updates in compiled epochs.  Schedules of anything but the
        learning rate stay at their present value."""
        free = {k: float(v) for k, v in self._free().items()}
        return _rule(self.rule, {**self._fixed(), **free}), lambda step: self.lr(step).reshape(())

    # ---- inside ----

    def _hyper(self, **settings: tuple[Any, str]) -> None:
        self._settings = {k: setting(value, what) for k, (value, what) in settings.items()}
        self._refresh()

    def _refresh(self) -> None:
        with_step = {"lr": self.lr, **self._settings}
        for name, scheduler in with_step.items():
            value = scheduler(self.step_counter)
            if name in self._values:
                self._values[name].data.array = value.array
            else:
                self._values[name] = value

    def _fixed(self) -> dict[str, float]:
        return {k: v.init_value for k, v in self._settings.items() if isinstance(v, Number)}

    def _free(self) -> dict[str, Tensor]:
        return {k: self._values[k] for k, v in self._settings.items() if not isinstance(v, Number)}

    def _state_of(self, name: str, tensor: Tensor) -> _State:
        if id(tensor) not in self._states:
            label, taken = name, {s.label for s in self._states.values()}
            while label in taken:
                label = f"{name}#{len(taken)}"
            with concretely():
                free = {k: jnp.float32(0) for k in self._free()}
                like = jnp.zeros(tensor.shape, jax.eval_shape(lambda: tensor.array).dtype)
                made = _rule(self.rule, {**self._fixed(), **free}).init(like)
                self._states[id(tensor)] = _State(label, tensor, self._resumed(label, tensor, made))
        return self._states[id(tensor)]

    def _resumed(self, label: str, tensor: Tensor, state: Any) -> Any:
        found = {field: self._pending.get(name, {}).get(label) for name, field in self.fields}
        found = {k: v for k, v in found.items() if v is not None}
        for field, value in found.items():
            if tuple(np.shape(raw(value))) != tensor.shape or getattr(state, field) is None:
                raise StatesError(
                    f"{type(self).__name__}: the state of {label!r} has shape {np.shape(raw(value))}, "
                    f"the parameter {tensor.shape}"
                )
        if not found:
            return state
        arrays = {k: jnp.asarray(raw(v), getattr(state, k).dtype) for k, v in found.items()}
        return state._replace(**arrays, seen=jnp.int32(float(self.step_counter)))


RULES: dict[str, Callable[..., optim.Optimizer]] = {
    "sgd": lambda **kw: optim.sgd(first="dampened", **kw),
    "rmsprop": lambda **kw: optim.rmsprop(epsilon_at="inside", **kw),
    "adagrad": lambda **kw: optim.adagrad(epsilon_at="inside", **kw),
    "adam": lambda **kw: optim.adam(**kw),
}


def _rule(name: str, settings: dict[str, Any]) -> optim.Optimizer:
    return RULES[name](**settings)


@KERNELS.cached
def _compiled(rule: str, fixed: tuple[tuple[str, Any], ...], free: tuple[str, ...]) -> Callable[..., Any]:
    """The update of one parameter; scheduled settings are inputs, so that they do not compile anew."""

    def update(p: Any, g: Any, state: Any, lr: Any, values: tuple) -> tuple[Any, Any]:
        return _rule(rule, {**dict(fixed), **dict(zip(free, values, strict=True))}).update(p, g, state, lr)

    return jax.jit(update)


# ---- the optimizers -------------------------------------------------------------------------------------


class SGD(Optimizer):
    """g += weight_decay * p;  v = momentum * v + (1 - dampening) * g, from v = 0;  p -= lr * v.

    nesterov: p -= lr * (g + momentum * v).  Without momentum p -= lr * g.
    """

    rule, fields = "sgd", (("moments", "velocity"),)

    def __init__(
        self,
        lr: Any = 0.1,
        momentum: Any = 0,
        dampening: Any = 0,
        weight_decay: Any = 0,
        nesterov: bool = False,
        dtype: Any = 0,
    ) -> None:
        super().__init__(lr, dtype)
        _not_negative("momentum", momentum)
        _not_negative("weight_decay", weight_decay)
        self.nesterov = nesterov
        self._hyper(
            momentum=(momentum, "momentum"),
            dampening=(dampening, "dampening"),
            weight_decay=(weight_decay, "weight_decay"),
        )
        plain = {k: getattr(v, "init_value", None) for k, v in self._settings.items()}
        if nesterov and (plain["momentum"] == 0 or plain["dampening"] != 0):
            raise BadSetting("Nesterov momentum requires a momentum and zero dampening")

    def _fixed(self) -> dict[str, Any]:
        return {**super()._fixed(), "nesterov": self.nesterov}


class RMSProp(Optimizer):
    """r = rho * r + (1 - rho) * g^2;  p -= lr * g / sqrt(r + epsilon), where g includes weight_decay * p."""

    rule, fields = "rmsprop", (("running_average", "square"),)

    def __init__(
        self, lr: Any = 0.1, rho: Any = 0.9, epsilon: Any = 1e-8, weight_decay: Any = 0, dtype: Any = 0
    ) -> None:
        super().__init__(lr, dtype)
        _not_negative("weight_decay", weight_decay)
        self._hyper(rho=(rho, "rho"), epsilon=(epsilon, "epsilon"), weight_decay=(weight_decay, "weight_decay"))


class AdaGrad(Optimizer):
    """h += g^2;  p -= lr * g / sqrt(h + epsilon), where g includes weight_decay * p."""

    rule, fields = "adagrad", (("history", "square"),)

    def __init__(self, lr: Any = 0.1, epsilon: Any = 1e-8, weight_decay: Any = 0, dtype: Any = 0) -> None:
        super().__init__(lr, dtype)
        _not_negative("weight_decay", weight_decay)
        self._hyper(epsilon=(epsilon, "epsilon"), weight_decay=(weight_decay, "weight_decay"))


class Adam(Optimizer):
    """p -= lr * m' / (sqrt(v') + epsilon), with both moments corrected for the updates so far.

    Unlike SINGA's the correction counts the updates of the parameter, whether or not `step` is called.
    """

    rule, fields = "adam", (("m", "mean"), ("v", "square"))

    def __init__(
        self,
        lr: Any = 0.1,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-8,
        weight_decay: Any = 0,
        dtype: Any = 0,
    ) -> None:
        super().__init__(lr, dtype)
        _not_negative("weight_decay", weight_decay)
        self._hyper(
            beta1=(beta_1, "beta_1"),
            beta2=(beta_2, "beta_2"),
            epsilon=(epsilon, "epsilon"),
            weight_decay=(weight_decay, "weight_decay"),
        )


def _not_negative(name: str, value: Any) -> None:
    if type(value) in (int, float) and value < 0:
        raise BadSetting(f"Invalid {name} value: {value}")
