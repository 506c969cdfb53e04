"""Sequences: Pop, and the recurrent cells LSTM, GRU and Leaky behind it.

Behind a Pop a cell reads the whole sequence [steps, batch, features], step by step, and gives its last state; alone it
makes one step on [batch, features].  Initial states are data inputs, which must be given.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

from ..errors import GraphViewError
from ..operator import OperatorTensor
from .definition import define


class leaky_reset(enum.Enum):  # noqa: N801  (Aidge's name)
    """What a spike does to the potential: take the threshold off, or set it to zero."""

    subtraction = 0
    to_zero = 1


class Cell(OperatorTensor):
    """A recurrent cell: its initial states are inputs of the graph that holds it."""

    states: tuple[int, ...] = ()

    def is_graph_input(self, idx: int) -> bool:
        return super().is_graph_input(idx) or idx in self.states


class LSTMCell(Cell):
    states = (17, 18)


class GRUCell(Cell):
    states = (13,)


@define("Pop", rank=None)
def pop(c: Any, data_input: Any) -> Any:
    """One element of a sequence at a time; a recurrent cell behind it gets all of them, others the last."""
    found = c.named("Gather", data_input, -1, axis=0)
    c.sequences[found.name] = data_input
    return found


@define("Memorize", outputs=("data_output", "data_output_rec"))
def memorize(c: Any, data_input: Any, data_input_init: Any = None, *, end_step: int) -> Any:
    """What its input was in the step before; a part of recurrent cells."""
    raise GraphViewError(
        f"node {c.name!r}: a Memorize of one's own does not run here; build recurrent graphs of LSTM, GRU or Leaky, "
        f"or read them from ONNX"
    )


def _steps(c: Any, x: Any, seq_length: int) -> Any:
    """[steps, batch, features]: the sequence that x is an element of, or x alone."""
    whole = c.sequences.get(x.name)
    if whole is None:
        return c.step("Unsqueeze", x, (0,))
    return c.step("Slice", whole, (0,), (int(seq_length),), (0,))


def _joined(c: Any, tensors: Sequence[Any]) -> Any:
    """One after the other along the first axis, behind a new axis of one direction."""
    return c.step("Unsqueeze", c.step("Concat", *tensors, axis=0), (0,))


def _biases(c: Any, tensors: Sequence[Any]) -> Any:
    given = [t for t in tensors if t is not None]
    if given and len(given) < len(tensors):
        raise GraphViewError(f"node {c.name!r}: {len(given)} of its {len(tensors)} biases are given; give all or none")
    return _joined(c, tensors) if given else None


def _lstm_weights(in_channels: int, hidden_channels: int, /, nobias: bool) -> dict[str, Any]:
    n = hidden_channels
    return {
        **{f"w{g}": (n, in_channels) for g in "iofc"},
        **{f"r{g}": (n, n) for g in "iofc"},
        **{f"wb{g}": None if nobias else (n,) for g in "iofc"},
        **{f"rb{g}": None if nobias else (n,) for g in "iofc"},
    }


@define(
    "LSTM",
    parameters=[f"{k}_{g}" for k in ("w", "r", "wb", "rb") for g in "iofc"],
    outputs=("hidden_state", "cell_state", "hidden_states"),
    rank=2,
    weights=_lstm_weights,
    base=LSTMCell,
)
def lstm(
    c: Any, data_input: Any,
    w_i: Any, w_o: Any, w_f: Any, w_c: Any, r_i: Any, r_o: Any, r_f: Any, r_c: Any,
    wb_i: Any = None, wb_o: Any = None, wb_f: Any = None, wb_c: Any = None,
    rb_i: Any = None, rb_o: Any = None, rb_f: Any = None, rb_c: Any = None,
    hidden_state: Any = None, cell_state: Any = None,
    *, seq_length: int, nobias: bool = False,
) -> Any:  # fmt: skip
    """Long short-term memory: weights [hidden, in] and [hidden, hidden] of the gates input, output, forget, cell.

    The result is the last hidden state [batch, hidden]; then the last cell state, and all hidden states.
    """
    biases = _biases(c, (wb_i, wb_o, wb_f, wb_c, rb_i, rb_o, rb_f, rb_c))
    first = [c.step("Unsqueeze", s, (0,)) for s in (hidden_state, cell_state)]
    tensors = (_joined(c, (w_i, w_o, w_f, w_c)), _joined(c, (r_i, r_o, r_f, r_c)), biases, None, *first)
    whole, hidden, cell = c.step(
        "LSTM", _steps(c, data_input, seq_length), *tensors, hidden_size=c.size(r_i, 0), outputs=3
    )
    last = c.named("Squeeze", hidden, (0,))
    return last, c.step("Squeeze", cell, (0,)), c.step("Squeeze", whole, (1,))


def _gru_weights(in_channels: int, hidden_channels: int, /, nobias: bool) -> dict[str, Any]:
    n = hidden_channels
    return {
        **{f"w{g}": (n, in_channels) for g in "zrh"},
        **{f"r{g}": (n, n) for g in "zrh"},
        **{f"wb{g}": None if nobias else (n,) for g in "zrh"},
        **{f"rb{g}": None if nobias else (n,) for g in "zrh"},
    }


@define(
    "GRU",
    parameters=[f"{k}_{g}" for k in ("w", "r", "wb", "rb") for g in "zrh"],
    outputs=("hidden_state",),
    rank=2,
    weights=_gru_weights,
    base=GRUCell,
)
def gru(
    c: Any, data_input: Any,
    w_z: Any, w_r: Any, w_h: Any, r_z: Any, r_r: Any, r_h: Any,
    wb_z: Any = None, wb_r: Any = None, wb_h: Any = None, rb_z: Any = None, rb_r: Any = None, rb_h: Any = None,
    hidden_state: Any = None,
    *, seq_length: int, nobias: bool = False,
) -> Any:  # fmt: skip
    """Gated recurrent unit: h' = (1 - z) tanh(W x + R (r h)) + z h; the result is the last hidden state."""
    biases = _biases(c, (wb_z, wb_r, wb_h, rb_z, rb_r, rb_h))
    tensors = (_joined(c, (w_z, w_r, w_h)), _joined(c, (r_z, r_r, r_h)), biases, None)
    first = c.step("Unsqueeze", hidden_state, (0,))
    _, hidden = c.step("GRU", _steps(c, data_input, seq_length), *tensors, first, hidden_size=c.size(r_z, 0), outputs=2)
    return c.named("Squeeze", hidden, (0,))


@define("Leaky", outputs=("spike", "potential", "potential_state", "spike_state"))
def leaky(
    c: Any,
    data_input: Any,
    *,
    nb_timesteps: int,
    beta: float,
    threshold: float = 1.0,
    reset: Any = leaky_reset.subtraction,
    output: bool = False,
) -> Any:
    """A leaky integrate-and-fire neuron: u <- x + beta u - threshold s, s = 1 where u > threshold; all start at 0.

    With reset to_zero u <- x + (1 - s) beta u.  The result is whether it fires in the last step; then u, and both as
    they are remembered.
    """
    if reset not in (leaky_reset.subtraction, leaky_reset.to_zero):
        raise GraphViewError(f"node {c.name!r}: reset is {reset!r}; expected one of leaky_reset")
    whole = c.sequences.get(data_input.name)
    count = 1 if whole is None else int(nb_timesteps)
    potential = spikes = None
    for t in range(count):
        x = data_input if whole is None else c.step("Gather", whole, t, axis=0)
        if potential is not None:
            decayed = c.step("Mul", potential, float(beta))
            if reset is leaky_reset.subtraction:
                x = c.step("Sub", c.step("Add", x, decayed), c.step("Mul", spikes, float(threshold)))
            else:
                x = c.step("Add", x, c.step("Mul", decayed, c.step("Sub", 1.0, spikes)))
        potential = x
        above = c.step("Sub", potential, float(threshold))
        fire = c.named if t == count - 1 else c.step
        spikes = fire("Heaviside", above, value=0.0)
    held = [c.step("Identity", t) for t in (potential, potential, spikes)]
    return (spikes, *held)
