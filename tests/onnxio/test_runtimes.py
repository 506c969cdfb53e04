"""What ONNX allows and runtimes do not execute is written in a form that they do."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax import onnxio
from aidgejax.passes import fuse

ort = pytest.importorskip("onnxruntime")

N, HEADS, T, S, SIZE, PAST = 2, 4, 3, 5, 6, 2
# Masks by their shapes, "n" and "t" for sizes that the file leaves open.
MASKS = {
    "of all queries, by batch": ("n", 1, 1, S),
    "of all queries, by head": (HEADS, 1, S),
    "one row": (1, S),
    "of keys alone": (S,),
    "too short": (T, S - 1),
    "too short, by batch": ("n", 1, 1, S - 1),
    "whole": ("n", HEADS, T, S),
}


def numbers(shape, kind, rng):
    shape = tuple({"n": N, "t": T}.get(d, d) for d in shape)
    if kind is None:
        return rng.normal(size=shape).astype(np.float32)
    visible = rng.random(shape) < 0.6
    visible[..., 0] = True
    return visible if kind == "bool" else np.where(visible, rng.normal(size=shape), -1e4).astype(np.float32)


def attentions(kind, rank, kv, past, length):
    """A graph with an Attention per mask, and what it is fed."""
    rng, g, feeds = np.random.default_rng(0), aj.Graph("attentions"), {}

    def given(name, *shape, mask=None):
        feeds[name] = numbers(shape, mask, rng)
        return g.input(name, shape, mask or "float32")

    if rank == 4:
        qkv = given("q", "n", HEADS, length, SIZE), given("k", "n", kv, S, SIZE), given("v", "n", kv, S, SIZE)
    else:
        qkv = given("q", "n", length, HEADS * SIZE), given("k", "n", S, kv * SIZE), given("v", "n", S, kv * SIZE)
    more = [given(name, "n", kv, PAST, SIZE) for name in ("pk", "pv")] if past else []
    heads = {} if rank == 4 else {"q_num_heads": HEADS, "kv_num_heads": kv}
    for k, shape in enumerate(MASKS.values()):
        if shape[-2:-1] == (T,):
            shape = (*shape[:-2], length, shape[-1])
        mask = given(f"mask{k}", *shape[:-1], shape[-1] + (PAST if past else 0), mask=kind)
        g.output(g.op.Attention(*qkv, mask, *more, is_causal=k % 2, **heads))
    if past:  # without a mask, too
        g.output(g.op.Attention(*qkv, None, *more, **heads))
    return aj.infer_shapes(g), feeds


@pytest.mark.parametrize(
    "kind, rank, kv, past, length",
    [("bool", 4, 4, False, T), ("float32", 3, 2, True, T), ("bool", 3, 2, False, "t"), ("float32", 4, 2, True, "t")],
)
def test_masks_that_attention_broadcasts_run_in_onnxruntime(kind, rank, kv, past, length):
    graph, feeds = attentions(kind, rank, kv, past, length)
    model = onnxio.to_model(graph)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    want = aj.NumpyProgram(aj.make_program(graph, wrt=[])).forward({}, {}, feeds)[0]
    again = onnxio.read(model)
    for name, y in zip(graph.outputs, session.run(list(graph.outputs), feeds), strict=True):
        np.testing.assert_allclose(y, want[name], atol=1e-6, err_msg=name)
    narrow = fuse(again)  # a mask is read before it was made wide for runtimes
    assert narrow.count()["Expand"] == 0 and narrow.count()["Attention"] == graph.count()["Attention"]
    assert list(again.outputs) == list(graph.outputs)
