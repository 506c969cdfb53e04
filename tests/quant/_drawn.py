"""Convolutional networks drawn at random, with what joins, averages and rectifies."""

import numpy as np

import aidgejax as aj
from aidgejax.graph import Graph


def drawn(seed: int) -> Graph:
    """A network of 3 to 7 steps on images of 8 x 8; the same for the same seed."""
    rng = np.random.default_rng(seed)
    g = Graph(f"drawn{seed}")
    op = g.op
    channels, size = int(rng.choice([1, 3])), 8
    x = g.input("x", ("N", channels, size, size))

    def conv(y, before, after, kernel, group=1, **how):
        shape = (after, before // group, kernel, kernel)
        w = g.parameter(g.fresh("w"), rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32))
        b = g.parameter(g.fresh("b"), rng.normal(0, 0.1, after).astype(np.float32))
        return op.Conv(y, w, b, group=group, kernel_shape=(kernel, kernel), pads=(kernel // 2,) * 4, **how)

    y = op.Relu(conv(x, channels, 6, 3))
    channels = 6
    for _ in range(rng.integers(2, 6)):
        kind = rng.choice(["conv", "depthwise", "add", "concat", "max", "average", "clip", "transposed"])
        if kind == "conv":
            after = int(rng.integers(3, 9))
            y, channels = op.Relu(conv(y, channels, after, int(rng.choice([1, 3])))), after
        elif kind == "depthwise":
            y = op.Relu(conv(y, channels, channels, 3, group=channels))
        elif kind == "add":
            y = op.Add(y, conv(y, channels, channels, 3))
            y = op.Relu(y) if rng.random() < 0.7 else y
        elif kind == "concat":
            y = op.Concat(y, op.Relu(conv(y, channels, 3, 1)), axis=1)
            channels += 3
        elif kind in ("max", "average") and size >= 4:
            k = int(rng.choice([2, 3])) if kind == "average" else 2
            pool = op.MaxPool if kind == "max" else op.AveragePool
            y = pool(y, kernel_shape=(k, k), strides=(2, 2))
            size = (size - k) // 2 + 1
        elif kind == "clip":
            y = op.Clip(conv(y, channels, channels, 1), 0.0, 6.0)
        elif kind == "transposed" and size <= 4:
            w = g.parameter(g.fresh("w"), rng.normal(0, 0.3, (channels, 4, 2, 2)).astype(np.float32))
            y, channels, size = op.Relu(op.ConvTranspose(y, w, strides=(2, 2))), 4, 2 * size
    y = op.Flatten(op.GlobalAveragePool(y))
    w = g.parameter("fc.weight", rng.normal(0, 0.5, (5, channels)).astype(np.float32))
    g.add("Gemm", [y, w, g.parameter("fc.bias", np.zeros(5, np.float32))], {"transB": 1}, names=["logits"], name="fc")
    g.output("logits")
    return aj.infer_shapes(g)
