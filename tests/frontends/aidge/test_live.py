"""Live graphs of the real aidge_core, taken over and given back; our own objects stand in for the real ones."""

import numpy as np
import pytest

from aidgejax.frontends import aidge_core, aidge_quantization
from aidgejax.frontends.aidge_core.errors import GraphViewError


def network():
    g = aidge_core.sequential(
        [
            aidge_core.PaddedConv2D(1, 2, [3, 3], name="c", padding_dims=[1, 1, 1, 1]),
            aidge_core.ReLU(name="r"),
            aidge_core.Flatten(name="f"),
            aidge_core.FC(32, 3, no_bias=True, name="fc"),
        ]
    )
    rng = np.random.default_rng(0)
    for p in aidge_core.producers(g):
        dims = p.get_operator().get_output(0).dims
        p.get_operator().set_output(0, aidge_core.Tensor(rng.normal(size=dims).astype(np.float32)))
    aidge_quantization.lsq.setup_quantizers(g, 4)
    for p in aidge_core.producers(g):
        if p.name().endswith("_ss"):
            p.get_operator().set_output(0, aidge_core.Tensor(np.full(1, 0.25, np.float32)))
    return g


def answer(g):
    g.set_backend("cpu")
    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 1, 4, 4)
    scheduler = aidge_core.SequentialScheduler(g)
    scheduler.forward(data=[aidge_core.Tensor(x)])
    return np.array(g.get_ordered_outputs()[0].node.get_operator().get_output(0))


def test_there_and_back_by_what_a_live_graph_says():
    live = network()
    want = answer(live)
    mine = aidge_core.from_aidge(live)
    assert {n.name(): n.type() for n in mine.get_nodes()} == {n.name(): n.type() for n in live.get_nodes()}
    np.testing.assert_array_equal(answer(mine), want)
    again = aidge_core.to_aidge(mine, aidge_core, aidge_quantization)
    assert again.get_node("c").get_operator().attr.dict()["padding_dims"] == [1, 1, 1, 1]
    assert not again.get_nodes() & mine.get_nodes()
    np.testing.assert_array_equal(answer(again), want)


def test_a_live_graph_gets_its_parameters_back():
    live = network()
    mine = aidge_core.from_aidge(live)
    before = answer(live)
    mine.get_node("fc_w").get_operator().set_output(0, aidge_core.Tensor(np.ones((3, 32), np.float32)))
    np.testing.assert_array_equal(answer(live), before)  # a copy
    assert aidge_core.to_aidge(mine, aidge_core, view=live) is live
    np.testing.assert_array_equal(answer(live), answer(mine))
    assert not np.array_equal(answer(live), before)


def test_what_is_not_known_is_named():
    g = aidge_core.sequential([aidge_core.GenericOperator("Secret", 1, 0, 1, name="s")])
    with pytest.raises(GraphViewError, match="node 's' is of type 'Secret'"):
        aidge_core.from_aidge(g)
    mine = aidge_core.from_aidge(network())
    with pytest.raises(GraphViewError, match="'c_lsq_i' is of type 'LSQ'.*the module that does"):
        aidge_core.to_aidge(mine, aidge_core)
    mine.get_node("fc_w").set_name("other")
    with pytest.raises(GraphViewError, match="no Producer 'other'"):
        aidge_core.to_aidge(mine, aidge_core, view=network())


@pytest.mark.peer
def test_the_real_aidge():
    real = pytest.importorskip("aidge_core")
    pytest.importorskip("aidge_backend_cpu")
    quantizers = pytest.importorskip("aidge_quantization")
    mine = network()
    live = aidge_core.to_aidge(mine, real, quantizers)
    live.set_datatype(real.dtype.float32)
    live.set_backend("cpu")
    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 1, 4, 4)
    scheduler = real.SequentialScheduler(live)
    scheduler.forward(data=[real.Tensor(x)])
    got = np.array(live.get_node("fc").get_operator().get_output(0))
    np.testing.assert_allclose(got, answer(mine), atol=1e-5)
    np.testing.assert_allclose(answer(aidge_core.from_aidge(live)), got, atol=1e-5)
