"""The layers between analog ones, for arrays; with torch, its own do as well, and tensors are left to it."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .....dtypes import Arrays
from .....execution.cache import PROGRAMS
from .....execution.program import Program, make_program
from .....graph import Graph
from ...exceptions import TileError
from ._module import Module, adopt_torch, check_arrays, in_torch, is_tensor


class Function(Module):
    """One operator as a layer.  op, attrs: of the graph; torch_name: its class in torch.nn."""

    op = "Identity"
    torch_name = "Identity"

    def __init__(self, *arguments: Any, **attrs: Any) -> None:
        adopt_torch()
        super().__init__()
        self.arguments, self.attrs = arguments, tuple(sorted(attrs.items()))
        self.held: Arrays = {}
        self.moving: Arrays = {}
        self._grads: Arrays = {}
        self._saved: list[tuple[Program, Arrays, Any]] = []
        self._calls = 0

    def forward(self, x: Any) -> Any:
        if is_tensor(x):
            return getattr(sys.modules["torch"].nn, self.torch_name)(*self.arguments).train(self.training)(x)
        return self._call(self.op, self.attrs, x)

    def _call(self, op: str, attrs: tuple, x: Any) -> Any:
        x = jnp.asarray(x)
        producers = tuple((k, tuple(v.shape), k in self.held) for k, v in {**self.held, **self.moving}.items())
        program = program_of(op, attrs, x.ndim, producers, self.training)
        self._calls += 1
        key = jax.random.fold_in(jax.random.key(0), self._calls)
        outputs, saved, self.moving = program.forward(self.held, self.moving, {"x": x}, key)
        self._saved = [*(self._saved[-64:] if self.training else ()), (program, self.held, saved)]
        return outputs["y"]

    def backward(self, dy: Any) -> Any:
        if not self._saved:
            raise TileError("backward needs a call of the layer first, with an array")
        program, held, saved = self._saved.pop() if len(self._saved) > 1 else self._saved[0]
        grads = program.backward(held, saved, {"y": jnp.asarray(dy)})
        dx = grads.pop("x")
        self._grads = {k: self._grads[k] + g if k in self._grads else g for k, g in grads.items()}
        return dx

    # ---- for aihwkit.optim, of layers with parameters -----------------------------------------------------

    @property
    def params(self) -> Arrays:
        return self.held

    @params.setter
    def params(self, new: Arrays) -> None:
        self.held = dict(new)

    @property
    def grads(self) -> Arrays:
        return self._grads

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._grads = {}

    def post_update_step(self) -> None:
        self._saved = []

    def parameters(self, *args: Any, **kwargs: Any) -> Any:
        if in_torch():
            return super().parameters(*args, **kwargs)
        return [self] if self.held else []

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return super().state_dict(*args, **kwargs) if in_torch() else {**self.held, **self.moving}

    def load_state_dict(self, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        if in_torch():
            return super().load_state_dict(state_dict, *args, **kwargs)
        self.check_state_dict(state_dict)
        self.held = {k: jnp.asarray(state_dict[k]) for k in self.held}
        self.moving = {k: jnp.asarray(state_dict[k]) for k in self.moving}
        return None

    def check_state_dict(self, state_dict: dict[str, Any], where: str = "this layer") -> None:
        """Raise TileError unless names, shapes and dtypes are those of the layer's own state."""
        check_arrays({**self.held, **self.moving}, state_dict, where)


@PROGRAMS.cached
def program_of(op: str, attrs: tuple, rank: int, producers: tuple, training: bool) -> Program:
    g = Graph(op)
    inputs = [g.input("x", [f"N{k}" for k in range(rank)])]
    for name, shape, trained in producers:
        inputs.append((g.parameter if trained else g.buffer)(name, np.zeros(shape, np.float32)))
    g.add(op, inputs, dict(attrs), names=["y"])
    g.output("y")
    return make_program(g, wrt=[*g.params, "x"], training=training)


class ReLU(Function):
    """max(x, 0)"""

    op, torch_name = "Relu", "ReLU"


class Tanh(Function):
    """tanh(x)"""

    op = torch_name = "Tanh"


class Sigmoid(Function):
    """1 / (1 + exp(-x))"""

    op = torch_name = "Sigmoid"


class Flatten(Function):
    """f[n, *d] -> f[n, prod(d)]"""

    op = torch_name = "Flatten"


class LogSoftmax(Function):
    """log softmax(x) along dim."""

    op = torch_name = "LogSoftmax"

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim, axis=dim)


class MaxPool2d(Function):
    """The largest of each window.  f[n, c, h, w] -> f[n, c, ...]"""

    op, torch_name = "MaxPool", "MaxPool2d"

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        pair = lambda v: (v, v) if isinstance(v, int) else tuple(v)
        stride = kernel_size if stride is None else stride
        super().__init__(
            kernel_size, stride, padding, kernel_shape=pair(kernel_size), strides=pair(stride), pads=pair(padding) * 2
        )


class Dropout(Function):
    """Each element is 0 with probability p in training, the others divided by 1 - p."""

    op = torch_name = "Dropout"

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p, ratio=float(p))
        self.p = p

    def forward(self, x: Any) -> Any:
        return super().forward(x) if is_tensor(x) or self.training else self._call("Identity", (), x)


class BatchNorm2d(Function):
    """Images normalized by channel, and scaled; running statistics outside training.  With torch, torch.nn's own."""

    op, torch_name = "BatchNormalization", "BatchNorm2d"

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return sys.modules["torch"].nn.BatchNorm2d(*args, **kwargs) if adopt_torch() else super().__new__(cls)

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, epsilon=eps, momentum=1 - momentum)
        ones, zeros = jnp.ones(num_features), jnp.zeros(num_features)
        self.held = {"weight": ones, "bias": zeros}
        self.moving = {"running_mean": zeros, "running_var": ones}
