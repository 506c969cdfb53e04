"""The cheap normal draws of analog tiles: are they normal, independent, and fresh with every key?"""

import jax
import jax.numpy as jnp
import numpy as np

from aidgejax.ops.analog import gaussian

N, KEYS = 1 << 18, 4


def draws(dtype="float32"):
    draw = jax.jit(lambda k: gaussian(jax.random.fold_in(jax.random.key(3), k), (N,), dtype))
    return np.stack([draw(k) for k in range(KEYS)]).astype(np.float64)


def test_moments_and_tails():
    z = draws()
    error = (KEYS * N) ** -0.5  # of a mean of numbers of variance 1
    for power, moment in [(1, 0), (2, 1), (3, 0), (4, 3), (5, 0), (6, 15)]:
        spread = np.sqrt({1: 1, 2: 2, 3: 15, 4: 96, 5: 945, 6: 10170}[power])
        assert abs(np.mean(z**power) - moment) < 4 * spread * error, power
    for bound, share in [(1, 0.317311), (2, 0.0455), (3, 0.0027)]:
        assert abs(np.mean(np.abs(z) > bound) - share) < 0.002, bound
    assert np.mean(np.abs(z) > 4) > 1e-5
    assert np.abs(z).max() < 4.6


def test_draws_and_keys_are_independent():
    z = draws()
    for lag in (1, 2, 3, 4, 7, 8, 16, 28, 64, 256, 784, 65536):
        for f in (lambda a: a, lambda a: (a * a - 1) / np.sqrt(2)):
            assert abs(np.mean(f(z[:, lag:]) * f(z[:, :-lag]))) < 4.5 * (KEYS * N) ** -0.5, lag
    correlation = np.corrcoef(z)
    assert np.abs(correlation - np.eye(KEYS)).max() < 4.5 * N**-0.5
    # An image of 512 x 512 draws has no structure: its singular values end where those of random matrices do.
    assert np.linalg.svd(z[0].reshape(512, 512), compute_uv=False)[0] / np.sqrt(512) < 2.05


def test_the_same_key_says_the_same_and_the_shape_does_not_matter():
    key = jax.random.key(0)
    flat = gaussian(key, (24,), "float32")
    np.testing.assert_array_equal(gaussian(key, (2, 3, 4), "float32"), flat.reshape(2, 3, 4))
    np.testing.assert_allclose(gaussian(key, (24,), jnp.bfloat16).astype("float32"), flat, rtol=1e-2)
    assert not np.any(flat == gaussian(jax.random.fold_in(key, 1), (24,), "float32"))
