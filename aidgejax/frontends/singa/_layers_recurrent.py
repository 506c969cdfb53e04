"""Recurrent layers: a list of inputs, one per step, and the state to begin with."""

from __future__ import annotations

from typing import Any

from . import _functional as F
from ._errors import BadSetting, DoesNotFit, Unsupported
from ._layer_base import Layer
from ._tensor import Tensor

GATES = "ifog"


class RNN_Base(Layer):
    def step_forward(self, *args: Any, **kwargs: Any) -> Any:
        raise Unsupported(f"layer {self.name!r} ({type(self).__name__}) has no step_forward")


def _check_steps(layer: Layer, xs: Any, h: Tensor) -> None:
    for k, x in enumerate(xs):
        if x.ndim() != 2 or x.shape[1] != layer.input_size or x.shape[0] != h.shape[0]:
            raise DoesNotFit(
                f"layer {layer.name!r}: step {k} takes [{h.shape[0]}, {layer.input_size}], "
                f"got {x.name} of shape {list(x.shape)}"
            )
    if h.ndim() != 2 or h.shape[1] != layer.hidden_size:
        raise DoesNotFit(
            f"layer {layer.name!r}: the state takes [n, {layer.hidden_size}], got {h.name} of shape {list(h.shape)}"
        )


class RNN(RNN_Base):
    """h = act(x Wx + h Wh + b) for each step: rnn(xs, h0) -> (all h, the last h).

    nonlinearity: tanh or relu.  num_layers, bidirectional, dropout and batch_first are ignored, as in SINGA.
    Wx, Wh ~ N(0, 1), b = 0.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        if nonlinearity not in ("tanh", "relu"):
            raise BadSetting(f"Unknown nonlinearity: {nonlinearity!r}; expected 'tanh' or 'relu'")
        self.input_size, self.hidden_size, self.nonlinearity = input_size, hidden_size, nonlinearity

    def initialize(self, xs: Any, h0: Tensor) -> None:
        self.Wx = self.param((self.input_size, self.hidden_size), h0)
        self.Wh = self.param((self.hidden_size, self.hidden_size), h0)
        self.b = self.param((self.hidden_size,), h0)
        for weight in (self.Wx, self.Wh):
            weight.gaussian(0.0, 1.0)
        self.b.set_value(0.0)

    def forward(self, xs: Any, h0: Tensor) -> tuple[list[Tensor], Tensor]:
        xs = list(xs) if isinstance(xs, tuple | list) else [xs]
        _check_steps(self, xs, h0)
        out, h = [], h0
        for x in xs:
            h = self.step_forward(x, h, self.Wx, self.Wh, self.b)
            out.append(h)
        return out, h

    def step_forward(self, x: Tensor, h: Tensor, Wx: Tensor, Wh: Tensor, b: Tensor) -> Tensor:
        from_input = F.matmul(x, Wx)
        y = F.add_bias(F.add(F.matmul(h, Wh), from_input), b, axis=0)
        return F.tanh(y) if self.nonlinearity == "tanh" else F.relu(y)


class LSTM(RNN_Base):
    """Gates i, f, o and candidate g, each x Wx + Bx + h Wh + Bh: lstm(xs, (h0, c0)) -> (all h, the last h, the last c).

    c = f * c + i * g;  h = o * tanh(c).  Weights ~ N(0, 0.01 as standard deviation), biases 0.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        nonlinearity: str = "tanh",
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size

    def initialize(self, xs: Any, hc: Any) -> None:
        h = hc[0]
        for stem, rows in (("Wx", self.input_size), ("Wh", self.hidden_size)):
            for gate in GATES:
                setattr(self, f"{stem}_{gate}", self.param((rows, self.hidden_size), h))
                getattr(self, f"{stem}_{gate}").gaussian(0.0, 0.01)
        for stem in ("Bx", "Bh"):
            for gate in GATES:
                setattr(self, f"{stem}_{gate}", self.param((self.hidden_size,), h))
                getattr(self, f"{stem}_{gate}").set_value(0.0)

    def forward(self, xs: Any, hc: Any) -> tuple[list[Tensor], Tensor, Tensor]:
        h, c = hc
        xs = list(xs) if isinstance(xs, tuple | list) else [xs]
        _check_steps(self, xs, h)
        out = []
        for x in xs:
            h, c = self.step_forward(x, h, c)
            out.append(h)
        return out, h, c

    def _gate(self, x: Tensor, h: Tensor, gate: str) -> Tensor:
        part = lambda v, w, b: F.add_bias(
            F.matmul(v, getattr(self, f"{w}_{gate}")), getattr(self, f"{b}_{gate}"), axis=0
        )
        return F.add(part(x, "Wx", "Bx"), part(h, "Wh", "Bh"))

    def step_forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, o = (F.sigmoid(self._gate(x, h, gate)) for gate in "ifo")
        g = F.tanh(self._gate(x, h, "g"))
        c = F.add(F.mul(f, c), F.mul(i, g))
        return F.mul(o, F.tanh(c)), c
