"""MaxUnpool in NumPy."""

import numpy as np

from ._definition import define


@define("MaxUnpool")
def max_unpool(x, indices, output_shape=None, *, kernel_shape=None, pads=None, strides=None):
    rank = x.ndim - 2
    pads = pads or [0] * 2 * rank
    strides = strides or [1] * rank
    sizes = [(x.shape[2 + a] - 1) * strides[a] + kernel_shape[a] - pads[a] - pads[rank + a] for a in range(rank)]
    flat = np.zeros(x.shape[0] * x.shape[1] * int(np.prod(sizes)), x.dtype)
    for place, value in zip(indices.ravel(), x.ravel(), strict=True):
        flat[place] = value
    small = flat.reshape(*x.shape[:2], *sizes)
    y = np.zeros(small.shape if output_shape is None else [int(d) for d in output_shape], x.dtype)
    y[tuple(slice(0, d) for d in small.shape)] = small
    return y
