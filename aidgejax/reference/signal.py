"""Fourier transforms in NumPy, as sums over all pairs of a frequency and a moment."""

import math

import numpy as np

from ._definition import define
from .cast import dtype_of


@define("DFT")
def dft(x, dft_length=None, axis=None, *, inverse=0, onesided=0):
    axis = (-2 if axis is None else int(np.reshape(axis, ()))) % x.ndim
    size = x.shape[axis]
    default = 2 * (size - 1) if inverse and onesided else size
    n = default if dft_length is None else int(np.reshape(dft_length, ()))
    z = np.moveaxis(x[..., 0] + (1j * x[..., 1] if x.shape[-1] == 2 else 0), axis, -1).astype(np.complex128)
    if inverse and onesided:
        half = np.zeros((*z.shape[:-1], n // 2 + 1), complex)
        half[..., : min(size, n // 2 + 1)] = z[..., : n // 2 + 1]
        z = np.zeros((*z.shape[:-1], n), complex)
        for k in range(n):  # the spectrum of a real signal: of its first number, and if n is even the middle one, the
            other = (n - k) % n  # real part counts
            z[..., k] = half[..., k].real if k == other else half[..., k] if k <= n // 2 else half[..., other].conj()
    else:
        whole = np.zeros((*z.shape[:-1], n), complex)
        whole[..., : min(size, n)] = z[..., :n]
        z = whole
    k, t = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    angle = 2 * math.pi * (k * t % n) / n
    matrix = np.cos(angle) + (1j if inverse else -1j) * np.sin(angle)
    found = z @ matrix.T / (n if inverse else 1)
    if onesided and not inverse:
        found = found[..., : n // 2 + 1]
    found = np.moveaxis(found, -1, axis)
    return np.stack([found.real] if inverse and onesided else [found.real, found.imag], -1).astype(x.dtype)


@define("STFT")
def stft(signal, frame_step, window=None, frame_length=None, *, onesided=1):
    step = int(np.reshape(frame_step, ()))
    n = signal.shape[1] if window is None else len(window)
    n = n if frame_length is None else int(np.reshape(frame_length, ()))
    window = np.ones(n, signal.dtype) if window is None else window
    frames = [signal[:, start : start + n] * window[:, None] for start in range(0, signal.shape[1] - n + 1, step)]
    return np.stack([dft(f, None, 1, onesided=onesided) for f in frames], axis=1)


@define("MelWeightMatrix")
def mel_weight_matrix(num_mel_bins, dft_length, sample_rate, lower_edge_hertz, upper_edge_hertz, *, output_datatype=1):
    bins, n, rate = (int(np.reshape(v, ())) for v in (num_mel_bins, dft_length, sample_rate))
    low, high = (2595 * math.log10(1 + float(np.reshape(f, ())) / 700) for f in (lower_edge_hertz, upper_edge_hertz))
    edges = []
    for k in range(bins + 2):
        hertz = 700 * (10 ** ((low + k * (high - low) / (bins + 2)) / 2595) - 1)
        edges.append(math.floor((n + 1) * hertz / rate))
    y = np.zeros((n // 2 + 1, bins))
    for b, (start, top, stop) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        for j in range(start, top):
            y[j, b] = (j - start) / (top - start)
        y[top, b] = 1
        for j in range(top + 1, stop):
            y[j, b] = (stop - j) / (stop - top)
    return y.astype(dtype_of(output_datatype))
