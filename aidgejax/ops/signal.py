"""Fourier transforms; complex numbers are a last axis of size 2.  A transform's gradient is the transform back."""

import math

import jax.numpy as jnp
import numpy as np

from ..errors import GraphError
from ._registry import operator, positive_axes
from ._rows import row_by_row
from .cast import dtype_of

LARGEST = 1 << 24  # of a frame, or of all frames of a signal
MOST_WEIGHTS = 1 << 20  # of a matrix that is made when the program is traced

# ---- of a whole axis ----------------------------------------------------------------------------------


def transform_of(sizes, dft_length, axis, inverse, onesided):
    """(axis, the transform's length)"""
    rank = len(sizes)
    axis = -2 if axis is None else int(np.reshape(axis, ()))
    (axis,) = positive_axes((axis,), rank, "axis")
    if axis == rank - 1:
        raise GraphError("axis is the last one, which holds real and imaginary parts; expected another")
    default = 2 * (sizes[axis] - 1) if inverse and onesided else sizes[axis]
    n = default if dft_length is None else int(np.reshape(dft_length, ()))
    if not 1 <= n <= LARGEST:
        raise GraphError(f"dft_length is {n}: expected 1 to {LARGEST}")
    return axis, n


def dft_vjp(op, x, dft_length, axis, y, dy, *, inverse, onesided):
    axis = one(op, -2 if axis is None else axis)
    length = size_of(op, x, axis)
    n = (
        one(op, dft_length)
        if dft_length is not None
        else op.Mul(op.Sub(length, (1,)), (2,))
        if inverse and onesided
        else length
    )
    at, scale = (op.Squeeze(v, (0,)) for v in (axis, n))
    count = op.CastLike(scale, dy)
    if inverse and onesided:  # the half of the spectrum that is not there repeats the other
        dx = op.Div(op.Mul(op.DFT(dy, scale, at, onesided=1), weights(op, x, n, axis, dy)), count)
        return fitted(op, dx, axis, length), None, None
    back = op.DFT(fitted(op, dy, axis, n) if onesided else dy, scale, at, inverse=0 if inverse else 1)
    dx = fitted(op, op.Div(back, count) if inverse else op.Mul(back, count), axis, length)
    return dx if x.shape[-1] == 2 else op.Slice(dx, (0,), (1,), (-1,)), None, None


def one(op, number):
    """A number as a vector of one."""
    return (int(number),) if isinstance(number, int | float) else op.Reshape(number, (1,))


def size_of(op, x, axis):
    return op.Gather(op.Shape(x), axis, axis=0)


def fitted(op, x, axis, wanted):
    """x with an axis cut, or filled up with zeros."""
    missing = op.Max(op.Sub(wanted, size_of(op, x, axis)), (0,))
    return op.Pad(op.Slice(x, (0,), wanted, axis), op.Concat((0,), missing, axis=0), None, axis)


def weights(op, x, n, axis, like):
    """How often a number of half a spectrum occurs in the whole: twice, the first and a middle one once."""
    bins = op.Add(op.Div(n, (2,)), (1,))
    k = op.Range(np.asarray(0), op.Squeeze(bins, (0,)), np.asarray(1))
    alone = op.Equal(op.Mod(op.Mul(k, (2,)), n), (0,))
    times = op.Where(alone, op.CastLike(1.0, like), op.CastLike(2.0, like))
    axes = np.arange(x.rank)
    along = op.Where(op.Equal(axes, op.Mod(op.Add(axis, (x.rank,)), (x.rank,))), np.asarray(-1), np.asarray(1))
    return op.Reshape(times, along)


@operator("DFT", onnx=("", 20), vjp=dft_vjp, static=("dft_length", "axis"))
def dft(x, dft_length=None, axis=None, *, inverse=0, onesided=0):
    """y[k] = sum over t of x[t] exp(-2 pi i k t / n) along axis, or back with 1/n.  f[*s, 1 or 2] -> f[*r, 2].

    dft_length: n, to which the axis is cut or filled with zeros.  onesided: the first n // 2 + 1 of y for a real x, and
    with inverse from these to a real f[*r, 1].  axis: -2 unless given.  ONNX DFT-20."""
    x = jnp.asarray(x)
    if x.ndim < 2 or x.shape[-1] not in (1, 2):
        raise GraphError(
            f"got a tensor of shape {list(x.shape)}, expected a last axis of size 1 or 2: real and imaginary part"
        )
    axis, n = transform_of(x.shape, dft_length, axis, inverse, onesided)
    if onesided and x.shape[-1] != (2 if inverse else 1):
        raise GraphError(
            f"onesided with a last axis of size {x.shape[-1]}: expected a {'complex' if inverse else 'real'} input"
        )
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    z = wide[..., 0] + (1j * wide[..., 1] if x.shape[-1] == 2 else 0)
    if onesided:
        transform = jnp.fft.irfft if inverse else jnp.fft.rfft
        z = z if inverse else z.real
    else:
        transform = jnp.fft.ifft if inverse else jnp.fft.fft
    found = row_by_row(lambda z: transform(z, n, axis), z) if axis else transform(z, n, axis)
    parts = [found] if onesided and inverse else [found.real, found.imag]
    return jnp.stack(parts, -1).astype(x.dtype)


# ---- of frames ----------------------------------------------------------------------------------------


def frames_of(length, step, window, frame_length):
    """i[frames, n]: which samples each frame holds."""
    sizes = [None if v is None else int(v) for v in (window, frame_length)]
    n = next((s for s in sizes[::-1] if s is not None), length)
    if None not in sizes and sizes[0] != sizes[1]:
        raise GraphError(f"the window has {sizes[0]} numbers and a frame {sizes[1]} samples; expected as many")
    if step < 1 or not 1 <= n <= length:
        raise GraphError(f"frames of {n} samples every {step}, of a signal of {length}: expected at least one")
    count = (length - n) // step + 1
    if count * n > LARGEST:
        raise GraphError(f"{count} frames of {n} samples: expected at most {LARGEST} samples in all")
    return jnp.arange(count)[:, None] * step + jnp.arange(n)


def stft_vjp(op, signal, frame_step, window, frame_length, y, dy, *, onesided):
    step, length = one(op, frame_step), op.Shape(signal, start=1, end=2)
    n = one(op, frame_length) if frame_length is not None else length if window is None else op.Shape(window)
    last = op.Add(op.Sub(length, n), (1,))
    starts = op.Range(np.asarray(0), op.Squeeze(last, (0,)), op.Squeeze(step, (0,)))
    index = op.Add(op.Unsqueeze(starts, (1,)), op.Range(np.asarray(0), op.Squeeze(n, (0,)), np.asarray(1)))
    size = op.Squeeze(n, (0,))
    seen = op.DFT(fitted(op, dy, (2,), n) if onesided else dy, size, np.asarray(2), inverse=1)
    seen = op.Mul(seen, op.CastLike(size, dy))
    seen = seen if signal.shape[-1] == 2 else op.Slice(seen, (0,), (1,), (3,))
    if window is None:
        return op.GatherGrad(seen, signal, index, axis=1), None, None, None
    d_signal = op.GatherGrad(op.Mul(seen, op.Unsqueeze(window, (1,))), signal, index, axis=1)
    d_window = op.ReduceSum(op.Mul(seen, op.Gather(signal, index, axis=1)), (0, 1, 3), keepdims=0)
    return d_signal, None, d_window, None


@operator("STFT", onnx=("", 17), vjp=stft_vjp, static=("frame_step", "frame_length"))
def stft(signal, frame_step, window=None, frame_length=None, *, onesided=1):
    """The Fourier transforms of overlapping frames, each multiplied by the window.  f[b, t, 1 or 2], i64[], f[n], i64[]
    -> f[b, frames, n or n // 2 + 1, 2].  ONNX STFT-17."""
    signal = jnp.asarray(signal)
    if signal.ndim != 3:
        raise GraphError(f"got a signal of shape {list(signal.shape)}, expected [batch, samples, 1 or 2]")
    step = int(np.reshape(frame_step, ()))
    size = None if window is None else jnp.shape(window)[0]
    length = None if frame_length is None else np.reshape(frame_length, ())
    frames = jnp.take(signal, frames_of(signal.shape[1], step, size, length), axis=1)
    frames = frames if window is None else frames * jnp.asarray(window)[:, None]
    return dft(frames, None, 2, onesided=onesided)


# ---- the mel scale ------------------------------------------------------------------------------------


@operator(
    "MelWeightMatrix",
    onnx=("", 17),
    static=("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"),
)
def mel_weight_matrix(num_mel_bins, dft_length, sample_rate, lower_edge_hertz, upper_edge_hertz, *, output_datatype=1):
    """Triangles equally wide on the mel scale, 2595 log10(1 + f / 700), a column each.  -> f[n // 2 + 1, bins].
    ONNX MelWeightMatrix-17; output_datatype: ONNX's number of it."""
    bins, n, rate, low, high = (
        np.reshape(v, ()).item() for v in (num_mel_bins, dft_length, sample_rate, lower_edge_hertz, upper_edge_hertz)
    )
    if bins < 1 or n < 1 or rate < 1 or not -700 < low < high or (n // 2 + 1) * bins > MOST_WEIGHTS:
        raise GraphError(
            f"{bins} mel bins of a DFT of length {n}, from {low} to {high} Hz at {rate} samples per "
            f"second: expected positive numbers, and at most {MOST_WEIGHTS} weights"
        )
    mel = [2595 * math.log10(1 + f / 700) for f in (low, high)]
    edges = 700 * (10 ** ((mel[0] + np.arange(bins + 2) * (mel[1] - mel[0]) / (bins + 2)) / 2595) - 1)
    edges = np.floor((n + 1) * edges / rate)
    if edges[-1] > n // 2 + 1:
        raise GraphError(f"the upper edge, {high} Hz, lies above half of {rate} samples per second")
    start, top, stop = edges[:-2], edges[1:-1], edges[2:]
    at = np.arange(n // 2 + 1)[:, None]
    rising = np.where((at >= start) & (at <= top), (at - start) / np.maximum(top - start, 1), 0)
    falling = np.where((at > top) & (at < stop), (stop - at) / np.maximum(stop - top, 1), 0)
    return jnp.asarray(np.where(at == top, 1, rising + falling), dtype_of(output_datatype))
