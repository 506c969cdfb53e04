"""Convolutions of images no larger than their kernel become products, and nodes of a step are joined."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.execution.run import run
from aidgejax.graph import Graph
from aidgejax.onnxio.step.small_images import as_products
from aidgejax.onnxio.step.write import make_step, to_model
from aidgejax.training import optim

ROWS = 16
SMALL = [  # image, kernel, attributes
    ((4, 4), (5, 5), {"pads": (2, 2, 2, 2)}),
    ((4, 3), (4, 4), {"pads": (0, 1, 1, 1)}),
    ((3, 3), (3, 3), {"pads": (1, 1, 1, 1), "strides": (2, 1)}),
    ((4, 4), (4, 4), {"auto_pad": "SAME_UPPER", "strides": (2, 2)}),
    ((5,), (5,), {"pads": (4, 4), "dilations": (2,)}),
    ((2, 2, 2), (3, 2, 2), {"pads": (1, 0, 1, 1, 1, 0)}),
    ((2, 2), (2, 2), {}),
]
LEFT = [  # rows, image, kernel, group
    (ROWS, (8, 8), (5, 5), 1),
    (8, (4, 4), (5, 5), 1),
    (ROWS, (4, 4), (5, 5), 2),
    ("N", (4, 4), (5, 5), 1),
]


def graph_of(rows, image, kernel, bias=True, group=1, **how):
    g = Graph()
    rng = np.random.default_rng(0)
    x = g.input("x", (rows, 2, *image))
    w = g.producer("w", rng.normal(size=(6, 2 // group, *kernel)).astype(np.float32), "parameter")
    b = [g.producer("b", rng.normal(size=6).astype(np.float32), "parameter")] if bias else []
    (y,) = g.add("Conv", [x, w, *b], {**how, "group": group}, names=["y"])
    loss = g.op.ReduceMean(g.op.Tanh(y), keepdims=0)
    g.outputs = [loss.name]
    return g, loss.name


def step_of(*args, **how):
    g, loss = graph_of(*args, **how)
    return make_step(aj.infer_shapes(g), optimizer=optim.sgd(momentum=0.5), loss=loss)


@pytest.mark.parametrize(("image", "kernel", "how"), SMALL)
def test_a_convolution_of_a_small_image_and_its_gradients_are_the_same_as_products(image, kernel, how):
    step = step_of(ROWS, image, kernel, bias=len(image) == 2, **how)
    before = aj.infer_shapes(step.graph)
    after = aj.infer_shapes(as_products(before))
    assert not {"Conv", "ConvGradInput", "ConvGradWeight"} & {n.op for n in after.nodes}
    rng = np.random.default_rng(1)
    feeds = {**step.initial, "x": rng.normal(size=before.inputs["x"].shape).astype(np.float32)}
    feeds["learning_rate"] = np.float32(1)
    want, got = (run(g, feeds, backend="numpy") for g in (before, after))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("rows", "image", "kernel", "group"), LEFT)
def test_larger_images_smaller_batches_and_groups_stay_convolutions(rows, image, kernel, group):
    graph = aj.infer_shapes(step_of(rows, image, kernel, group=group, pads=(2, 2, 2, 2)).graph)
    assert [n.op for n in as_products(graph).nodes] == [n.op for n in graph.nodes]


def test_a_velocity_is_added_by_the_product_and_a_relu_masks_by_its_sign():
    step = make_step(aj.zoo.mlp(sizes=(6, 5, 3)), optimizer=optim.sgd(momentum=0.5), loss="cross_entropy", batch=4)
    nodes = to_model(step).graph.node
    betas = [a.f for n in nodes for a in n.attribute if n.op_type == "Gemm" and a.name == "beta"]
    assert betas == [0.5, 0.5]
    assert {n.op_type for n in nodes} >= {"Sign"} and not {n.op_type for n in nodes} & {"Greater"}
