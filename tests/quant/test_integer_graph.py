"""Integers from end to end: the levels of the deployed graph, in both backends."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax import quant
from aidgejax.errors import GraphError

from ._drawn import drawn
from .test_deploy import SHIFTS, deployed, lenet


def same(integers, x):
    made = quant.integer_graph(integers)
    between = [n for n in made.nodes if n.op not in ("QuantizeLinear", "DequantizeLinear", "Clip")]
    assert not any(made.value(o).is_float for n in between for o in n.output_names)
    want = aj.run(integers, x, "numpy")[0]
    for backend in ("numpy", "jax"):
        np.testing.assert_array_equal(aj.run(made, x, backend)[0], want, err_msg=backend)
    return made


def test_a_lenet_in_integers():
    _, integers, x = lenet()
    made = same(integers, x)
    assert made.count()["ConvInteger"] == 2 and made.count()["MatMulInteger"] == 3 and made.count()["Requantize"] >= 5


@pytest.mark.parametrize("seed", [3, *(pytest.param(s, marks=pytest.mark.slow) for s in (0, 5, 6, 8, 9))])
def test_joins_and_averages(seed):
    grid = quant.Grid(8, symmetric=seed != 3)
    _, integers, x = deployed(drawn(seed), quant.Scheme(quant.Grid(8, per="channel"), grid, **SHIFTS), rows=4)
    if integers.count()["ConvTranspose"]:
        with pytest.raises(GraphError, match="ConvTranspose is not computed in integers"):
            quant.integer_graph(integers)
    else:
        same(integers, x)


def test_free_steps_by_multipliers():
    _, integers, x = deployed(aj.zoo.mlp((6, 8, 3)), quant.bits(8))
    made = same(integers, x)
    (m,) = (p.data for k, p in made.producers.items() if k.startswith("logits") and k.endswith("multiplier"))
    assert m.min() >= 2**20 and m.max() < 2**31
