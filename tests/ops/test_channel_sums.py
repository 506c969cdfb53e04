"""Sums over all but a few channels, by rows of an image: in every layout what NumPy says."""

import jax
import numpy as np

from aidgejax.ops._channel_sums import FEW, sum_over

IMAGES = [((2, 3, 4, 5), 1), ((2, 4, 5, 3), 3), ((2, 3, 4, 5, 6), 4), ((2, FEW, 3, 3), 1), ((2, 3, 3, FEW + 1), 3)]


def test_every_layout():
    rng = np.random.default_rng(0)
    images = [rng.normal(size=shape).astype(np.float32) for shape, _ in IMAGES]
    over = [tuple(k for k in range(a.ndim) if k != kept) for a, (_, kept) in zip(images, IMAGES, strict=True)]

    @jax.jit
    def both(images):
        return [
            [sum_over(a, axes, keepdims=kept) for kept in (True, False)] for a, axes in zip(images, over, strict=True)
        ]

    for a, axes, found in zip(images, over, both(images), strict=True):
        for got, kept in zip(found, (True, False), strict=True):
            want = a.sum(axes, keepdims=kept)
            assert got.shape == want.shape and got.dtype == np.float32
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_rows_are_added_first_where_channels_are_few():
    lowered = jax.jit(lambda x: sum_over(x, (0, 1, 2))).lower(np.ones((2, 4, 5, FEW), np.float32))
    assert f"tensor<1x1x5x{FEW}xf32>" in lowered.as_text()
