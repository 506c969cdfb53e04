"""Random operators in NumPy.  rng: where to draw from; drawn: what another backend drew, one entry per output."""

import numpy as np

from ._definition import backward, define
from .cast import dtype_of


def source(rng, seed):
    return np.random.default_rng(None if seed is None else abs(hash(seed))) if rng is None else rng


@define("Dropout")
def dropout(data, ratio=None, training_mode=None, *, seed=None, rng=None, drawn=()):
    ratio = 0.5 if ratio is None else float(ratio)
    if not training_mode or ratio == 0:
        return data, np.ones(data.shape, bool)
    mask = drawn[1] if len(drawn) > 1 and drawn[1] is not None else source(rng, seed).uniform(size=data.shape) >= ratio
    return np.where(mask, data / data.dtype.type(1 - ratio), data.dtype.type(0)), mask


@backward("Dropout")
def dropout_backward(data, ratio, training_mode, output, mask, dy, d_mask):
    if not training_mode:
        return dy, None, None
    return np.where(mask, dy / dy.dtype.type(1 - (0.5 if ratio is None else float(ratio))), 0), None, None


@define("RandomNormal")
def random_normal(*, shape, dtype=1, mean=0.0, scale=1.0, seed=None, rng=None):
    return source(rng, seed).normal(mean, scale, shape).astype(dtype_of(dtype))


@define("RandomNormalLike")
def random_normal_like(x, *, dtype=None, mean=0.0, scale=1.0, seed=None, rng=None):
    return source(rng, seed).normal(mean, scale, x.shape).astype(x.dtype if dtype is None else dtype_of(dtype))


@define("RandomUniform")
def random_uniform(*, shape, dtype=1, low=0.0, high=1.0, seed=None, rng=None):
    return source(rng, seed).uniform(low, high, shape).astype(dtype_of(dtype))


@define("RandomUniformLike")
def random_uniform_like(x, *, dtype=None, low=0.0, high=1.0, seed=None, rng=None):
    return source(rng, seed).uniform(low, high, x.shape).astype(x.dtype if dtype is None else dtype_of(dtype))


@define("Bernoulli")
def bernoulli(x, *, dtype=None, seed=None, rng=None):
    return (source(rng, seed).uniform(size=x.shape) < x).astype(x.dtype if dtype is None else dtype_of(dtype))


@define("Multinomial")
def multinomial(x, *, dtype=6, sample_size=1, seed=None, rng=None):
    rng = source(rng, seed)
    weights = np.exp(x - x.max(axis=1, keepdims=True)).astype(np.float64)
    drawn = [rng.choice(x.shape[1], sample_size, p=w / w.sum()) for w in weights]
    return np.asarray(drawn).astype(dtype_of(dtype))
