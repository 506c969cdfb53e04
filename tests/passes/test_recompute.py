"""Recomputation: what the gradient no longer keeps, that results stay to the bit, and that memory really falls."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aidgejax as aj
from aidgejax.passes import recompute
from aidgejax.passes.recompute import boundaries, kept_tensors
from aidgejax.tools.step_memory import step_memory

ROWS, WIDTH, BLOCKS = 512, 64, 6


def residual_network(dropout=False, gated=False):
    """gated: two element-wise results that the gradient reads stand on each product, and not one."""
    rng = np.random.default_rng(0)
    g = aj.Graph("residual")
    h = g.input("x", ("N", WIDTH))
    weight = lambda name: g.parameter(name, rng.normal(0, 0.1, (WIDTH, WIDTH)).astype(np.float32))
    for k in range(BLOCKS):
        y = g.op.Tanh(g.op.MatMul(h, weight(f"w{k}"), name=f"product{k}"), name=f"tanh{k}")
        y = g.op.Mul(y, g.op.Exp(g.op.Neg(g.op.Mul(y, y)))) if gated else y
        y = g.op.Dropout(y, 0.2, name=f"dropout{k}") if dropout else y
        h = g.op.Add(h, g.op.Sigmoid(g.op.MatMul(y, weight(f"v{k}"), name=f"second{k}")), name=f"block{k}")
    g.output(h)
    return aj.with_loss(aj.infer_shapes(g), "mse")


def compiled(graph, rows=ROWS):
    """(outputs, buffers and gradients, temporary bytes) of one compiled forward and backward."""
    rng = np.random.default_rng(1)
    program = aj.make_program(graph, training=True)
    batch = {
        v.name: rng.normal(size=(rows, *v.shape[1:])).astype(np.float32)
        if v.is_float
        else rng.integers(0, 10, (rows, *v.shape[1:]), np.int32)
        for v in program.graph.inputs.values()
    }

    def step(params, buffers, batch):
        outputs, saved, buffers = program.forward(params, buffers, batch, jax.random.key(0))
        return outputs, buffers, program.backward(params, saved, {"loss": jnp.ones_like(outputs["loss"])})

    call = jax.jit(step).lower(graph.params, graph.buffers, batch).compile()
    return call(graph.params, graph.buffers, batch), call.memory_analysis().temp_size_in_bytes


def assert_the_same_bits(found, exact):
    """Of every array."""
    for (where, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(exact), strict=True):
        assert np.array_equal(a, b), (jax.tree_util.keystr(where), np.max(np.abs(a - b)))
        assert np.all(np.isfinite(b))


@pytest.fixture(scope="module")
def plain():
    return compiled(residual_network())


@pytest.mark.parametrize("options", [{}, {"every": 3}])
def test_equal_gradients_in_less_memory(plain, options):
    found, temporaries = compiled(recompute(residual_network(), "blocks", **options))
    assert_the_same_bits(found, plain[0])
    assert temporaries <= 0.7 * plain[1]


def test_all_but_products_pays_where_several_results_stand_on_each():
    """Beside a single Tanh nothing is won: its gradient reads what it wrote, and keeping the product costs as much."""
    exact, before = compiled(residual_network(gated=True))
    found, after = compiled(recompute(residual_network(gated=True), "products"))
    assert_the_same_bits(found, exact)
    assert after <= 0.8 * before, (after, before)


def normalized_network():
    """Layer normalization as one node and, behind a product, in the nodes that older files have in its place."""
    rng = np.random.default_rng(0)
    g = aj.Graph("normalized")
    h = g.input("x", ("N", 16, 64))
    for k in range(2):
        weight, last = (g.parameter(f"{w}{k}", rng.normal(0, 0.1, (64, 64)).astype(np.float32)) for w in "wv")
        scale = g.parameter(f"s{k}", np.ones(64, np.float32))
        bias = g.parameter(f"b{k}", np.zeros(64, np.float32))
        y = g.op.Softmax(g.op.MatMul(g.op.LayerNormalization(h, scale, bias), weight), axis=-1)
        centred = g.op.Sub(y, g.op.ReduceMean(y, [-1], keepdims=1))
        variance = g.op.ReduceMean(g.op.Mul(centred, centred), [-1], keepdims=1)
        y = g.op.Add(g.op.Mul(g.op.Div(centred, g.op.Sqrt(g.op.Add(variance, 1e-5))), scale), bias)
        h = g.op.Add(h, g.op.MatMul(y, last), name=f"block{k}")
    g.output(h)
    return aj.with_loss(aj.infer_shapes(g), "mse")


def test_sums_over_an_axis_are_added_up_in_the_same_order():
    """A tensor that a barrier stores in another order is summed in another order, and a square root that no gradient
    reads from memory is joined with sums and products around it."""
    graph = normalized_network()
    exact, before = compiled(graph, 64)
    found, after = compiled(recompute(graph, "blocks"), 64)
    assert_the_same_bits(found, exact)
    assert after <= 0.8 * before, (after, before)


def test_batch_normalization_is_computed_again_too():
    """It moves its statistics in the forward alone; were its results kept, more would be than without recomputation."""
    graph = aj.with_loss(aj.infer_shapes(aj.zoo.ds_cnn(8)), "cross_entropy", reduction="rows")
    again = recompute(graph, "blocks", every=2)
    program = aj.make_program(again, training=True)
    assert {*program.updates} == {*graph.buffers}
    kept = {s: program.graph.writer()[s].op for s in program.saves if s in program.graph.writer()}
    images = {op for s, op in kept.items() if program.graph.value(s).rank == 4}
    assert images == {"Relu"} and program.gradient.count()["BatchNormalization"] == 9


NETWORKS = {
    "mlp": (aj.zoo.mlp, 32),
    "lenet": (aj.zoo.lenet, 8),
    "resnet8": (aj.zoo.resnet8, 8),
    "ds_cnn": (partial(aj.zoo.ds_cnn, 16), 8),
    "transformer": (partial(aj.zoo.transformer_encoder, depth=4, width=64, length=32), 16),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_policy_trains_to_the_same_bits(name):
    """Loss, buffers and gradients of one batch, and what Adam makes of the parameters in a scanned epoch."""
    make, rows = NETWORKS[name]
    graph = aj.infer_shapes(aj.with_loss(aj.infer_shapes(make()), "cross_entropy", reduction="rows"))
    rng = np.random.default_rng(2)

    def trained(graph):
        program, adam = aj.make_program(graph, training=True), aj.optim.adam()
        data = {
            v.name: rng.normal(size=(3, rows, *v.shape[1:])).astype(np.float32)
            if v.is_float
            else rng.integers(0, 10, (3, rows, *v.shape[1:]), np.int32)
            for v in program.graph.inputs.values()
        }
        epoch = aj.make_epoch(aj.make_step(program, adam, 1e-3))
        state, history = epoch(aj.start(program, adam, jax.random.key(0)), data)
        return compiled(graph, rows)[0], state.params, state.buffers, history

    begun = rng.bit_generator.state
    exact = trained(graph)
    for policy, every in (("blocks", 1), ("blocks", 2), ("products", 1)):
        rng.bit_generator.state = begun
        assert_the_same_bits(trained(recompute(graph, policy, every=every)), exact)


def test_the_gradient_reads_only_what_is_kept():
    graph = residual_network()
    assert boundaries(graph) == [f"block{k}" for k in range(BLOCKS)]
    program = aj.make_program(recompute(graph, "blocks", every=2))
    own = {*graph.params, *graph.inputs}
    assert {s for s in program.saves if s not in own} == {"block1", "block3", "block5"}
    # Each product of the blocks is there once more, behind a barrier.
    assert sum(n.name.endswith("_cp") and n.op == "MatMul" for n in program.gradient.nodes) >= 2 * BLOCKS - 3
    assert program.gradient.count()["Barrier"] > 0


def test_random_draws_are_kept():
    graph = residual_network(dropout=True)
    program = aj.make_program(recompute(graph, "blocks"), training=True)
    assert not any(n.op == "Dropout" for n in program.gradient.nodes)
    assert_the_same_bits(compiled(recompute(graph, "blocks"))[0], compiled(graph)[0])


def test_a_number_of_bytes_buys_the_least_recomputation():
    graph = residual_network()
    one = ROWS * WIDTH * 4

    def kept(g):
        program = aj.make_program(g)
        names = kept_tensors(program.graph, program.gradient, set())
        return one * sum(program.graph.value(n).shape == ("N", WIDTH) for n in names)

    everything = kept(graph)
    assert kept(recompute(graph, everything, sizes={"N": ROWS})) == everything
    half = recompute(graph, everything // 2, sizes={"N": ROWS})
    assert kept(half) <= everything // 2 and kept(half) >= kept(recompute(graph, "blocks", every=2))
    with pytest.raises(aj.SettingError, match=r"within 10 bytes: the least is \d+"):
        recompute(graph, 10, sizes={"N": ROWS})
    with pytest.raises(aj.SettingError, match=r"sizes=\{'N'"):
        recompute(graph, one)


def test_a_number_of_bytes_for_networks_whose_rules_read_more_than_the_file_names():
    """Layer normalization's mean, batch normalization's statistics of the batch."""
    for made in (aj.zoo.transformer_encoder(8, 4, width=8, heads=2, depth=3), aj.zoo.resnet8(size=8)):
        graph = aj.with_loss(aj.infer_shapes(made), "cross_entropy", reduction="rows")

        def kept(g):
            memory = step_memory(aj.make_program(g, training=True), aj.optim.sgd(), sizes={"N": ROWS})
            return memory.saved_bytes

        budget = int(0.6 * kept(graph))
        assert 0 < kept(recompute(graph, budget, sizes={"N": ROWS})) <= budget


def test_other_policies_are_refused_and_none_forgets():
    with pytest.raises(aj.SettingError, match="none, blocks, products and a number of bytes, got 'all'"):
        recompute(residual_network(), "all")
    graph = recompute(residual_network(), "blocks")
    assert str(aj.make_program(recompute(graph, "none")).gradient) == str(aj.make_program(residual_network()).gradient)


def test_the_choice_survives_a_file(tmp_path):
    graph = recompute(residual_network(), "blocks")
    aj.onnxio.write(graph, graph.params, tmp_path / "m.onnx")
    back = aj.onnxio.read(str(tmp_path / "m.onnx"))
    assert aj.make_program(back).gradient.count()["Barrier"] > 0
