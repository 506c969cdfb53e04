"""Fillers against the statistics of Aidge's, and their other promises."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax.errors import GraphError, SettingError
from aidgejax.training import fillers

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/aidge/fillers_statistics.json").read_text())["cases"]
NAMES = {"FanIn": "fan_in", "FanOut": "fan_out", "Average": "average"}
KEY = jax.random.key(3)


def ours(case):
    """Aidge's call in our words."""
    k = dict(case["kwargs"])
    rename = {"varianceNorm": "fan", "meanNorm": "mean_norm", "stdDev": "std", "min": "low", "max": "high"}
    k = {rename.get(n, n): NAMES.get(v, v) for n, v in k.items()}
    name = {"he": "he_normal"}.get(case["filler"].removesuffix("_filler"), case["filler"].removesuffix("_filler"))
    return np.asarray(getattr(fillers, name)(KEY, tuple(case["shape"]), **k))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: c["name"])
def test_aidge(case):
    drawn = ours(case)
    std = case["std"]
    assert drawn.dtype == np.float32 and drawn.shape == tuple(case["shape"])
    np.testing.assert_allclose(drawn.std(), std, rtol=0.03)
    # Both means are of one draw: their difference has a standard deviation of sqrt(2) * std / sqrt(n).
    np.testing.assert_allclose(drawn.mean(), case["mean"], atol=5 * math.sqrt(2) * std / math.sqrt(case["n"]))
    if "uniform" in case["filler"]:
        np.testing.assert_allclose([drawn.min(), drawn.max()], [case["min"], case["max"]], rtol=0.01)


@pytest.mark.parametrize(
    "fill, std",
    [
        (fillers.xavier_uniform, math.sqrt(1 / 150)),
        (fillers.xavier_normal, math.sqrt(1 / 150)),
        (fillers.glorot_uniform, math.sqrt(2 / (150 + 300))),
        (fillers.glorot_normal, math.sqrt(2 / (150 + 300))),
        (fillers.he_uniform, math.sqrt(2 / 150)),
        (fillers.he_normal, math.sqrt(2 / 150)),
        (fillers.lecun_uniform, math.sqrt(1 / 150)),
        (fillers.lecun_normal, math.sqrt(1 / 150)),
        (fillers.ibp_normal, math.sqrt(2 * math.pi) / 150),
    ],
)
def test_spread_at_any_rank(fill, std):
    """(out, in, *kernel) = (100, 50, 3), and the same weight as (in, out, *kernel)."""
    np.testing.assert_allclose(fill(KEY, (100, 50, 3)).std(), std, rtol=0.03)
    np.testing.assert_allclose(fill(KEY, (50, 100, 3), order="io").std(), std, rtol=0.03)
    assert fill(KEY, (4, 3, 2, 2, 2), dtype="bfloat16").dtype == jnp.bfloat16


@pytest.mark.parametrize("shape", [(6, 3, 2), (3, 8), (5, 5)])
def test_orthogonal(shape):
    m = np.asarray(fillers.orthogonal(KEY, shape, scaling=2.0)).reshape(shape[0], -1)
    square = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(square, 4 * np.eye(len(square)), atol=1e-5)


def test_plain_ones():
    assert np.all(fillers.constant(None, (3,), 0.01) == np.float32(0.01))
    assert fillers.constant(None, (3,), 2, dtype="int32").dtype == np.int32
    drawn = fillers.uniform(KEY, (500,), -1, 2, dtype="int32")
    assert set(np.unique(drawn)) == {-1, 0, 1, 2}
    np.testing.assert_allclose(
        jax.jit(lambda k: fillers.he_normal(k, (3, 4)))(KEY), fillers.he_normal(KEY, (3, 4)), rtol=1e-6
    )
    many = jax.vmap(lambda k: fillers.xavier_uniform(k, (3, 4)))(jax.random.split(KEY, 5))
    assert len(np.unique(many)) == 60
    assert fillers.he_normal(KEY, (0, 4)).shape == (0, 4)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: fillers.he_normal(KEY, (3,)),
            GraphError,
            "he_normal needs a weight of 2 or more axes, got shape (3,); fill a bias with `constant`",
        ),
        (
            lambda: fillers.orthogonal(KEY, ()),
            GraphError,
            "orthogonal needs a weight of 2 or more axes, got shape (); fill a bias with `constant`",
        ),
        (
            lambda: fillers.he_normal(KEY, (3, 4), fan="in"),
            SettingError,
            "he_normal: fan is 'in'; expected one of 'fan_in', 'fan_out', 'average'",
        ),
        (
            lambda: fillers.ibp_normal(KEY, (3, 4), order="hw"),
            SettingError,
            "ibp_normal: order is 'hw'; expected 'oi' for (out, in, *kernel) or 'io' for (in, out, *kernel)",
        ),
        (
            lambda: fillers.normal(KEY, (3,), 0, -1),
            SettingError,
            "normal: std is -1; expected a finite number of at least 0",
        ),
        (
            lambda: fillers.uniform(KEY, (3,), 2, 1),
            SettingError,
            "uniform: low is 2 and high is 1; expected low <= high",
        ),
        (
            lambda: fillers.normal(KEY, (3,), dtype="int32"),
            SettingError,
            "normal: dtype is int32; expected a floating-point dtype",
        ),
    ],
)
def test_mistakes(call, error, message):
    with pytest.raises(error) as e:
        call()
    assert str(e.value) == message
