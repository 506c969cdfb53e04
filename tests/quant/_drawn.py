"""Convolutional networks drawn at random, with what joins, averages and rectifies."""

import numpy as np

import aidgejax as aj
from aidgejax.graph import Graph

USUAL = ("conv", "depthwise", "add", "concat", "max", "average", "clip", "transposed")
MORE = (
    *USUAL,
    "strided",
    "dilated",
    "padded average",
    "sub",
    "pad",
    "concat of signs",
    "norm",
    "shuffle",
    "split",
    "maximum",
)


def drawn(seed: int, kinds: tuple[str, ...] = USUAL) -> Graph:
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
        kind = rng.choice(kinds)
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
        elif kind == "strided" and size >= 4:
            y = op.Relu(conv(y, channels, channels, 3, strides=(2, 2)))
            size = (size + 1) // 2
        elif kind == "dilated" and size >= 4:
            w = g.parameter(g.fresh("w"), rng.normal(0, 0.3, (channels, channels, 3, 3)).astype(np.float32))
            y = op.Relu(op.Conv(y, w, dilations=(2, 2), pads=(2,) * 4, kernel_shape=(3, 3)))
        elif kind == "padded average" and size >= 4:
            y = op.AveragePool(y, kernel_shape=(3, 3), pads=(1,) * 4, count_include_pad=int(rng.integers(0, 2)))
        elif kind == "sub":
            y = op.Sub(conv(y, channels, channels, 1), y)
        elif kind == "pad":
            y, size = op.Pad(y, (0, 0, 1, 1, 0, 0, 0, 0)), size + 1
        elif kind == "concat of signs":
            y = op.Concat(op.Relu(y), conv(y, channels, 2, 1), axis=1)
            channels += 2
        elif kind == "norm":
            scale, bias, mean, var = (rng.uniform(0.5, 1.5, channels).astype(np.float32) for _ in range(4))
            held = [g.parameter(g.fresh(n), v) for n, v in (("scale", scale), ("bias", bias))]
            held += [g.constant(g.fresh(n), v) for n, v in (("mean", mean), ("var", var))]
            y = op.Relu(op.BatchNormalization(conv(y, channels, channels, 1), *held))
        elif kind == "shuffle" and channels % 2 == 0:
            y = op.Reshape(y, (0, 2, channels // 2, size, size))
            y = op.Reshape(op.Transpose(y, perm=(0, 2, 1, 3, 4)), (0, channels, size, size))
        elif kind == "split" and channels % 2 == 0:
            a, b = op.Split(y, (channels // 2, channels // 2), axis=1, outputs=2)
            y = op.Add(a, op.Relu(conv(b, channels // 2, channels // 2, 1)))
            channels //= 2
        elif kind == "maximum":
            y = op.Max(y, conv(y, channels, channels, 1))
    y = op.Flatten(op.GlobalAveragePool(y))
    w = g.parameter("fc.weight", rng.normal(0, 0.5, (5, channels)).astype(np.float32))
    g.add("Gemm", [y, w, g.parameter("fc.bias", np.zeros(5, np.float32))], {"transB": 1}, names=["logits"], name="fc")
    g.output("logits")
    return aj.infer_shapes(g)
