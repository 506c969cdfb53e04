"""AnalogLinear and AnalogConv: a tile, or several, held with its state."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ....analog import AnalogLayer, logical_weights, post_updated, settings
from ....analog.convert import write_layer
from ....errors import GraphError
from ....execution.program import Program, make_program
from ....graph import Graph, Node, Value
from ..exceptions import ConfigError, TileError
from ..simulator.configs import InferenceRPUConfig

Arrays = dict[str, Any]


class _Analog:
    """What analog layers share: parameters and state by name, a forward that remembers, a backward that adds up.

    A kind of layer says which node it is (_node), what it takes (_sizes, _any_input) and gives (_output_sizes).
    """

    def __init__(self, shape: tuple[int, ...], bias: bool, rpu_config: Any, seed: int) -> None:
        self.rpu_config = InferenceRPUConfig() if rpu_config is None else rpu_config
        self._settings = settings(self.rpu_config)
        self._shape, self.training = shape, True
        self._key = jax.random.key(seed)
        rng = np.random.default_rng(seed)
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.grads: Arrays = {}
        self.set_weights(
            rng.uniform(-bound, bound, shape).astype(np.float32),
            rng.uniform(-bound, bound, shape[0]).astype(np.float32) if bias else None,
        )

    def _any_input(self) -> Any:
        raise TileError(
            f"{type(self).__name__} is not a layer by itself: take one of the kinds of convolution or linear"
        )

    def _sizes(self, x: Any) -> tuple:
        return x.shape

    def _output_sizes(self, sizes: tuple) -> tuple:
        return sizes

    def _node(self) -> Node:
        return Node("Identity", ("x",), ("y",), {}, "layer")

    def set_weights(self, weight: Any, bias: Any = None) -> None:
        """Put a logical weight (and bias) into the tiles; ranges and scales start anew."""
        weight = np.asarray(weight, np.float32)
        if weight.shape != self._shape:
            raise TileError(f"weight has shape {weight.shape}: expected {self._shape}")
        self._weight, self._bias = weight, None if bias is None else np.asarray(bias, np.float32)
        graph, layer = self._graph(self._any_input())
        self._layer: AnalogLayer = layer
        fresh = {**graph.params, **graph.buffers}
        kept = {
            k: v
            for k, v in {**getattr(self, "params", {}), **getattr(self, "state", {})}.items()
            if "input_range" in k and k in fresh
        }
        self.params = {k: jnp.asarray(kept.get(k, v)) for k, v in graph.params.items()}
        self.state = {k: jnp.asarray(kept.get(k, v)) for k, v in graph.buffers.items()}
        self._programs: dict[tuple, tuple[Any, Program]] = {}
        self._saved: tuple[Any, Any] | None = None

    def get_weights(self) -> tuple[np.ndarray, np.ndarray | None]:
        """(weight, bias): the logical ones, scales included."""
        graph, layer = self._graph(self._any_input())
        return logical_weights(graph, layer, self.params, self.state)

    def train(self, mode: bool = True) -> _Analog:
        self.training = bool(mode)
        return self

    def eval(self) -> _Analog:
        return self.train(False)

    def parameters(self) -> list[_Analog]:
        """For aihwkit.optim, which asks a layer for what it holds."""
        return [self]

    @property
    def input_range(self) -> jax.Array | None:
        """The range of the only tile; of several, the first."""
        found = {**self.params, **self.state}
        return next(
            (found[f"{p.prefix}input_range"] for p in self._layer.parts if f"{p.prefix}input_range" in found), None
        )

    def set_input_range(self, value: Any) -> None:
        """|value| becomes the range of every tile."""
        if self.input_range is None:
            raise ConfigError("Input range is not enabled: pre_post.input_range.enable is False")
        value = jnp.abs(jnp.reshape(jnp.asarray(value, jnp.float32), -1)[:1])
        for part in self._layer.parts:
            name = f"{part.prefix}input_range"
            (self.params if name in self.params else self.state)[name] = value

    def __call__(self, x: Any) -> jax.Array:
        x = jnp.asarray(x)
        run, program = self._program(x)
        self._key, key = jax.random.split(self._key)
        y, saved, params, state = run(self.params, self.state, x, key)
        self.params, self.state = params, state
        self._saved = (program, saved)
        return y

    forward = __call__

    def backward(self, dy: Any) -> jax.Array:
        """dL/dx of the last call; dL/d parameters are added to `grads`."""
        if self._saved is None:
            raise TileError("backward needs a call of the layer first")
        back, saved = self._saved
        grads, dx = back(self.params, saved, jnp.asarray(dy))
        self.grads = {k: self.grads[k] + g if k in self.grads else g for k, g in grads.items()}
        return dx

    def zero_grad(self) -> None:
        self.grads = {}

    def post_update_step(self) -> None:
        """Clip and map the weights, as the config says; aihwkit.optim calls it after each step."""
        self.params, self.state = post_updated(self._layer, self.params, self.state)

    def state_dict(self) -> Arrays:
        """All that the layer holds, by name: plain arrays, nothing pickled; see aidgejax.checkpoint."""
        return {**self.params, **self.state}

    def load_state_dict(self, held: Arrays) -> None:
        missing = {*self.params, *self.state} ^ set(held)
        if missing:
            raise TileError(
                f"a state of this layer has {sorted({*self.params, *self.state})}; these do not match: "
                f"{sorted(missing)}"
            )
        self.params = {k: jnp.asarray(held[k]) for k in self.params}
        self.state = {k: jnp.asarray(held[k]) for k in self.state}

    def _program(self, x: jax.Array) -> tuple[Any, Any]:
        spec = (x.shape[1:] if self._shape[2:] else x.shape[-1:], x.ndim, self.training)
        if spec not in self._programs:
            self._programs[spec] = self._compiled(x)
        return self._programs[spec]

    def _compiled(self, x: jax.Array) -> tuple[Any, Any]:
        graph, _ = self._graph(x)
        program = make_program(
            graph, seeds=["y"], wrt=[*graph.params, "x"], training=self.training, unreachable="zeros"
        )

        @jax.jit
        def run(params: Arrays, state: Arrays, x: Any, key: Any):
            outputs, saved, state = program.forward(params, state, {"x": x}, key)
            return outputs["y"], saved, program.with_updated_params(params, saved), state

        @jax.jit
        def back(params: Arrays, saved: Any, dy: Any):
            grads = program.backward(params, saved, {"y": dy})
            dx = grads.pop("x")
            return grads, dx

        return run, back

    def _graph(self, x: Any) -> tuple[Graph, AnalogLayer]:
        """The graph of this layer for inputs of this shape."""
        g = Graph(type(self).__name__)
        sizes = self._sizes(x)
        value = g.input("x", sizes)
        out, layer = write_layer(
            g,
            value,
            Value("y", self._output_sizes(sizes)),
            "",
            self._settings,
            self._weight,
            self._bias,
            self._node(),
            unfold=True,
        )
        g.add("Identity", [out], names=["y"])
        g.output("y")
        return g, layer


class AnalogLinear(_Analog):
    """y = x W^T + b on analog tiles.  f[..., in_features] -> f[..., out_features].

    rpu_config: default InferenceRPUConfig().  Raises ConfigError naming the field that a tile does not support.
    seed: of the first weights (uniform within 1 / sqrt(in_features), as torch's) and of the noise.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, rpu_config: Any = None, *, seed: int = 0
    ) -> None:
        self.in_features, self.out_features = in_features, out_features
        super().__init__((out_features, in_features), bias, rpu_config, seed)

    def _any_input(self) -> Any:
        return np.zeros((1, self.in_features), np.float32)

    def _sizes(self, x: Any) -> tuple:
        if x.shape[-1] != self.in_features:
            raise GraphError(
                f"AnalogLinear({self.in_features}, {self.out_features}) got an input of shape "
                f"{list(x.shape)}: expected [..., {self.in_features}]"
            )
        return (*(f"N{k}" for k in range(x.ndim - 1)), self.in_features)

    def _output_sizes(self, sizes: tuple) -> tuple:
        return (*sizes[:-1], self.out_features)

    def _node(self) -> Node:
        return Node("Gemm", ("x", "weight", "bias"), ("y",), {"transB": 1}, "linear")


class _AnalogConv(_Analog):
    """A convolution whose windows are laid out and multiplied on tiles.  f[n, in, *d] -> f[n, out, *e].

    Ranges and noise see every window, padding included, as in aihwkit.
    """

    axes = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        rpu_config: Any = None,
        *,
        seed: int = 0,
    ) -> None:
        if groups != 1 or padding_mode != "zeros":
            raise ConfigError(
                f"groups={groups}, padding_mode={padding_mode!r}: an analog convolution has one group "
                f"and zeros around it"
            )
        every = lambda v: (v,) * self.axes if isinstance(v, int) else tuple(v)  # noqa: E731
        self.kernel_size, self.stride = every(kernel_size), every(stride)
        self.padding, self.dilation = every(padding), every(dilation)
        self.in_channels, self.out_channels = in_channels, out_channels
        super().__init__((out_channels, in_channels, *self.kernel_size), bias, rpu_config, seed)

    def _any_input(self) -> Any:
        sizes = [d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True)]
        return np.zeros((1, self.in_channels, *sizes), np.float32)

    def _sizes(self, x: Any) -> tuple:
        if x.ndim != self.axes + 2 or x.shape[1] != self.in_channels:
            raise GraphError(
                f"{type(self).__name__} got an input of shape {list(x.shape)}: expected "
                f"[n, {self.in_channels}, and {self.axes} sizes]"
            )
        return ("N", *x.shape[1:])

    def _output_sizes(self, sizes: tuple) -> tuple:
        spatial = [
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(sizes[2:], self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        ]
        return (sizes[0], self.out_channels, *spatial)

    def _node(self) -> Node:
        attrs = {
            "kernel_shape": self.kernel_size,
            "strides": self.stride,
            "dilations": self.dilation,
            "pads": self.padding * 2,
        }
        return Node("Conv", ("x", "weight", "bias"), ("y",), attrs, "conv")


class AnalogConv1d(_AnalogConv):
    __doc__ = _AnalogConv.__doc__
    axes = 1


class AnalogConv2d(_AnalogConv):
    __doc__ = _AnalogConv.__doc__


class AnalogConv3d(_AnalogConv):
    __doc__ = _AnalogConv.__doc__
    axes = 3
