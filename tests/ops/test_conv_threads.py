"""A large convolution on a CPU of several cores: the same values by the library that shares it out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.ops import _conv_threads
from aidgejax.ops._convolution import _plain, convolve
from aidgejax.ops._windows import Windows


def same_padding(size):
    return Windows((size, size), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1), (size, size))


def drawn(*shape):
    return jax.random.normal(jax.random.key(len(shape)), shape, jnp.float32)


@pytest.mark.skipif(jax.__version_info__ >= (0, 11), reason="from 0.11 on convolutions have several threads anyway")
def test_large_convolutions_have_all_threads_where_there_are_several(monkeypatch):
    x, w, win = drawn(2, 6, 6, 24), drawn(3, 3, 24, 20), same_padding(6)
    monkeypatch.setattr(_conv_threads, "LEAST_WORK", 1)
    want = np.asarray(_plain(x, w, win))
    for cores, single in ((1, True), (2, False)):
        monkeypatch.setattr(_conv_threads, "_cores", lambda cores=cores: cores)
        compiled = jax.jit(lambda x, w: convolve(x, w, win, 1)).lower(x, w).compile()
        assert ("ynn" in compiled.as_text()) is single
        got = np.asarray(compiled(x, w))
        assert got.shape == (2, 6, 6, 20)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_small_convolutions_stay_what_they_are(monkeypatch):
    monkeypatch.setattr(_conv_threads, "_cores", lambda: 2)
    seen = []

    def convolve(x, w, win):
        seen.append(win)
        return _plain(x, w, win)

    x, w, win = drawn(2, 6, 6, 24), drawn(3, 3, 24, 20), same_padding(6)
    _conv_threads.on_all_threads(convolve, x, w, win)
    assert seen == [win]
