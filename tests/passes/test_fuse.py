"""Attention in the styles of exporters is found, counted, and computes and learns the same."""

import math

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.passes import fuse
from tests.both_passes import both_passes

BATCH, HEADS, LENGTH, SIZE = 2, 4, 6, 8
WIDTH = HEADS * SIZE
STYLES = ["bert", "sdpa", "where", "filled", "causal", "grouped", "float32_softmax", "matrices", "rows_first"]


def layer(style, dropout=None):
    """One layer of attention over [N, LENGTH, WIDTH], with a loss."""
    rng = np.random.default_rng(0)
    g = aj.Graph(style)
    op, x = g.op, g.input("x", ("N", LENGTH, WIDTH))
    kv = 2 if style == "grouped" else HEADS

    def project(name, heads):
        w = g.parameter(name, rng.normal(0, 0.2, (WIDTH, heads * SIZE)).astype(np.float32))
        return op.Reshape(op.MatMul(x, w), (0, LENGTH, heads, SIZE))

    split = lambda t: op.Transpose(t, perm=(0, 2, 1, 3))
    turned = lambda t: op.Transpose(t, perm=(0, 1, 3, 2))
    scalar = lambda v: np.float32(v)
    q, keys, v = split(project("wq", HEADS)), project("wk", kv), split(project("wv", kv))
    k = None if style == "bert" else split(keys)
    if style == "bert":  # the keys are transposed with the split into heads; the mask is added after the scale
        mask = g.input("mask", ("N", 1, 1, LENGTH))
        scores = op.Add(op.Div(op.MatMul(q, op.Transpose(keys, perm=(0, 2, 3, 1))), scalar(math.sqrt(SIZE))), mask)
    elif style == "sdpa":  # the root of the scale on both sides, computed from a shape
        size = op.Cast(op.Slice(op.Shape(q), (-1,), (1 << 31,)), to=1)
        root = op.Sqrt(op.Div(1.0, op.Sqrt(size)))
        mask = op.Where(g.input("mask", ("N", 1, LENGTH, LENGTH), "bool"), 0.0, scalar(-np.inf))
        scores = op.Add(op.MatMul(op.Mul(q, root), op.Mul(turned(k), root)), mask)
    elif style == "where":
        scores = op.Mul(op.MatMul(q, turned(k)), scalar(1 / math.sqrt(SIZE)))
        scores = op.Where(g.input("mask", ("N", 1, LENGTH, LENGTH), "bool"), scores, scalar(-np.inf))
    elif style == "filled":  # True hides, by the most negative number
        scores = op.MatMul(op.Mul(q, scalar(1 / math.sqrt(SIZE))), turned(k))
        lowest = scalar(np.finfo(np.float32).min)
        scores = op.Where(g.input("mask", ("N", 1, LENGTH, LENGTH), "bool"), lowest, scores)
    elif style == "causal":
        visible = g.constant("visible", np.tril(np.ones((1, 1, LENGTH, LENGTH), bool)))
        scores = op.Where(visible, op.Div(op.MatMul(q, turned(k)), scalar(math.sqrt(SIZE))), scalar(-np.inf))
    elif style == "grouped":

        def repeat(t):
            five = op.Expand(op.Unsqueeze(t, (2,)), (1, 1, HEADS // kv, 1, 1))
            return op.Reshape(five, (0, HEADS, LENGTH, SIZE))

        k, v = repeat(k), repeat(v)
        scores = op.Div(op.MatMul(q, turned(k)), scalar(math.sqrt(SIZE)))
    elif style in ("matrices", "rows_first"):  # dynamo's: the keys are turned as matrices, of whatever they were before
        if style == "rows_first":  # as nn.MultiheadAttention has them, [T, N, WIDTH]
            rows = op.Reshape(op.Transpose(op.Reshape(keys, (0, LENGTH, WIDTH)), perm=(1, 0, 2)), (LENGTH, -1, SIZE))
            matrices = op.Transpose(rows, perm=(1, 0, 2))
        else:
            matrices = op.Reshape(k, (-1, LENGTH, SIZE))
        matrices = op.Reshape(op.Transpose(matrices, perm=(0, 2, 1)), (-1, HEADS, SIZE, LENGTH))
        root = scalar(SIZE**-0.25)
        scores = op.MatMul(op.Mul(q, root), op.Mul(matrices, root))
    else:
        scores = op.Cast(op.Div(op.MatMul(q, turned(k)), scalar(math.sqrt(SIZE))), to=1)
    p = op.Softmax(scores, axis=-1)
    if style == "where":
        p = op.Where(op.IsNaN(p), 0.0, p)
    if dropout is not None:
        p = op.Dropout(p, dropout)
    y = op.Reshape(op.Transpose(op.MatMul(p, v), perm=(0, 2, 1, 3)), (0, LENGTH, WIDTH))
    g.output(op.MatMul(y, g.parameter("wo", rng.normal(0, 0.2, (WIDTH, WIDTH)).astype(np.float32))))
    return aj.with_loss(aj.infer_shapes(g), "mse")


def batch(graph):
    rng = np.random.default_rng(1)
    x, target = rng.normal(size=(2, BATCH, LENGTH, WIDTH)).astype(np.float32)
    data = {"x": x, "target": target}
    visible = np.tril(np.ones((LENGTH, LENGTH), bool))[None, None].repeat(BATCH, 0)
    if graph.name == "bert":
        data["mask"] = np.where(visible[:, :, -2:-1], 0, -10000).astype(np.float32)
    elif "mask" in graph.inputs:
        data["mask"] = ~visible if graph.name == "filled" else visible
    return data


def loss_and_gradients(graph, data):
    program = aj.make_program(graph)
    outputs, grads, _ = both_passes(program, graph.params, {}, data, lambda outputs: {"loss": 1.0})
    return outputs["loss"], grads


@pytest.mark.parametrize("style", STYLES)
def test_found_counted_and_equal(style):
    graph = layer(style)
    fused = fuse(graph)
    assert fused.count()["Attention"] == 1 and fused.count()["Softmax"] == 0
    assert len(fused.nodes) < len(graph.nodes) and fused.outputs == graph.outputs
    data = batch(graph)
    (loss, grads), (loss2, grads2) = loss_and_gradients(graph, data), loss_and_gradients(fused, data)
    np.testing.assert_allclose(loss, loss2, rtol=1e-6)
    for name in grads:
        np.testing.assert_allclose(grads[name], grads2[name], atol=3e-6 * np.abs(grads[name]).max(), err_msg=name)


def test_what_is_known_is_an_attribute():
    (node,) = [n for n in fuse(layer("causal")).nodes if n.op == "Attention"]
    assert node.attrs["is_causal"] == 1 and len(node.inputs) == 3
    assert node.attrs["scale"] == pytest.approx(1 / math.sqrt(SIZE))
    grouped = fuse(layer("grouped"))
    (node,) = [n for n in grouped.nodes if n.op == "Attention"]
    assert grouped.value(node.inputs[1]).shape[1] == 2  # keys before they are repeated


def test_dropout_of_the_weights_stays_and_a_ratio_of_zero_does_not():
    assert fuse(layer("causal", dropout=0.1)).count()["Attention"] == 0
    assert fuse(layer("causal", dropout=0.0)).count()["Attention"] == 1
    g = layer("causal")
    assert str(fuse(g, attention=False)) == str(g)


def test_weights_that_somebody_reads_stay():
    graph = layer("causal")
    (softmax,) = [n for n in graph.nodes if n.op == "Softmax"]
    graph.output(softmax.outputs[0])
    assert fuse(graph).count()["Attention"] == 0


@pytest.mark.parametrize("style", ["causal", "grouped"])
def test_projections_of_one_tensor_become_one_product(style):
    """With all their gradients, of which each weight's stays its own; of one size each, and of two."""
    graph = layer(style)
    apart, joined = fuse(graph, products=False), fuse(graph)
    assert (apart.count()["MatMul"], joined.count()["MatMul"]) == (4, 2)
    assert set(joined.params) == set(graph.params) and joined.outputs == graph.outputs
    programs = [aj.make_program(g) for g in (apart, joined)]
    assert [p.gradient.count()["MatMul"] for p in programs] == [5, 3]
    data = batch(graph)
    (loss, grads), (loss2, grads2) = loss_and_gradients(apart, data), loss_and_gradients(joined, data)
    np.testing.assert_allclose(loss, loss2, rtol=1e-6)
    for name in grads:
        np.testing.assert_allclose(grads[name], grads2[name], atol=3e-6 * np.abs(grads[name]).max(), err_msg=name)


def test_products_are_joined_behind_casts_and_only_where_each_has_a_weight_of_its_own():
    graph = layer("causal")
    low = fuse(aj.passes.precision(graph))
    assert low.count()["MatMul"] == 2 and low.count()["Split"] == 1
    g = aj.Graph("shared")
    x, w = g.input("x", ("N", 3)), g.parameter("w", np.ones((3, 3), np.float32))
    other = g.parameter("other", np.ones((3, 2), np.float32))
    g.output(g.op.Concat(g.op.MatMul(x, w), g.op.MatMul(x, w), g.op.MatMul(g.op.Relu(x), other), axis=1))
    assert fuse(g).count()["MatMul"] == 3
