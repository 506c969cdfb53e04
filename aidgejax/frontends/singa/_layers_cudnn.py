"""CudnnRNN: SINGA's recurrent layer for whole sequences, here on whatever device there is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from . import _functional as F
from ._errors import BadSetting, DoesNotFit
from ._layer_base import Layer
from ._mode import is_training
from ._operation import Built
from ._tensor import Tensor

# Gates in the order of cuDNN's weights, and where ONNX has them.
GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}
ONNX_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "tanh": (0,), "relu": (0,)}


class _Packed:
    """The places of weights in one vector: those of every layer and direction, input's before state's, then biases."""

    def __init__(self, mode: str, inputs: int, hidden: int, layers: int, directions: int, bias: bool) -> None:
        self.rows, self.hidden, self.bias = GATES[mode] * hidden, hidden, bias
        self.columns = [
            (inputs if layer == 0 else hidden * directions) for layer in range(layers) for _ in range(directions)
        ]

    @property
    def size(self) -> int:
        matrices = sum(self.rows * (c + self.hidden) for c in self.columns)
        return matrices + (2 * self.rows * len(self.columns) if self.bias else 0)

    def matrices(self) -> Iterator[tuple[int, int, int]]:
        """(start of the input's weights, start of the state's, end) for each layer and direction."""
        at = 0
        for columns in self.columns:
            middle = at + self.rows * columns
            end = middle + self.rows * self.hidden
            yield at, middle, end
            at = end


class _RNN(Built):
    """x f[steps, n, inputs], W, and where there are any hx and cx f[layers * directions, n, hidden]; lengths i[n]
    -> f[steps, n, directions * hidden]."""

    @staticmethod
    def write(
        op: Any,
        x: Any,
        w: Any,
        *rest: Any,
        mode: str,
        hidden: int,
        states: bool,
        layers: int,
        directions: int,
        bias: bool,
        dropout: float,
        last_only: bool,
    ) -> Any:
        steps, _, inputs = x.shape
        hx, cx = rest[:2] if states else (None, None)
        lengths = rest[-1] if len(rest) % 2 else None
        packed = _Packed(mode, inputs, hidden, layers, directions, bias)
        places, end = list(packed.matrices()), packed.size

        def part(start: int, stop: int, shape: tuple[int, ...]) -> Any:
            return op.Reshape(op.Slice(w, (start,), (stop,), (0,)), shape)

        def in_onnx_order(start: int, columns: int) -> Any:
            """The gates of one matrix (or, of one column, bias), f[1, gates * hidden, columns]."""
            block = hidden * columns
            gates = [part(start + g * block, start + (g + 1) * block, (1, hidden, columns)) for g in ONNX_ORDER[mode]]
            return op.Concat(*gates, axis=1) if len(gates) > 1 else gates[0]

        def stacked(each: list[Any]) -> Any:
            return op.Concat(*each, axis=0) if len(each) > 1 else each[0]

        biases_at = places[-1][2]
        for layer in range(layers):
            mine = range(layer * directions, (layer + 1) * directions)
            from_input = stacked([in_onnx_order(places[k][0], packed.columns[k]) for k in mine])
            from_state = stacked([in_onnx_order(places[k][1], hidden) for k in mine])
            both = None
            if bias:
                starts = [biases_at + 2 * packed.rows * k for k in mine]
                rows = packed.rows
                pairs = [op.Concat(in_onnx_order(s, 1), in_onnx_order(s + rows, 1), axis=1) for s in starts]
                both = op.Reshape(stacked(pairs), (directions, 2 * rows))
            state, cell = (None if s is None else op.Slice(s, (mine[0],), (mine[-1] + 1,), (0,)) for s in (hx, cx))
            settings = {
                "hidden_size": hidden,
                "direction": "bidirectional" if directions == 2 else "forward",
            }
            operands = [x, from_input, from_state, both, lengths, state]
            if mode == "lstm":
                y, _, _ = op.LSTM(*operands, cell, outputs=3, **settings)
            elif mode == "gru":
                y, _ = op.GRU(*operands, outputs=2, linear_before_reset=1, **settings)
            else:
                y, _ = op.RNN(*operands, outputs=2, activations=(mode.capitalize(),) * directions, **settings)
            x = op.Reshape(op.Transpose(y, perm=(0, 2, 1, 3)), (0, 0, directions * hidden))
            if dropout and layer < layers - 1:
                x = op.Dropout(x, dropout, True)
        if end != w.shape[0]:
            raise DoesNotFit(f"CudnnRNN: {end} weights are needed, W has {w.shape[0]}")
        if not last_only:
            return x
        if lengths is None:
            return op.Squeeze(op.Slice(x, (steps - 1,), (steps,), (0,)), (0,))
        one = op.OneHot(op.Sub(op.Cast(lengths, to=7), 1), (steps,), (0.0, 1.0), axis=0)
        return op.ReduceSum(op.Mul(x, op.Unsqueeze(op.CastLike(one, x), (2,))), (0,), keepdims=0)


class CudnnRNN(Layer):
    """A recurrent network over whole sequences: rnn(x) -> y.

    x: [n, steps, features] with batch_first, else [steps, n, features].  y: the last layer's states of all steps,
    [n, steps, directions * hidden_size] or steps first; without return_sequences those of the last step alone.
    rnn_mode: "lstm", "gru", or "vanilla" with activation "tanh" or "relu".  dropout: the fraction dropped between
    layers in training.  use_mask: call it with seq_lengths, how many steps of each row count; outputs beyond are 0.
    W: all weights in one vector: for each layer and direction the input's matrix and the state's, their gates in
    cuDNN's order (lstm: i, f, g, o; gru: r, z, n); then, in the same order, two biases each.
    W ~ uniform(-k, k), k = 1 / sqrt(hidden_size).
    """

    def __init__(
        self,
        hidden_size: int,
        activation: str = "tanh",
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0,
        bidirectional: bool = False,
        rnn_mode: str = "lstm",
        use_mask: bool = False,
        return_sequences: bool = True,
    ) -> None:
        super().__init__()
        mode = activation if rnn_mode in ("vanilla", "rnn") else rnn_mode
        if mode not in GATES:
            raise BadSetting(
                f"CudnnRNN: rnn_mode is {rnn_mode!r} and activation {activation!r}; expected 'lstm', 'gru', or "
                f"'vanilla' with 'tanh' or 'relu'"
            )
        if hidden_size < 1 or num_layers < 1 or not 0 <= dropout < 1:
            raise BadSetting(
                f"CudnnRNN: hidden_size is {hidden_size}, num_layers {num_layers} and dropout {dropout}; expected "
                f"sizes of at least 1 and a fraction from 0 to below 1"
            )
        self.hidden_size, self.num_layers, self.bias = hidden_size, num_layers, bool(bias)
        self.batch_first, self.dropout, self.bidirectional = batch_first, float(dropout), bidirectional
        self.rnn_mode, self.use_mask, self.return_sequences = mode, use_mask, return_sequences

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def initialize(
        self, x: Tensor, hx: Tensor | None = None, cx: Tensor | None = None, seq_lengths: Any = None
    ) -> None:
        if x.ndim() != 3:
            raise DoesNotFit(
                f"layer {self.name!r}: CudnnRNN takes sequences with 3 axes, got {x.name} of shape {list(x.shape)}"
            )
        packed = _Packed(self.rnn_mode, x.shape[2], self.hidden_size, self.num_layers, self._directions, self.bias)
        self.W = self.param((packed.size,), x)
        bound = 1 / math.sqrt(self.hidden_size)
        self.W.uniform(-bound, bound)

    def forward(self, x: Tensor, hx: Tensor | None = None, cx: Tensor | None = None, seq_lengths: Any = None) -> Tensor:
        if self.use_mask and seq_lengths is None:
            raise BadSetting(f"layer {self.name!r}: use_mask needs seq_lengths, how many steps of each row count")
        x = F.transpose(x, (1, 0, 2)) if self.batch_first else x
        shape = (self.num_layers * self._directions, x.shape[1], self.hidden_size)
        begin = () if hx is None and cx is None else tuple(self._state(s, shape, x) for s in (hx, cx))
        y = _RNN(
            mode=self.rnn_mode,
            hidden=self.hidden_size,
            states=bool(begin),
            layers=self.num_layers,
            directions=self._directions,
            bias=self.bias,
            dropout=self.dropout if is_training() else 0.0,
            last_only=not self.return_sequences,
        )
        if self.use_mask:
            y.extras = (F.cast(seq_lengths, 2) if isinstance(seq_lengths, Tensor) else seq_lengths,)
        (states,) = y(x, self.W, *begin)
        return F.transpose(states, (1, 0, 2)) if self.batch_first and self.return_sequences else states

    def _state(self, state: Tensor | None, shape: tuple[int, ...], x: Tensor) -> Tensor:
        if state is None:
            state = Tensor(shape, x.device, self.W.dtype, requires_grad=False)
            return state.set_value(0.0)
        if state.shape != shape:
            raise DoesNotFit(f"layer {self.name!r}: a state has shape {list(shape)}, got {list(state.shape)}")
        return state
