"""Folding keeps the function, the names behind it, and whatever it cannot fold."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.graph import Graph
from aidgejax.passes.fold_batchnorm import fold_batchnorm


def noisy(graph, seed=0):
    """Statistics and gains as training would leave them."""
    rng = np.random.default_rng(seed)
    for p in graph.producers.values():
        if ".norm" in p.name or p.name in ("g", "s", "m", "v"):
            p.data = rng.uniform(0.5, 1.5, p.data.shape).astype(np.float32)
    return aj.infer_shapes(graph)


@pytest.mark.parametrize(
    "net", [aj.zoo.resnet8(size=8), aj.zoo.mobilenet_v1(0.125, size=16)], ids=["resnet8", "mobile"]
)
def test_networks_lose_all_their_normalizations_and_keep_their_function(net):
    net = noisy(net)
    x = {"x": np.random.default_rng(1).normal(size=(2, *net.inputs["x"].shape[1:])).astype(np.float32)}
    folded = fold_batchnorm(net)
    assert folded.count()["BatchNormalization"] == 0 and net.count()["BatchNormalization"] > 0
    assert not [k for k in folded.producers if ".norm" in k]
    (want,), (got,) = aj.run(net, x, "numpy"), aj.run(folded, x, "numpy")
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize(
    ("op", "shape", "x", "attrs"),
    [
        ("Conv", (4, 1, 3), (2, 2, 7), {"group": 2}),
        ("ConvTranspose", (4, 3, 3), (2, 4, 5), {"group": 2}),
        ("Gemm", (5, 4), (3, 5), {}),
        ("Gemm", (4, 5), (3, 5), {"transB": 1}),
        ("MatMul", (5, 4), (3, 5), {}),
    ],
)
def test_every_kind_of_layer(op, shape, x, attrs):
    rng = np.random.default_rng(2)
    g = Graph(op)
    channels = 6 if op == "ConvTranspose" else 4
    w = g.parameter("w", rng.normal(size=shape).astype(np.float32))
    (y,) = g.add(op, [g.input("x", ("N", *x[1:])), w], attrs, name="layer")
    params = [g.parameter(k, np.ones(channels, np.float32)) for k in "gs"]
    stats = [g.buffer(k, np.ones(channels, np.float32)) for k in "mv"]
    g.add("BatchNormalization", [y, *params, *stats], {}, names=["out"], name="norm")
    g.output("out")
    g = noisy(g)
    folded = fold_batchnorm(g)
    assert [n.name for n in folded.nodes] == ["layer"] and set(folded.params) == {"w", "layer.bias"}
    feed = {"x": rng.normal(size=x).astype(np.float32)}
    np.testing.assert_allclose(aj.run(folded, feed, "numpy")[0], aj.run(g, feed, "numpy")[0], rtol=1e-4, atol=1e-5)


def test_a_layer_that_is_read_twice_stays():
    g = aj.zoo.resnet8(size=8)
    g.output("stem.conv")
    assert fold_batchnorm(aj.infer_shapes(g)).count()["BatchNormalization"] == 1
