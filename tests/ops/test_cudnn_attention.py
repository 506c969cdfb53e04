"""cuDNN's attention is chosen when a program is lowered for CUDA, and nowhere else; a CPU runs ours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.ops import _cudnn_attention as cudnn

CALL = "__cudnn$fmhaSoftmax"


def programs(dtype="bfloat16", size=8):
    """Attention over three parameters, one program with each kind of it."""
    rng = np.random.default_rng(0)
    g = aj.Graph("attention")
    q, k, v = (g.parameter(n, jnp.asarray(rng.normal(size=(2, 2, 6, size)), dtype)) for n in "qkv")
    g.output(g.op.ReduceSum(g.op.Cast(g.op.Attention(q, k, v, is_causal=1), to=1), keepdims=0))
    g = aj.infer_shapes(g)
    return [aj.make_program(g, attention=kind) for kind in ("own", "cudnn")]


def step_of(program):
    def step(params):
        outputs, saved, _ = program.forward(params, {}, {})
        return outputs, program.backward(params, saved, {s: 1.0 for s in program.seeds})

    return jax.jit(step)


def calls(program, platform):
    traced = step_of(program).trace(program.graph.params)
    return traced.lower(lowering_platforms=(platform,)).as_text().count(CALL)


needs_names = pytest.mark.skipif(cudnn._kernels() is None, reason="this JAX has cuDNN's attention under other names")


@needs_names
def test_lowered_for_cuda_it_is_cudnn_s_and_elsewhere_ours_to_the_bit():
    own, asked = programs()
    assert [calls(own, "cuda"), calls(asked, "cpu"), calls(asked, "tpu")] == [0, 0, 0]
    assert calls(asked, "cuda") >= 3  # the forward, once more in the gradient, and the gradient's own
    found = [step_of(p)(p.graph.params) for p in (own, asked)]
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_array_equal(a, b)


@needs_names
@pytest.mark.parametrize("other", [{"dtype": "float32"}, {"size": 12}])
def test_what_the_kernels_do_not_take_is_ours(other):
    """32 bits, and heads of a size that 8 does not divide."""
    _, asked = programs(**other)
    assert calls(asked, "cuda") == 0


def test_a_jax_whose_names_are_others_has_ours(monkeypatch):
    def other(name):
        raise ImportError(name)

    cudnn._kernels.cache_clear()
    monkeypatch.setattr(cudnn, "import_module", other)
    try:
        _, asked = programs()
        assert calls(asked, "cuda") == 0
        with cudnn.kind_of_attention("cudnn"):
            q = jnp.zeros((1, 2, 4, 8), jnp.bfloat16)
            assert not cudnn.is_asked_for(q, q, q, None)
    finally:
        monkeypatch.undo()
        cudnn._kernels.cache_clear()


def test_another_word_is_refused():
    with pytest.raises(aj.GraphError, match="attention 'flash': expected one of own, cudnn"):
        aj.make_program(aj.zoo.mlp((2, 2)), attention="flash")
