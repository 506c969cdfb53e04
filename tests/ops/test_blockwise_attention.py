"""Attention by blocks of keys equals all scores at once, and holds no table of all pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.ops import _blockwise_attention as blockwise
from aidgejax.ops import lookup

RNG = np.random.default_rng(0)


def array(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def mask_of(kind, rows, columns):
    visible = RNG.random((2, 1, rows, columns)) < 0.7
    visible[0, 0, 1] = False  # this query may look at nothing
    added = np.where(visible, array(2, 1, rows, columns), -np.inf).astype(np.float32)
    heads = np.where(RNG.random((4, rows, columns)) < 0.6, 0, -3.0).astype(np.float32)
    return {None: None, "bool": visible, "added": added, "of heads": heads, "short": heads[..., :-9]}[kind]


@pytest.mark.parametrize("mask", [None, "bool", "added", "of heads", "short"])
@pytest.mark.parametrize(("kv", "is_causal", "columns", "softcap"), [(4, 0, 70, 0.0), (2, 1, 40, 1.5)])
def test_equal_to_all_scores_at_once(monkeypatch, mask, kv, is_causal, columns, softcap):
    monkeypatch.setattr(blockwise, "BLOCK", 16)
    rows = 40
    q, k, v, dy = array(2, 4, rows, 8), array(2, kv, columns, 8), array(2, kv, columns, 6), array(2, 4, rows, 6)
    args = (q, k, v) if mask is None else (q, k, v, mask_of(mask, rows, columns))
    found = []
    for least in (1 << 40, 1):
        monkeypatch.setattr(blockwise, "FROM_SCORES", least)

        @jax.jit
        def both(dy, *args):
            how = {"is_causal": is_causal, "softcap": softcap}
            y = lookup("Attention").forward(*args, **how, wanted=(True, False, False, False))[0]
            return y, *lookup("AttentionGrad").forward(dy, *args, **how)

        found.append(both(dy, *args))
    for whole, blocks in zip(*found, strict=True):
        if whole is not None and blocks is not None:
            np.testing.assert_allclose(blocks, whole, atol=2e-5)
    assert found[1][3] is not None and all(np.isfinite(a).all() for a in found[1][:4])


def test_three_axes_and_16_bits(monkeypatch):
    monkeypatch.setattr(blockwise, "BLOCK", 16)
    q, k, v, dy = (array(2, 40, 32).astype(jnp.bfloat16) for _ in range(4))
    heads = {"q_num_heads": 4, "kv_num_heads": 4}
    found = []
    for least in (1 << 40, 1):
        monkeypatch.setattr(blockwise, "FROM_SCORES", least)

        @jax.jit
        def both(dy, q, k, v):
            y = lookup("Attention").forward(q, k, v, **heads, wanted=(True, False, False, False))[0]
            return y, *lookup("AttentionGrad").forward(dy, q, k, v, **heads)[:3]

        found.append(both(dy, q, k, v))
    for whole, blocks in zip(*found, strict=True):
        assert blocks.dtype == whole.dtype == jnp.bfloat16 and blocks.shape == whole.shape
        np.testing.assert_allclose(np.float32(blocks), np.float32(whole), atol=0.06)


def test_memory_does_not_grow_with_the_square_of_the_length():
    def temporaries(length):
        q = jax.ShapeDtypeStruct((1, 2, length, 16), jnp.float32)

        def both(q, k, v, dy):
            y = lookup("Attention").forward(q, k, v, is_causal=1, wanted=(True, False, False, False))[0]
            return y, lookup("AttentionGrad").forward(dy, q, k, v, is_causal=1)[:3]

        return jax.jit(both).lower(q, q, q, q).compile().memory_analysis().temp_size_in_bytes

    short, long = temporaries(2048), temporaries(8192)
    assert long < 6 * short and long < 2 * 8192**2 * 4 / 4
