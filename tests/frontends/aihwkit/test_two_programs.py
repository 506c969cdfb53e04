"""What a forward hands over to its backward, as two programs."""

import jax
import jax.numpy as jnp
import numpy as np

from aidgejax.frontends.aihwkit.nn.modules._two_programs import two_programs


def test_only_what_the_backward_reads_is_handed_over_and_once():
    def run(x, w):
        y = jnp.tanh(x @ w)
        scale, shift = jnp.max(x), jnp.min(x).reshape(1)
        return [y], {"y": y, "again": y.T, "like": x * 2, "unread": x + 1, "scale": scale, "shift": shift}

    @jax.jit
    def ignoring(a, b):
        return a * 3

    def back(saved, dy, w):
        slope = dy * (1 - saved["y"] * saved["again"].T) * saved["scale"] + saved["shift"]
        return [jnp.zeros_like(saved["like"]) + slope @ w.T, ignoring(saved["scale"], saved["unread"])]

    x, w = np.arange(6, dtype=np.float32).reshape(3, 2) / 9, np.eye(2, 4, dtype=np.float32)
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, w)]
    forward, backward, over = two_programs(run, back, shapes, lambda front: (front[0], shapes[1]))
    (y,), handed = jax.jit(forward)(x, w)
    front, saved = run(x, w)
    assert [a.shape for a in handed] == [a.shape for a in over] == [(2,), (3, 4)]  # scale and shift, y
    np.testing.assert_allclose(y, front[0], rtol=1e-6)
    dy = np.ones((3, 4), np.float32)
    for got, want in zip(jax.jit(backward)(handed, dy, w), back(saved, dy, w), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    assert two_programs(run, None, shapes, lambda front: ())[0](x, w)[1] == []
