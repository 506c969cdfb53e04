"""Operators that take images channels-last say the same there, their gradients too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.interpreter.evaluate import IMAGE_RANKS, Evaluator
from aidgejax.ops import lookup
from aidgejax.passes.gradient import grad_name

from .cases import TABLE


def rank(case):
    return max((a.ndim for a in case.named().values()), default=0)


ROWS = [
    pytest.param(c, id=f"{n}-{c!r}")
    for n, c in enumerate(TABLE)
    if c.operator.layout == "same" and not c.operator.random and rank(c) in IMAGE_RANKS and c.fed
]


def walked(graph, feeds, given, layout):
    lying = {k: jnp.moveaxis(jnp.asarray(a), 1, -1) if k in given else a for k, a in feeds.items()}
    found = Evaluator(graph, layout, given)(lying | graph.constants, jax.random.key(7), graph.outputs)
    return found, {o: np.asarray(found.in_graph_layout(o)) for o in graph.outputs}


@pytest.mark.parametrize("case", ROWS)
def test_channels_last(case):
    program = case.program()
    feeds = case.feeds()
    images = {k for k, a in feeds.items() if a.ndim == rank(case)}
    _, want = walked(program.graph, feeds, (), "NCHW")
    found, got = walked(program.graph, feeds, images, "NHWC")
    for o in want:
        np.testing.assert_allclose(got[o], want[o], rtol=1e-6, atol=1e-6)
    assert images.isdisjoint(found._transposed), "an image was transposed although the operator takes it as it lies"
    if not case.wrt:
        return
    backward = program.gradient
    tensors = {**feeds, **want, **{grad_name(o): a for o, a in case.cotangents(want).items()}}
    tensors = {k: tensors[k] for k in backward.inputs}
    _, want = walked(backward, tensors, (), "NCHW")
    _, got = walked(backward, tensors, {k for k, a in tensors.items() if np.ndim(a) == rank(case)}, "NHWC")
    for o in want:
        np.testing.assert_allclose(got[o], want[o], rtol=1e-5, atol=1e-6)


def test_rows_cover_the_operators_that_cut_and_join():
    assert {"Concat", "Split", "Slice", "Pad", "PadGrad", "SliceGrad"} <= {c.values[0].op for c in ROWS}
    assert all(lookup(c.values[0].op).layout == "same" for c in ROWS)
