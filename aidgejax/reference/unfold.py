"""Windows and columns, one at a time."""

import itertools

import numpy as np

from ._definition import define


def windows(image, kernel, strides, dilations, pads):
    """Per window, per position inside it: the place in the image, which may lie in the padding."""
    d = len(kernel)
    strides, dilations, pads = strides or (1,) * d, dilations or (1,) * d, pads or (0,) * 2 * d
    counts = [
        (n + pads[a] + pads[a + d] - dilations[a] * (kernel[a] - 1) - 1) // strides[a] + 1 for a, n in enumerate(image)
    ]
    for window in itertools.product(*map(range, counts)):
        yield [
            tuple(w * s + k * e - p for w, s, k, e, p in zip(window, strides, offset, dilations, pads[:d], strict=True))
            for offset in itertools.product(*map(range, kernel))
        ]


@define("Unfold")
def unfold(x, *, kernel_shape, strides=None, dilations=None, pads=None):
    columns = []
    for window in windows(x.shape[2:], kernel_shape, strides, dilations, pads):
        inside = [all(0 <= p < n for p, n in zip(at, x.shape[2:], strict=True)) for at in window]
        picked = [
            x[(slice(None), slice(None), *at)] if ok else np.zeros(x.shape[:2], x.dtype)
            for at, ok in zip(window, inside, strict=True)
        ]
        columns.append(np.stack(picked, 2).reshape(x.shape[0], -1))
    return np.stack(columns, 2)


@define("Col2Im")
def col2im(x, image_shape, block_shape, *, dilations=None, pads=None, strides=None):
    image, block = ([int(v) for v in s] for s in (image_shape, block_shape))
    size = int(np.prod(block))
    channels = x.shape[1] // size
    y = np.zeros((x.shape[0], channels, *image), x.dtype)
    for w, window in enumerate(windows(image, block, strides, dilations, pads)):
        for k, at in enumerate(window):
            if all(0 <= p < n for p, n in zip(at, image, strict=True)):
                y[(slice(None), slice(None), *at)] += x[:, k::size, w]
    return y
