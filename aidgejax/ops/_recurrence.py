"""What RNN, GRU and LSTM share: the loop over time, activations, one direction's tensors.

The steps of a recurrence and of its gradient are written once, in a rule's words.  JAX executes them inside lax.scan
(`scanned`); for a file the same words write nodes, as often as there are time steps (`unrolled`).
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ..errors import GraphError
from ._registry import lookup

# ---- loops --------------------------------------------------------------------------------------------


def scanned(op, step, carry, xs, reverse, length):
    """(carry after the last step, ys): `step(carry, xs[t]) -> carry, ys[t]` through time, by lax.scan."""
    return jax.lax.scan(step, carry, xs, reverse=reverse)


def unrolled(op, step, carry, xs, reverse, length):
    """The same with a node for every operation of every step; the number of steps must be known."""
    if not isinstance(length, int):
        raise GraphError(
            f"a recurrence over {length!r} time steps cannot be unrolled: its gradient is decomposed step "
            f"by step in standard operators; give the input a fixed number of steps"
        )
    order = range(length)
    ys = [()] * length
    for t in reversed(order) if reverse else order:
        carry, ys[t] = step(carry, tuple(None if x is None else op.Gather(x, t, axis=0) for x in xs))
    kept = tuple(op.Concat(*(op.Unsqueeze(y[k], (0,)) for y in ys), axis=0) for k in range(len(ys[0])))
    return carry, kept


# ---- activations --------------------------------------------------------------------------------------

# {lower-case name: (operator or None, default alpha, default beta)}; None: the activation has no such number.
ACTIVATIONS = {
    "relu": ("Relu", None, None),
    "tanh": ("Tanh", None, None),
    "sigmoid": ("Sigmoid", None, None),
    "softsign": ("Softsign", None, None),
    "softplus": ("Softplus", None, None),
    "leakyrelu": ("LeakyRelu", 0.01, None),
    "thresholdedrelu": ("ThresholdedRelu", 1.0, None),
    "elu": ("Elu", 1.0, None),
    "hardsigmoid": ("HardSigmoid", 0.2, 0.5),
    "affine": ("Affine", 1.0, 0.0),
    "scaledtanh": ("ScaledTanh", 1.0, 1.0),
}


@dataclass(frozen=True)
class Activation:
    """One of a cell's functions.  clip: its input is first cut to [-clip, clip]; None: it is not."""

    name: str
    alpha: float | None
    beta: float | None
    clip: float | None

    @property
    def _settings(self) -> dict[str, float]:
        return {k: v for k, v in (("alpha", self.alpha), ("beta", self.beta)) if v is not None}

    def __call__(self, op, z):
        if self.clip is not None:
            z = op.Clip(z, -self.clip, self.clip)
        if self.name == "Affine":
            return op.Add(op.Mul(z, self.alpha), self.beta)
        if self.name == "ScaledTanh":
            return op.Mul(op.Tanh(op.Mul(z, self.beta)), self.alpha)
        return getattr(op, self.name)(z, **self._settings)

    def back(self, op, z, y, dy):
        """dz, given z, y = self(z) and dy, by the operator's own rule."""
        if self.clip is not None:
            cut = op.Clip(z, -self.clip, self.clip)
            dy = op.Where(op.LessOrEqual(op.Abs(z), self.clip), dy, 0.0)
            z = cut
        if self.name == "Affine":
            return op.Mul(dy, self.alpha)
        if self.name == "ScaledTanh":
            return op.Mul(dy, op.Sub(self.alpha * self.beta, op.Mul(op.Mul(y, y), self.beta / self.alpha)))
        operator = lookup(self.name)
        read = inspect.signature(operator.vjp).parameters
        settings = {k: v for k, v in {**operator.attributes, **self._settings}.items() if k in read}
        return operator.vjp(op, z, y, dy, **settings)[0]


def activations_of(names, alphas, betas, default, directions, clip):
    """[the activations of each direction], the numbers being handed out in order to those that take one."""
    names = tuple(default) * directions if names is None else tuple(names)
    wanted = len(default) * directions
    if len(names) < wanted:
        raise GraphError(f"activations are {list(names)}: expected {wanted}, {len(default)} for each direction")
    alphas, betas, found = list(alphas or ()), list(betas or ()), []
    for n, name in enumerate(names[:wanted]):
        if name.lower() not in ACTIVATIONS:
            raise GraphError(f"activation {name!r}: expected one of {', '.join(k for k, *_ in ACTIVATIONS.values())}")
        known, alpha, beta = ACTIVATIONS[name.lower()]
        if alpha is not None and alphas:
            alpha = alphas.pop(0)
        if beta is not None and betas:
            beta = betas.pop(0)
        of_cell = n % len(default) == 2  # LSTM's h: ONNX Runtime leaves what enters it, the cell's state, whole
        found.append(Activation(known, alpha, beta, None if of_cell else clip))
    return [found[k : k + len(default)] for k in range(0, wanted, len(default))]


# ---- one direction's tensors --------------------------------------------------------------------------

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


@dataclass(frozen=True)
class Direction:
    """What one direction reads.  x [t, n, i], w [g, i], r [g, h], wb and rb [g], live [t, n, 1]: is step t still
    inside the sequence?  None where there is none; h0, c0 [n, h]; p [3 h]; g = gates * h."""

    x: Any
    w: Any
    r: Any
    wb: Any
    rb: Any
    live: Any
    h0: Any
    c0: Any
    p: Any
    reverse: bool
    activations: list
    steps: Any
    hidden: int

    def transposed(self, op, weight):
        return op.Transpose(weight, perm=(1, 0))

    def projected(self, op, *biases):
        """x w^T plus these biases for all steps in one product: [t, n, g]."""
        z = op.MatMul(self.x, self.transposed(op, self.w))
        for b in biases:
            z = z if b is None else op.Add(z, b)
        return z

    def states_before(self, op, y):
        """h[t - 1] for every t, given all of a direction's outputs y[t]."""
        first = op.Unsqueeze(self.h0, (0,))
        if not self.reverse:
            return op.Concat(first, op.Slice(y, (0,), (-1,), (0,)), axis=0)
        if self.live is not None:
            y = op.Where(self.live, y, self.h0)  # going backwards, nothing has happened yet beyond the end
        return op.Concat(op.Slice(y, (1,), (1 << 31,), (0,)), first, axis=0)


def while_live(op, live, new, old):
    """`new` while the sequence lasts, `old` beyond its end."""
    return new if live is None else op.Where(live, new, old)


def directions(
    op,
    X,
    W,
    R,
    B,
    sequence_lens,
    initial_h,
    initial_c,
    P,
    gates,
    default,
    *,
    activation_alpha,
    activation_beta,
    activations,
    clip,
    direction,
    layout,
):
    """[Direction of each direction]; everything time first."""
    reverses = DIRECTIONS[direction]
    functions = activations_of(activations, activation_alpha, activation_beta, default, len(reverses), clip)
    hidden = R.shape[-1]
    steps = X.shape[1 if layout else 0]
    x = op.Transpose(X, perm=(1, 0, 2)) if layout else X
    live = None
    if sequence_lens is not None:
        if not isinstance(steps, int):
            raise GraphError(f"sequence_lens with {steps!r} time steps: give the input a fixed number of steps")
        clock = np.arange(steps, dtype=np.int32).reshape(-1, 1, 1)
        live = op.Less(clock, op.Unsqueeze(sequence_lens, (0, 2)))
    found = []
    for k, (reverse, acts) in enumerate(zip(reverses, functions, strict=True)):
        pick = lambda v, axis=0, k=k: None if v is None else op.Gather(v, k, axis=axis)
        b = pick(B)
        wb, rb = (None, None) if b is None else op.Split(b, axis=0, num_outputs=2, outputs=2)
        w = pick(W)
        zeros = None
        if initial_h is None or (initial_c is None and gates == 4):
            z = op.MatMul(op.Gather(x, 0, axis=0), op.Transpose(w, perm=(1, 0)))
            zeros = op.ZerosLike(op.Slice(z, (0,), (hidden,), (1,)))
        h0, c0 = (zeros if v is None else pick(v, 1 if layout else 0) for v in (initial_h, initial_c))
        found.append(Direction(x, w, pick(R), wb, rb, live, h0, c0, pick(P), reverse, acts, steps, hidden))
    return found
