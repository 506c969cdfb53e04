"""Runs of equal blocks: found, executed as loops, the same results."""

import jax
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.interpreter.shape_inference import infer_shapes


def deep(blocks, *, odd=None, width=6):
    """Residual blocks with Dropout; block `odd` has another activation."""
    g, rng = aj.Graph("deep"), np.random.default_rng(0)
    weight = lambda name, *shape: g.parameter(name, rng.normal(0, 0.3, shape).astype(np.float32))
    h = g.op.MatMul(g.input("x", ("N", width)), weight("first", width, width))
    for k in range(blocks):
        y = g.op.Add(g.op.MatMul(h, weight(f"w{k}", width, width)), weight(f"b{k}", width))
        y = g.op.Sigmoid(y) if k == odd else g.op.Tanh(y)
        y = g.op.Mul(g.op.Dropout(y, 0.2), weight(f"s{k}", width))
        h = g.op.Add(h, g.op.Neg(g.op.MatMul(y, weight(f"v{k}", width, width))))
    g.output(g.op.MatMul(h, weight("last", width, 3), name="logits"))
    return aj.with_loss(infer_shapes(g), "cross_entropy", reduction="rows")


BATCH = {"x": np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32), "target": np.arange(5) % 3}


def traced(graph, scan_blocks):
    program = aj.make_program(graph, training=True, scan_blocks=scan_blocks)

    def step(params, batch):
        outputs, saved, _ = program.forward(params, {}, batch, jax.random.key(3))
        return outputs["loss"], program.backward(params, saved, {"loss": np.ones(5, np.float32)})

    return program, jax.jit(step).trace(graph.params, BATCH)


def test_equal_blocks_are_lowered_once_and_compute_the_same():
    graph = deep(6)
    (plain, one), (looped, other) = traced(graph, False), traced(graph, True)
    runs = [*looped._evaluate_forward.runs.values(), *looped._evaluate_backward.runs.values()]
    assert [r.count for r in runs] == [6, 6] and not plain._evaluate_forward.runs
    texts = [t.lower().as_text() for t in (one, other)]
    assert texts[0].count("dot_general") == 3 * (2 * 6 + 2) - 1 and texts[1].count("dot_general") == 3 * (2 + 2) - 1
    (loss, grads), (loss2, grads2) = (t.lower().compile()(graph.params, BATCH) for t in (one, other))
    np.testing.assert_allclose(loss2, loss, rtol=1e-6)  # the same masks of Dropout too
    for name, exact in grads.items():
        np.testing.assert_allclose(grads2[name], exact, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(("odd", "counts"), [(2, [5]), (3, [4])])
def test_a_block_of_another_kind_ends_a_run(odd, counts):
    """Where it stands in the middle, the longer side is a loop, and the other where it saves enough nodes."""
    program = aj.make_program(deep(8, odd=odd), training=True, scan_blocks=True)
    assert [r.count for r in program._evaluate_forward.runs.values()] == counts


def test_what_is_short_or_read_across_blocks_stays_as_it_is():
    assert not aj.make_program(deep(2), training=True, scan_blocks=True)._evaluate_forward.runs
    g, rng = aj.Graph("dense"), np.random.default_rng(0)
    seen = [g.input("x", ("N", 4))]
    for k in range(12):  # each block reads all before it
        w = g.parameter(f"w{k}", rng.normal(size=(4, 4)).astype(np.float32))
        seen.append(g.op.Tanh(g.op.MatMul(g.op.Sum(*seen), w)))
    g.output(seen[-1])
    assert not aj.make_program(infer_shapes(g), scan_blocks=True)._evaluate_forward.runs
