"""Training without labels, block by block, against the tensors of the network in floating point."""

import numpy as np
import pytest

import aidgejax as aj
from aidgejax import quant
from aidgejax.errors import GraphError, SettingError

X = {"x": np.random.default_rng(0).normal(size=(256, 1, 8, 8)).astype(np.float32)}


@pytest.fixture(scope="module")
def nets():
    graph = aj.infer_shapes(aj.zoo.lenet(8))
    q = quant.calibrate(quant.convert(graph, quant.bits(3, ends=3)), X)
    return graph, q, quant.distill(q, X, blocks=True, epochs=10, rate=2e-3)


def far(a, b):
    return float(np.mean((aj.run(a, X)[0] - aj.run(b, X)[0]) ** 2))


def test_every_layer_learns_and_the_whole_comes_nearer(nets):
    graph, q, taught = nets
    assert far(taught, graph) < 0.5 * far(q, graph)
    same = [k for k, v in taught.params.items() if np.array_equal(v, q.params[k])]
    assert not same, same
    assert all((np.asarray(taught.params[s]) > 0).all() for s in quant.step_names(taught))


def test_a_teacher_that_has_other_tensors_is_refused(nets):
    graph, q, _ = nets
    with pytest.raises(GraphError, match="teacher 'mlp.*has no tensor 'relu1'"):
        quant.distill(q, X, aj.zoo.mlp((64, 10)), blocks=True, epochs=1)
    with pytest.raises(SettingError, match="distill takes no 'loss'; it takes graph, data"):
        quant.distill(q, X, blocks=True, loss="l1")
