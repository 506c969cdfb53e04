"""Attention as exporters spell it beyond four axes and MatMul: found, counted, equal in float64; and what is none."""

import math

import numpy as np
import pytest

import aidgejax as aj
from aidgejax.passes import fuse

BATCH, HEADS, LENGTH, SIZE = 2, 4, 5, 3
WIDTH = HEADS * SIZE
SCALE = 1 / math.sqrt(SIZE)
TRIANGLE = np.tril(np.ones((LENGTH, LENGTH), bool))


class Layer:
    """Queries, keys and values of one input, and what spellings have in common."""

    def __init__(self):
        self.g, self.rng = aj.Graph("layer"), np.random.default_rng(0)
        self.op, self.x = self.g.op, self.g.input("x", ("N", LENGTH, WIDTH), "float64")

    def weight(self, *shape):
        return self.g.parameter(self.g.fresh("w"), self.rng.normal(0, 0.5, shape))

    def rows(self, heads=HEADS):
        """[N, t, heads, size]"""
        return self.op.Reshape(self.op.MatMul(self.x, self.weight(WIDTH, heads * SIZE)), (-1, LENGTH, heads, SIZE))

    def split(self, heads=HEADS):
        return self.op.Transpose(self.rows(heads), perm=(0, 2, 1, 3))

    def matrices(self):
        return self.op.Reshape(self.split(), (-1, LENGTH, SIZE))

    def swapped(self, t, rank=4):
        return self.op.Transpose(t, perm=(*range(rank - 2), rank - 1, rank - 2))

    def visible(self, *shape):
        return self.g.input("visible", ("N", *shape), "bool")


def baddbmm(a, beta=1.0):
    """torch.baddbmm(mask, q, k^T, beta=beta, alpha=scale), batch and heads as one axis."""
    op, (q, k, v) = a.op, (a.matrices() for _ in range(3))
    mask = op.Expand(np.where(TRIANGLE, 0, -np.inf), op.Shape(op.MatMul(q, a.swapped(k, 3)))) if beta else 7.0
    zeros = op.Mul(op.ConstantOfShape((BATCH * HEADS, LENGTH, LENGTH), value=np.ones(1)), 0.0)
    scores = op.Add(op.Mul(op.MatMul(q, a.swapped(k, 3)), np.float64(SCALE)), mask if beta else zeros)
    return op.Reshape(op.MatMul(op.Softmax(scores), v), (-1, HEADS, LENGTH, SIZE))


def bloom(a):
    """baddbmm of a bias by heads, the mask where batch and heads are apart, the values where they are one."""
    op, (q, k, v) = a.op, (a.matrices() for _ in range(3))
    slopes = op.Tile(a.rng.normal(size=(HEADS, 1, LENGTH)), (BATCH, 1, 1))
    scores = op.Add(op.Mul(op.MatMul(q, a.swapped(k, 3)), np.float64(SCALE)), slopes)
    scores = op.Reshape(scores, (BATCH, HEADS, LENGTH, LENGTH))
    scores = op.Where(np.logical_not(TRIANGLE), np.float64(np.finfo(np.float32).min), scores)
    return op.MatMul(op.Reshape(op.Softmax(scores), (-1, LENGTH, LENGTH)), v)


def einsum(a, scores="bqhd,bkhd->bhqk", values="bhqk,bkhd->bqhd", axis=-1):
    op, (q, k, v) = a.op, (a.rows() for _ in range(3))
    one, two = (k, q) if scores.startswith("bk") else (q, k)
    p = op.Softmax(op.Mul(op.Einsum(one, two, equation=scores), np.float64(SCALE)), axis=axis)
    return op.Einsum(*((v, p) if values.startswith("bk") else (p, v)), equation=values)


def einsum_groups(a):
    op, q = a.op, a.op.Reshape(a.rows(), (-1, LENGTH, 2, 2, SIZE))
    p = op.Softmax(op.Einsum(q, a.rows(2), equation="bqhgd,bkhd->bhgqk"))
    return op.Einsum(p, a.rows(2), equation="bhgqk,bkhd->bqhgd")


def groups(a):
    """Queries as groups; keys and values broadcast by MatMul."""
    op, q = a.op, a.op.Reshape(a.split(), (-1, 2, 2, LENGTH, SIZE))
    k, v = (op.Unsqueeze(a.split(2), (2,)) for _ in range(2))
    return op.MatMul(op.Softmax(op.MatMul(op.Mul(q, np.float64(SCALE)), a.swapped(k, 5))), v)


def tiled_groups(a):
    op, q = a.op, a.split()
    repeated = lambda t: op.Reshape(op.Tile(op.Unsqueeze(t, (2,)), (1, 1, 2, 1, 1)), (0, HEADS, LENGTH, SIZE))
    k, v = repeated(a.split(2)), repeated(a.split(2))
    return op.MatMul(op.Softmax(op.MatMul(q, a.swapped(k))), v)


def repeated_heads(a):
    """x.repeat(1, 2, 1, 1): heads 0 1 0 1, which no grouping expresses; the keys stay repeated."""
    op, (k, v) = a.op, (a.op.Tile(a.split(2), (1, 2, 1, 1)) for _ in range(2))
    return op.MatMul(op.Softmax(op.MatMul(a.split(), a.swapped(k))), v)


def one_head(a):
    op, (q, k, v) = a.op, (a.op.MatMul(a.x, a.weight(WIDTH, WIDTH)) for _ in range(3))
    scores = op.Where(a.visible(1, LENGTH), op.MatMul(q, a.swapped(k, 3)), np.float64(-np.inf))
    return op.MatMul(op.Softmax(scores), v)


def no_batch(a):
    op, x = a.op, a.op.Reshape(a.op.Slice(a.x, (0,), (1,), (0,)), (LENGTH, WIDTH))
    q, k, v = (op.MatMul(x, a.weight(WIDTH, WIDTH)) for _ in range(3))
    return op.MatMul(op.Softmax(op.Div(op.MatMul(q, a.swapped(k, 2)), np.float64(3.0))), v)


def channels_first(a):
    """A block of convolutions: keys and values as [N, c, t], and the weights transposed."""
    op, (q, k, v) = a.op, (a.swapped(a.op.MatMul(a.x, a.weight(WIDTH, WIDTH)), 3) for _ in range(3))
    p = op.Softmax(op.MatMul(a.swapped(q, 3), op.Identity(op.Relu(k))))
    return op.MatMul(v, a.swapped(p, 3))


def temperature(a):
    op, (q, k, v) = a.op, (a.split() for _ in range(3))
    return op.MatMul(op.Softmax(op.Mul(op.MatMul(q, a.swapped(k)), a.weight(HEADS, 1, 1))), v)


def scaled_after_mask(a):
    """A mask that is added, one that is chosen by False, and a scale behind both."""
    op, (q, k, v) = a.op, (a.split() for _ in range(3))
    scores = op.Sub(op.MatMul(q, a.swapped(k)), a.weight(HEADS, LENGTH, LENGTH))
    scores = op.Where(op.Not(a.visible(1, 1, LENGTH)), np.float64(-1e9), scores)
    return op.MatMul(op.Softmax(op.Div(scores, np.float64(3.0))), v)


def nothing_visible(a):
    """By a number that is finite: a query that may look at nothing has equal weights, not none."""
    op, (q, k, v) = a.op, (a.split() for _ in range(3))
    scores = op.Where(TRIANGLE, op.MatMul(q, a.swapped(k)), np.float64(-1e4))
    return op.MatMul(op.Softmax(op.Where(a.visible(1, 1, LENGTH), scores, np.float64(-1e9))), v)


def windows(a):
    """Each sequence as windows of their own, whose mask is added where the windows are an axis."""
    op, mask = a.op, np.where(a.rng.random((1, 2, 1, LENGTH, LENGTH)) < 0.3, -100.0, 0.0)
    both = lambda: op.Reshape(op.Concat(a.split(), a.split(), axis=1), (-1, HEADS, LENGTH, SIZE))
    scores = op.Reshape(op.MatMul(both(), a.swapped(both())), (-1, 2, HEADS, LENGTH, LENGTH))
    scores = op.Reshape(op.Add(scores, mask), (-1, HEADS, LENGTH, LENGTH))
    return op.MatMul(op.Softmax(op.Add(scores, a.weight(1, HEADS, LENGTH, LENGTH))), both())


def scores_of(a):
    """(scores, values)"""
    q, k, v = (a.split() for _ in range(3))
    return a.op.Mul(a.op.MatMul(q, a.swapped(k)), np.float64(SCALE)), v


def soft_cap(a, shape=(1, 1, LENGTH)):
    """Gemma 2's: before the mask."""
    op, (scores, v) = a.op, scores_of(a)
    capped = op.Mul(op.Tanh(op.Div(scores, np.float64(3.0))), np.float64(3.0))
    return op.MatMul(op.Softmax(op.Where(a.visible(*shape), capped, np.float64(-1e9))), v)


def cap_without_numbers(a):
    op, (scores, v) = a.op, scores_of(a)
    return op.MatMul(op.Softmax(op.Add(op.Tanh(scores), np.where(TRIANGLE, 0.0, -np.inf))), v)


def exponentials(a, shifted=True, late=False, form="Div", axis=-1, more=0.0, put_back=False):
    """e / sum(e), as a page of formulas has it."""
    op, (x, v) = a.op, scores_of(a)
    x = op.Where(TRIANGLE, x, np.float64(-np.inf))
    e = op.Exp(op.Sub(x, op.ReduceMax(x, (-1,), keepdims=1)) if shifted else x)
    total = op.ReduceSum(e, (axis,), keepdims=0 if put_back else 1)
    total = op.Unsqueeze(total, (axis,)) if put_back else total
    total = op.Add(total, np.float64(more)) if more else total
    if late:
        return op.Div(op.MatMul(e, v), total)
    return op.MatMul(op.Div(e, total) if form == "Div" else op.Mul(op.Reciprocal(total), e), v)


def log_softmax(a):
    op, (x, v) = a.op, scores_of(a)
    return op.MatMul(op.Exp(op.LogSoftmax(x)), v)


def log_sum_exp(a, operator=True):
    op, (x, v) = a.op, scores_of(a)
    total = op.ReduceLogSumExp(x, (3,)) if operator else op.Log(op.ReduceSum(op.Exp(x), (-1,)))
    return op.MatMul(op.Exp(op.Sub(x, total)), v)


def same_queries(a):
    """Learned ones, as in Perceiver: [1, heads, 4, size] against a batch of keys."""
    op, learned = a.op, a.op.MatMul(a.weight(1, HEADS, 4, SIZE), a.weight(SIZE, SIZE))
    scores = op.MatMul(learned, a.swapped(a.split()))
    y = op.Transpose(op.MatMul(op.Softmax(scores), a.split()), perm=(0, 2, 1, 3))
    return op.Reshape(y, (-1, 4, WIDTH))


def pooled(a):
    """One head whose queries are a weight itself, [queries, width]"""
    op, k = a.op, a.op.MatMul(a.x, a.weight(WIDTH, WIDTH))
    return op.MatMul(op.Softmax(op.MatMul(a.weight(2, WIDTH), a.swapped(k, 3))), a.x)


FOUND = {
    "a soft cap": soft_cap,
    "a cap without numbers": cap_without_numbers,
    "exponentials": exponentials,
    "exponentials as they are": lambda a: exponentials(a, shifted=False, put_back=True),
    "exponentials by a reciprocal": lambda a: exponentials(a, form="Mul"),
    "divided after the values": lambda a: exponentials(a, late=True),
    "LogSoftmax": log_softmax,
    "LogSumExp": log_sum_exp,
    "Log of a sum": lambda a: log_sum_exp(a, operator=False),
    "the same queries": same_queries,
    "a learned query": pooled,
    "baddbmm": baddbmm,
    "baddbmm with beta 0": lambda a: baddbmm(a, beta=0),
    "baddbmm in Bloom": bloom,
    "Einsum": einsum,
    "Einsum, keys first": lambda a: einsum(a, "bkhd,bqhd->bhqk", "bkhd,bhqk->bqhd"),
    "Einsum, heads last": lambda a: einsum(a, "bqhd,bkhd->bqkh", "bqkh,bkhd->bqhd", axis=2),
    "Einsum, heads between": lambda a: einsum(a, "bqhd,bkhd->bqhk", "bqhk,bkhd->bhqd"),
    "Einsum of groups": einsum_groups,
    "queries in groups": groups,
    "keys tiled": tiled_groups,
    "heads repeated in turns": repeated_heads,
    "one head": one_head,
    "no batch": no_batch,
    "channels first": channels_first,
    "a temperature by head": temperature,
    "scaled after the mask": scaled_after_mask,
    "a row sees nothing": nothing_visible,
    "windows": windows,
}


def over_queries(a):
    op, (q, k, v) = a.op, (a.split() for _ in range(3))
    return op.MatMul(op.Softmax(op.MatMul(q, a.swapped(k)), axis=2), v)


def changed_weights(a):
    op, (q, k, v) = a.op, (a.split() for _ in range(3))
    return op.MatMul(op.Mul(op.Softmax(op.MatMul(q, a.swapped(k))), TRIANGLE.astype(float)), v)


def hidden_by_little(a):
    op, (q, k, v) = a.op, (a.split() for _ in range(3))
    return op.MatMul(op.Softmax(op.Where(TRIANGLE, op.MatMul(q, a.swapped(k)), np.float64(0.0))), v)


def weights_transposed(a):
    op, (q, k, v) = a.op, (a.split() for _ in range(3))
    return op.MatMul(a.swapped(op.Softmax(op.MatMul(q, a.swapped(k)))), v)


def averaged(a):
    """nn.MultiheadAttention with need_weights, and a model that returns them."""
    op, (q, k, v) = a.op, (a.matrices() for _ in range(3))
    p = op.Softmax(op.MatMul(q, a.swapped(k, 3)))
    a.g.output(op.ReduceMean(op.Reshape(p, (-1, HEADS, LENGTH, LENGTH)), (1,), keepdims=0))
    return op.MatMul(p, v)


def scores_read(a):
    op, (q, k, v) = a.op, (a.split() for _ in range(3))
    scores = op.MatMul(q, a.swapped(k))
    a.g.output(scores)
    return op.MatMul(op.Softmax(scores), v)


def scaled_by_key(a):
    op, (q, k, v) = a.op, (a.split() for _ in range(3))
    return op.MatMul(op.Softmax(op.Mul(op.MatMul(q, a.swapped(k)), a.weight(LENGTH))), v)


def scores_grow(a):
    """One query, of whose scores a bias makes as many rows as it has."""
    op, (q, k, v) = a.op, (a.split() for _ in range(3))
    one = op.Slice(q, (0,), (1,), (2,))
    return op.MatMul(op.Softmax(op.Add(op.MatMul(one, a.swapped(k)), a.weight(7, LENGTH))), v)


def einsum_of_one(a):
    op, x = a.op, a.op.MatMul(a.x, a.weight(WIDTH, LENGTH))
    return op.MatMul(op.Softmax(op.Einsum(x, equation="nij->nji")), a.x)


def mixture(a):
    """A Softmax of a linear layer that mixes rows of a table: no keys."""
    op = a.op
    return op.MatMul(op.Softmax(op.MatMul(a.x, a.weight(WIDTH, 7))), a.weight(7, WIDTH))


def wrong_sum(a):
    return einsum(a, values="bhqk,bqhd->bkhd")


def cap_around_a_bias(a):
    op, (scores, v) = a.op, scores_of(a)
    return op.MatMul(op.Softmax(op.Mul(op.Tanh(op.Add(scores, a.weight(LENGTH, LENGTH))), np.float64(3.0))), v)


def cap_times_weights(a):
    op, (scores, v) = a.op, scores_of(a)
    return op.MatMul(op.Softmax(op.Mul(op.Tanh(scores), a.weight(HEADS, 1, 1))), v)


def exponentials_read(a):
    op, (x, v) = a.op, scores_of(a)
    e = op.Exp(x)
    total = op.ReduceSum(e, (-1,))
    a.g.output(total)
    return op.MatMul(op.Div(e, total), v)


def weighted_exponentials(a):
    op, (x, v) = a.op, scores_of(a)
    e = op.Mul(op.Exp(x), a.weight(LENGTH))
    return op.MatMul(op.Div(e, op.ReduceSum(e, (-1,))), v)


NOT_ATTENTION = [
    cap_around_a_bias, cap_times_weights, exponentials_read, weighted_exponentials,
    lambda a: exponentials(a, axis=-2), lambda a: exponentials(a, more=1.0),
    over_queries, changed_weights, hidden_by_little, weights_transposed, averaged, scores_read, mixture, wrong_sum,
    scaled_by_key, scores_grow, einsum_of_one,
    lambda a: einsum(a, axis=2), lambda a: einsum(a, axis=1),
]  # fmt: skip


def whole(spelling):
    layer = Layer()
    layer.g.output(spelling(layer))
    return aj.infer_shapes(layer.g)


def outputs_and_gradients(graph):
    """In NumPy, in float64, by the rules' gradient graph."""
    rng = np.random.default_rng(1)
    feeds = {"x": rng.normal(size=(BATCH, LENGTH, WIDTH))}
    if "visible" in graph.inputs:
        seen = np.ones((BATCH, LENGTH), bool)
        seen[1, :2] = False  # with a triangle, the first two queries see nothing
        feeds["visible"] = seen.reshape((BATCH, *graph.inputs["visible"].shape[1:]))
    program = aj.NumpyProgram(aj.make_program(graph, wrt=[*graph.params, "x"]))
    outputs, saved, _ = program.forward(graph.params, {}, feeds)
    seeds = {k: np.random.default_rng(2).normal(size=y.shape) for k, y in outputs.items()}
    return {**outputs, **{f"d {k}": g for k, g in program.backward_from_gradient_graph(saved, seeds).items()}}


@pytest.mark.parametrize("name", FOUND)
def test_found_and_equal_in_float64(name):
    graph = whole(FOUND[name])
    fused = fuse(graph, products=False)
    assert fused.count()["Attention"] == 1 and fused.count()["Softmax"] == 0 and fused.count()["Einsum"] == 0
    assert fused.outputs == graph.outputs and set(fused.params) == set(graph.params)
    assert fuse(graph, attention=False).count() == graph.count()
    want, got = outputs_and_gradients(graph), outputs_and_gradients(fused)
    assert list(want) == list(got)
    for k in want:
        np.testing.assert_allclose(got[k], want[k], rtol=0, atol=1e-12 * np.abs(want[k]).max() + 1e-300, err_msg=k)


@pytest.mark.parametrize("spelling", NOT_ATTENTION)
def test_what_is_no_attention_is_left_alone(spelling):
    graph = whole(spelling)
    assert str(fuse(graph, products=False)) == str(graph)


def test_weights_that_nobody_reads_do_not_count():
    """As need_weights leaves them where only the other output is asked for."""
    graph = whole(averaged)
    graph.outputs[:] = graph.outputs[1:]
    assert fuse(graph).count()["Attention"] == 1


def test_heads_that_are_shared_are_not_repeated_and_a_known_triangle_is_an_attribute():
    for name, heads in (
        ("Einsum of groups", 2),
        ("queries in groups", 2),
        ("keys tiled", 2),
        ("a temperature by head", 4),
    ):
        fused = fuse(whole(FOUND[name]))
        (node,) = (n for n in fused.nodes if n.op == "Attention")
        assert [fused.value(i).shape[1] for i in node.inputs[:3]] == [HEADS, heads, heads], name
    (node,) = (n for n in fuse(whole(FOUND["baddbmm"])).nodes if n.op == "Attention")
    assert node.attrs["is_causal"] == 1 and len(node.inputs) == 3 and node.attrs["scale"] == pytest.approx(SCALE)


@pytest.mark.parametrize("name", ["baddbmm", "a soft cap", "exponentials", "Einsum of groups"])
def test_the_gradient_is_one_operator(name):
    fused = aj.with_loss(fuse(whole(FOUND[name]), products=False), "mse")
    backward = aj.make_program(fused).gradient
    assert backward.count()["AttentionGrad"] == 1 and backward.count()["Softmax"] == 0
