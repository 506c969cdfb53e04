"""Optimizers: objects that build a function (params, gradients, optim_states) -> (params, optim_states).

The rules stand in aidgejax.optim, with TVM's conventions as options: the first step of momentum is dampened too, Adam
keeps the powers of its betas as running products.  The function is an explicit Graph, traced from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from .....graph import Value
from .....passes.from_jax import as_graph
from .....training import optim
from ...errors import NotReady, NotWritten, RelaxValueError, SymbolicShape
from ...runtime import Tensor, tensor
from ..expr import Expr, Var
from ..function import Function
from ..types import TensorType, TupleType


class Optimizer:
    """The base.  After `init`: dtype, param_list, and state, a tuple of Tensors that training starts from."""

    dtype: str | None
    param_list: Any  # None, or a list of Vars
    state: tuple[Tensor, ...] | None

    def __init__(self, name: str) -> None:
        self.name = name
        self.dtype = self.param_list = self.state = None

    def init(self, params: Var | Sequence[Var]) -> Optimizer:
        """Set the parameters to optimize: distinct Vars of one floating-point dtype."""
        params = [params] if isinstance(params, Expr) else list(params)
        self._check(params)
        self.param_list, self.dtype = params, params[0].struct_info.dtype if params else "float32"
        self.state = None
        return self

    def _check(self, params: list[Any]) -> None:
        seen: set[Var] = set()
        for k, p in enumerate(params):
            if not isinstance(p, Var):
                raise RelaxValueError(f"Parameter {p if isinstance(p, int | str) else k} is not a Var")
            if not isinstance(p.struct_info, TensorType):
                raise RelaxValueError(
                    f"Optimizers only support Tensor parameters, but parameter {p.name_hint} has type {p.struct_info}"
                )
            if not p.struct_info.is_float:
                raise RelaxValueError(
                    f"Optimizers only support Tensor parameters of floating point dtype, but dtype "
                    f"of {p.name_hint} is {p.struct_info.dtype}"
                )
            if p.struct_info.dtype != params[0].struct_info.dtype:
                raise RelaxValueError(
                    f"All parameters should have the same dtype, but parameter {p.name_hint} has "
                    f"dtype {p.struct_info.dtype}, which differs from the previous dtype "
                    f"{params[0].struct_info.dtype}"
                )
            if p in seen:
                raise RelaxValueError(f"Parameter {p.name_hint} appears more than once")
            seen.add(p)

    def _check_init(self) -> tuple[Tensor, ...]:
        """The state; an optimizer of one's own calls it first in get_function.  Raises NotReady before init set one."""
        if self.state is None:
            raise NotReady("Please call init() for the optimizer before calling get_function()")
        return self.state

    def get_function(self) -> Function:
        """(params, gradients, optim_states) -> (params, optim_states), each a tuple."""
        self._check_init()
        raise NotWritten(f"{type(self).__name__} has no get_function: an optimizer of one's own writes it")


class _Ruled(Optimizer):
    """An optimizer whose rule is one of aidgejax.optim.

    lr: a number, or a schedule (see aidgejax.schedule): a function of the number of updates made so far.
    slots: the names of what the state holds per parameter, after the number of steps and `scalars`.
    """

    slots: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()

    def __init__(self, name: str, lr: float | Callable, rule: optim.Optimizer) -> None:
        super().__init__(name)
        self.lr, self._rule = lr, rule

    def init(self, params: Var | Sequence[Var]) -> Optimizer:
        super().init(params)
        symbolic = [p for p in self.param_list if not p.struct_info.is_static]
        if symbolic and self.slots:
            raise SymbolicShape(
                f"{self.name} keeps a state per parameter, so every shape must be numbers, but "
                f"parameter {symbolic[0].name_hint} has type {symbolic[0].struct_info}"
            )
        numbers = [np.zeros((), np.int64), *(np.ones((), self._numpy_dtype) for _ in self.scalars)]
        arrays = [np.zeros(p.struct_info.shape, self._numpy_dtype) for _ in self.slots for p in self.param_list]
        self.state = tuple(tensor(a) for a in [*numbers, *arrays])
        return self

    @property
    def _numpy_dtype(self) -> Any:
        return jax.numpy.dtype(self.dtype)

    @property
    def state_names(self) -> list[str]:
        """What each tensor of the state is called."""
        return ["num_steps", *self.scalars, *(f"{p.name_hint}.{s}" for s in self.slots for p in self.param_list)]

    def get_function(self) -> Function:
        state = self._check_init()
        params = self.param_list
        types = [p.struct_info for p in params]
        names = _distinct([p.name_hint for p in params])
        grads = [f"{n}_grad" for n in names]
        states = ["num_steps", *self.scalars, *(f"{n}.{s}" for s in self.slots for n in names)]
        state_types = [TensorType(s.shape, s.dtype) for s in state]
        inputs = [
            Value(n, t.shape, t.dtype)
            for n, t in zip([*names, *grads, *states], [*types, *types, *state_types], strict=True)
        ]
        outputs = [f"{n}_new" for n in (*names, *states)]
        graph = as_graph("optimizer", self._update, inputs, outputs)
        declared = [
            Var("params", TupleType(types)),
            Var("gradients", TupleType(types)),
            Var("optim_states", TupleType(state_types)),
        ]
        called = dict(zip(declared, (tuple(names), tuple(grads), tuple(states)), strict=True))
        result = (tuple(outputs[: len(names)]), tuple(outputs[len(names) :]))
        return Function(self.name, graph, declared, result, called, attrs={"global_symbol": self.name})

    def _update(self, *arrays: Any) -> list[Any]:
        """The rule on flat arrays: params, gradients, state -> params, state."""
        n = len(self.param_list)
        params, grads, state = list(arrays[:n]), list(arrays[n : 2 * n]), list(arrays[2 * n :])
        steps, scalars, slots = state[0], state[1 : 1 + len(self.scalars)], state[1 + len(self.scalars) :]
        lr = self.lr(steps) if callable(self.lr) else float(self.lr)
        held = [self._packed(steps, scalars, slots[k::n]) for k in range(n)]
        params, held = self._rule.update(params, grads, held, lr)
        unpacked = [self._unpacked(h) for h in held]
        scalars = unpacked[0][0] if unpacked else scalars
        return [*params, steps + 1, *scalars, *(u[1][j] for j in range(len(self.slots)) for u in unpacked)]

    def _packed(self, steps: Any, scalars: list[Any], slots: list[Any]) -> Any:
        """One parameter's state, as aidgejax.optim keeps it."""
        return optim.Momentum(slots[0] if slots else None, steps)

    def _unpacked(self, held: Any) -> tuple[list[Any], list[Any]]:
        return [], [held.velocity]


def _distinct(names: list[str]) -> list[str]:
    """The names, numbered where they repeat."""
    seen: dict[str, int] = {}
    found = []
    for n in names:
        seen[n] = seen.get(n, -1) + 1
        found.append(f"{n}.{seen[n]}" if seen[n] else n)
    return found


class SGD(_Ruled):
    """p <- p - lr * g, and g includes weight_decay * p.  State: (num_steps,)."""

    def __init__(self, lr: float | Callable, weight_decay: float = 0) -> None:
        super().__init__("SGD", lr, optim.sgd(weight_decay=weight_decay, first="dampened"))
        self.weight_decay = weight_decay


class MomentumSGD(_Ruled):
    """v <- momentum * v + (1 - dampening) * g, from v = 0;  p <- p - lr * v, with nesterov p - lr * (g + momentum * v).

    g includes weight_decay * p.  State: (num_steps, v of each parameter).
    """

    slots = ("v",)

    def __init__(
        self,
        lr: float | Callable,
        momentum: float,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        # Momentum 0 as an array: the state has its velocities all the same.
        keeps = momentum if momentum else jax.numpy.zeros((), "float32")
        super().__init__(
            "MomentumSGD", lr, optim.sgd(keeps, dampening, weight_decay, nesterov, first="dampened", dampen_always=True)
        )
        self.momentum, self.dampening = momentum, dampening
        self.weight_decay, self.nesterov = weight_decay, nesterov


class Adam(_Ruled):
    """p <- p - lr * (m / (1 - b1)) / (sqrt(v / (1 - b2)) + eps), m and v running means of g and g^2.

    g includes weight_decay * p.  b1, b2: running products of the betas.  State: (num_steps, b1, b2, m of each
    parameter, v of each).
    """

    slots, scalars = ("m", "v"), ("beta1_product", "beta2_product")

    def __init__(
        self,
        lr: float | Callable,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
    ) -> None:
        super().__init__("Adam", lr, optim.adam(*betas, eps, weight_decay, bias_correction="products"))
        self.beta1, self.beta2 = betas
        self.eps, self.weight_decay = eps, weight_decay

    def _packed(self, steps: Any, scalars: list[Any], slots: list[Any]) -> Any:
        return optim.Moments(slots[0], slots[1], steps, tuple(scalars))

    def _unpacked(self, held: Any) -> tuple[list[Any], list[Any]]:
        return list(held.powers), [held.mean, held.square]
