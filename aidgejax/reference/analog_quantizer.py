"""The quantizer of an analog tile's periphery in NumPy, from aihwkit's formulas (specs, section 4)."""

import numpy as np

from ._definition import backward, define


def bounds(n_bits, symmetric, signed):
    """(lowest, highest) integer."""
    if symmetric and bool(np.reshape(signed, ())):
        return -(2 ** (n_bits - 1)), 2 ** (n_bits - 1) - 1
    return 0, 2**n_bits - 1


@define("QuantizerRange")
def quantizer_range(v, *, n_bits, symmetric=1):
    low, high = min(v.min(), v.dtype.type(0)), max(v.max(), v.dtype.type(1e-8))
    signed = low < 0
    _, most = bounds(n_bits, symmetric, signed)
    if symmetric:
        delta, zero = max(abs(low), high) / v.dtype.type(most), v.dtype.type(0)
    else:
        delta = (high - low) / v.dtype.type(most)
        zero = -low / delta
    return np.array([delta], v.dtype), np.array([zero], v.dtype), np.array([signed])


@define("QuantizerState")
def quantizer_state(
    v, delta, zero_float, signed, update_idx, *, n_bits, symmetric=1, learn=0, init_learning_after=100, training_mode=0
):
    u = float(update_idx[0])
    estimated = quantizer_range(v, n_bits=n_bits, symmetric=symmetric)
    held = (delta, zero_float, signed)
    if not training_mode:
        return *(estimated if delta[0] == 0 else held), update_idx
    if not learn:
        return *estimated, update_idx
    estimate = True
    if u <= init_learning_after:
        u += 1
        estimate = u <= init_learning_after
    elif delta[0] >= 1e-8:
        u, estimate = init_learning_after + 1, False
    else:
        dead = u + 1 - (init_learning_after + 1)
        u, estimate = (init_learning_after + 1, True) if dead > 5 else (u + 1, False)
    return *(estimated if estimate else held), np.array([u], update_idx.dtype)


@define("RunningRange")
def running_range(v, low, high, seen, *, momentum=0.9, training_mode=0):
    now = [v.min().reshape(1), v.max().reshape(1)]
    if seen[0] != 0:
        now = [
            ((1 - momentum) * n + momentum * o).astype(v.dtype) if training_mode else o
            for n, o in zip(now, (low, high), strict=True)
        ]
    return *now, np.ones_like(seen)


@define("AnalogQuantize")
def analog_quantize(v, delta, zero_float, signed, *, n_bits, symmetric=1):
    least, most = bounds(n_bits, symmetric, signed)
    s = np.maximum(delta, v.dtype.type(1e-8)).reshape(())
    zp = 0 if symmetric else np.clip(np.rint(zero_float), 0, most).reshape(())
    return (s * (np.clip(np.rint(v / s) + zp, least, most) - zp)).astype(v.dtype)


@backward("AnalogQuantize")
def analog_quantize_backward(v, delta, zero_float, signed, q, dq, *, n_bits, symmetric=1):
    least, most = bounds(n_bits, symmetric, signed)
    s = max(float(np.reshape(delta, ())), 1e-8)
    middle = 0.0 if symmetric else float(np.rint(np.reshape(zero_float, ())))
    zp = min(max(middle, 0), most)
    level = np.rint(v / s) + zp
    out = (level < least) | (level > most)
    d_delta = (dq * np.where(out, np.clip(level, least, most) - zp, np.rint(v / s) - v / s)).sum()
    d_zero = 0.0 if symmetric or middle != zp else -s * dq[out].sum()
    return (
        np.where(out, 0, dq),
        np.full(np.shape(delta), d_delta if np.reshape(delta, ()) >= 1e-8 else 0),
        np.full(np.shape(zero_float), d_zero),
        None,
    )
