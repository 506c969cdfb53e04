"""Small known networks as explicit graphs, written node by node in ONNX's operators.

    graph = zoo.lenet(seed=0)
    print(graph)

Each has one input "x" with a symbolic batch "N", one output "logits", float32 parameters that NumPy draws from a
seed, and is in inference mode: `make_program(graph, training=True)` turns BatchNormalization and Dropout on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Graph, Value

BATCH = "N"


def mlp(sizes: Sequence[int] = (784, 512, 512, 10), *, seed: int = 0) -> Graph:
    """Dense layers with ReLU between them.  f[N, sizes[0]] -> f[N, sizes[-1]]."""
    net = _Net("mlp", seed)
    x = net.input(sizes[0])
    *hidden, last = itertools.pairwise(sizes)
    for k, (before, after) in enumerate(hidden, start=1):
        x = net.op.Relu(net.dense(f"fc{k}", x, before, after), name=f"relu{k}")
    return net.finish(f"fc{len(sizes) - 1}", x, *last)


def lenet(size: int = 28, channels: int = 1, classes: int = 10, *, seed: int = 0) -> Graph:
    """LeNet-5 (LeCun 1998) with ReLU and max pooling.  f[N, channels, size, size] -> f[N, classes].

    Images smaller than 20 are padded before the second convolution too, which would eat them up otherwise.
    """
    net = _Net("lenet", seed)
    op = net.op
    pad = 0 if size >= 20 else 2
    side = (size // 2 + 2 * pad - 4) // 2
    x = net.input(channels, size, size)
    x = op.Relu(net.conv("conv1", x, channels, 6, 5, pad=2), name="relu1")
    x = op.MaxPool(x, kernel_shape=(2, 2), strides=(2, 2), name="pool1")
    x = op.Relu(net.conv("conv2", x, 6, 16, 5, pad=pad), name="relu2")
    x = op.MaxPool(x, kernel_shape=(2, 2), strides=(2, 2), name="pool2")
    x = op.Flatten(x, name="flatten")
    x = op.Relu(net.dense("fc1", x, 16 * side * side, 120), name="relu3")
    x = op.Relu(net.dense("fc2", x, 120, 84), name="relu4")
    return net.finish("fc3", x, 84, classes)


def resnet8(classes: int = 10, *, size: int = 32, seed: int = 0) -> Graph:
    """MLPerf Tiny's ResNet-8: three blocks of 16, 32 and 64 channels.  f[N, 3, size, size] -> f[N, classes]."""
    net = _Net("resnet8", seed)
    op = net.op
    x = net.input(3, size, size)
    x = op.Relu(net.normed("stem", x, 3, 16, 3, pad=1), name="stem.relu")
    before = 16
    for k, (width, stride) in enumerate([(16, 1), (32, 2), (64, 2)], start=1):
        name = f"block{k}"
        y = op.Relu(net.normed(f"{name}.a", x, before, width, 3, stride=stride, pad=1), name=f"{name}.a.relu")
        y = net.normed(f"{name}.b", y, width, width, 3, pad=1)
        if stride > 1:
            x = net.conv(f"{name}.shortcut", x, before, width, 1, stride=stride)
        x = op.Relu(op.Add(x, y, name=f"{name}.add"), name=f"{name}.relu")
        before = width
    x = op.Flatten(op.GlobalAveragePool(x, name="pool"), name="flatten")
    return net.finish("fc", x, 64, classes)


def mobilenet_v1(alpha: float = 0.25, *, size: int = 96, classes: int = 2, seed: int = 0) -> Graph:
    """MobileNetV1 (Howard 2017), all widths times alpha; the defaults are MLPerf Tiny's visual wake words.

    f[N, 3, size, size] -> f[N, classes]
    """
    net = _Net("mobilenet_v1", seed)
    op = net.op
    widths = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    before = int(32 * alpha)
    x = net.input(3, size, size)
    x = op.Relu(net.normed("stem", x, 3, before, 3, stride=2, pad=1), name="stem.relu")
    for k, (width, stride) in enumerate(widths, start=1):
        width, name = int(width * alpha), f"block{k}"
        x = net.normed(f"{name}.depthwise", x, before, before, 3, stride=stride, pad=1, group=before)
        x = op.Relu(x, name=f"{name}.depthwise.relu")
        x = op.Relu(net.normed(f"{name}.pointwise", x, before, width, 1), name=f"{name}.pointwise.relu")
        before = width
    x = op.Flatten(op.GlobalAveragePool(x, name="pool"), name="flatten")
    return net.finish("fc", x, before, classes)


def ds_cnn(width: int = 64, *, frames: int = 49, features: int = 10, classes: int = 12, seed: int = 0) -> Graph:
    """DS-CNN (Zhang 2017): four depthwise separable blocks; the defaults are MLPerf Tiny's keyword spotting.

    f[N, 1, frames, features] -> f[N, classes]
    """
    net = _Net("ds_cnn", seed)
    op = net.op
    x = net.input(1, frames, features)
    x = op.Relu(net.normed("stem", x, 1, width, (10, 4), stride=2, pad=(4, 1, 5, 1)), name="stem.relu")
    for k in range(1, 5):
        name = f"block{k}"
        x = net.normed(f"{name}.depthwise", x, width, width, 3, pad=1, group=width)
        x = op.Relu(x, name=f"{name}.depthwise.relu")
        x = op.Relu(net.normed(f"{name}.pointwise", x, width, width, 1), name=f"{name}.pointwise.relu")
    x = op.Flatten(op.GlobalAveragePool(x, name="pool"), name="flatten")
    return net.finish("fc", x, width, classes)


def transformer_encoder(
    vocabulary: int = 64,
    length: int = 16,
    *,
    width: int = 32,
    heads: int = 4,
    depth: int = 2,
    classes: int = 10,
    dropout: float = 0.0,
    seed: int = 0,
) -> Graph:
    """Token and position embeddings, `depth` pre-norm encoder blocks, mean over the tokens.

    i64[N, length] (tokens below `vocabulary`) -> f[N, classes]
    """
    net = _Net("transformer_encoder", seed)
    op = net.op
    x = net.graph.input("x", (BATCH, length), "int64")
    x = op.Gather(net.weight("embedding.weight", (vocabulary, width), fan_in=2), x, name="embedding")
    x = op.Add(x, net.weight("position.weight", (length, width), fan_in=2), name="position")
    for k in range(1, depth + 1):
        name = f"block{k}"
        y = net.layer_norm(f"{name}.norm1", x, width)
        y = net.attention(f"{name}.attention", y, length, width, heads)
        x = op.Add(x, net.dropout(f"{name}.dropout1", y, dropout), name=f"{name}.add1")
        y = net.layer_norm(f"{name}.norm2", x, width)
        y = op.Gelu(net.linear(f"{name}.up", y, width, 4 * width), name=f"{name}.gelu")
        y = net.linear(f"{name}.down", y, 4 * width, width)
        x = op.Add(x, net.dropout(f"{name}.dropout2", y, dropout), name=f"{name}.add2")
    x = net.layer_norm("norm", x, width)
    x = op.ReduceMean(x, (1,), keepdims=0, name="pool")
    return net.finish("fc", x, width, classes)


class _Net:
    """A graph being written, and the generator that fills its parameters: He normal weights, zero biases."""

    def __init__(self, name: str, seed: int) -> None:
        self.graph = Graph(name)
        self.op = self.graph.op
        self._rng = np.random.default_rng(seed)

    def input(self, *shape: int) -> Value:
        return self.graph.input("x", (BATCH, *shape))

    def finish(self, name: str, x: Value, before: int, classes: int) -> Graph:
        """The last dense layer, which writes the logits."""
        self.dense(name, x, before, classes, output="logits")
        self.graph.output("logits")
        return self.graph

    def weight(self, name: str, shape: tuple[int, ...], fan_in: int) -> Value:
        drawn = self._rng.normal(0, math.sqrt(2 / fan_in), shape)
        return self.graph.parameter(name, drawn.astype(np.float32))

    def full(self, name: str, size: int, value: float = 0.0) -> Value:
        return self.graph.parameter(name, np.full(size, value, np.float32))

    def dense(self, name: str, x: Value, before: int, after: int, output: str | None = None) -> Value:
        """x @ weight.T + bias, x a matrix."""
        inputs = [x, self.weight(f"{name}.weight", (after, before), before), self.full(f"{name}.bias", after)]
        return self.graph.add("Gemm", inputs, {"transB": 1}, names=[output or name], name=name)[0]

    def linear(self, name: str, x: Value, before: int, after: int) -> Value:
        """x @ weight + bias, over the last axis of x."""
        product = self.op.MatMul(x, self.weight(f"{name}.weight", (before, after), before), name=f"{name}.matmul")
        return self.op.Add(product, self.full(f"{name}.bias", after), name=name)

    def conv(
        self,
        name: str,
        x: Value,
        before: int,
        after: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        pad: int | tuple[int, ...] = 0,
        group: int = 1,
        bias: bool = True,
    ) -> Value:
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        shape = (after, before // group, *kernel)
        weight = self.weight(f"{name}.weight", shape, math.prod(shape[1:]))
        return self.op.Conv(
            x,
            weight,
            *([self.full(f"{name}.bias", after)] if bias else []),
            group=group,
            kernel_shape=kernel,
            strides=(stride, stride),
            pads=(pad,) * 4 if isinstance(pad, int) else pad,
            name=name,
        )

    def normed(
        self, name: str, x: Value, before: int, after: int, kernel: int | tuple[int, int], **options: Any
    ) -> Value:
        """A convolution without bias, and BatchNormalization."""
        x = self.conv(f"{name}.conv", x, before, after, kernel, bias=False, **options)
        norm = f"{name}.norm"
        return self.op.BatchNormalization(
            x,
            self.full(f"{norm}.weight", after, 1.0),
            self.full(f"{norm}.bias", after),
            self.graph.buffer(f"{norm}.mean", np.zeros(after, np.float32)),
            self.graph.buffer(f"{norm}.var", np.ones(after, np.float32)),
            name=norm,
        )

    def layer_norm(self, name: str, x: Value, width: int) -> Value:
        return self.op.LayerNormalization(
            x, self.full(f"{name}.weight", width, 1.0), self.full(f"{name}.bias", width), name=name
        )

    def dropout(self, name: str, x: Value, ratio: float) -> Value:
        return self.op.Dropout(x, ratio, name=name) if ratio else x

    def attention(self, name: str, x: Value, length: int, width: int, heads: int) -> Value:
        """Multi-head self-attention."""
        op, each = self.op, width // heads

        def split(which: str, perm: tuple[int, ...]) -> Value:
            y = op.Reshape(
                self.linear(f"{name}.{which}", x, width, width), (0, length, heads, each), name=f"{name}.{which}.split"
            )
            return op.Transpose(y, perm=perm, name=f"{name}.{which}.transpose")

        query, key, value = split("query", (0, 2, 1, 3)), split("key", (0, 2, 3, 1)), split("value", (0, 2, 1, 3))
        scores = op.Mul(op.MatMul(query, key, name=f"{name}.scores"), 1 / math.sqrt(each), name=f"{name}.scaled")
        mixed = op.MatMul(op.Softmax(scores, axis=-1, name=f"{name}.softmax"), value, name=f"{name}.mixed")
        mixed = op.Transpose(mixed, perm=(0, 2, 1, 3), name=f"{name}.transpose")
        mixed = op.Reshape(mixed, (0, length, width), name=f"{name}.join")
        return self.linear(f"{name}.out", mixed, width, width)
