"""Any graph becomes analog: trained by train.py, calibrated, exported, digital again."""

import jax
import numpy as np
import onnx.reference
import pytest

import aidgejax
from aidgejax import analog, onnxio
from aidgejax.frontends.aihwkit.simulator import configs
from aidgejax.graph import Graph
from aidgejax.tools import zoo
from aidgejax.training import checkpoint, optim, schedule

from ..golden.aihwkit import config_of, family


def run(graph, x):
    return aidgejax.run(graph, {"x": x})[0]


def config(**fields):
    made = config_of(
        {
            "tile": "quant",
            "config": {
                "forward.out_noise": 0.0,
                "forward.inp_res": 1 / 254,
                "forward.out_res": 1 / 254,
                "forward.noise_management": "NONE",
                "forward.bound_management": "NONE",
                "pre_post.input_range.enable": True,
                "pre_post.input_range.init_from_data": 4,
                "mapping.weight_scaling_omega": 1.0,
                "mapping.weight_scaling_columnwise": True,
                **fields,
            },
        }
    )
    return made


def small_cnn(seed=0):
    rng = np.random.default_rng(seed)
    g = Graph("cnn")
    x = g.input("x", ("N", 2, 6, 6))
    w = lambda name, *shape: g.parameter(name, rng.normal(0, 0.4, shape).astype(np.float32))
    y = g.op.Conv(x, w("c.w", 4, 2, 3, 3), w("c.b", 4), pads=(1, 1, 1, 1), strides=(2, 2), name="conv")
    y = g.op.Conv(g.op.Relu(y), w("d.w", 4, 1, 3, 3), None, group=4, name="depthwise")
    y = g.op.Flatten(g.op.Relu(y))
    y = g.op.MatMul(y, w("m.w", 4, 7), name="mm")
    (out,) = g.add("Gemm", [g.op.Tanh(y), w("fc.w", 7, 3), w("fc.b", 3)], names=["logits"], name="fc")
    g.output(out)
    return g


class Run:
    """A graph in training, by epochs of any length, all from the same forty batches."""

    def __init__(self, graph, lr=0.1):
        program = aidgejax.make_program(aidgejax.with_loss(graph, "cross_entropy"), training=True)
        rule = analog.with_post_update(optim.sgd(), graph)
        self.epoch = aidgejax.make_epoch(aidgejax.make_step(program, rule, schedule.constant(lr)))
        self.fresh = lambda: aidgejax.start(program, rule, jax.random.key(0))
        rng = np.random.default_rng(1)
        label = next(k for k in program.graph.inputs if k != "x")
        self.batches = {"x": rng.normal(size=(40, 8, 2, 6, 6)).astype(np.float32), label: rng.integers(0, 3, (40, 8))}

    def __call__(self, first, last, state=None):
        """(state after batches first to last, history)"""
        return self.epoch(self.fresh() if state is None else state, {k: a[first:last] for k, a in self.batches.items()})


def test_an_ideal_tile_computes_what_the_digital_graph_does():
    graph = small_cnn()
    ideal = config(**{"forward.is_perfect": True, "pre_post.input_range.enable": False})
    x = np.random.default_rng(0).normal(size=(5, 2, 6, 6)).astype(np.float32)
    want = run(graph, x)
    for made in (analog.convert_to_analog(graph, ideal), analog.convert_to_analog(graph, ideal, exclude=["mm", "d.w"])):
        np.testing.assert_allclose(run(made, x), want, rtol=1e-4, atol=1e-5)
    back = analog.to_digital(made)
    assert {n.name for n in back.nodes} == {n.name for n in graph.nodes}
    assert set(back.params) == set(graph.params)
    np.testing.assert_allclose(run(back, x), want, rtol=1e-4, atol=1e-5)


def test_windows_laid_out_or_not():
    graph = small_cnn()
    ideal = config(**{"forward.is_perfect": True, "pre_post.input_range.enable": False})
    made = analog.convert_to_analog(graph, ideal, unfold=True)
    assert made.count()["Unfold"] == 1 + 4  # one for each group of the depthwise convolution
    x = np.random.default_rng(0).normal(size=(5, 2, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(run(made, x), run(graph, x), rtol=1e-4, atol=1e-5)


IDEAL = {"forward.is_perfect": True, "pre_post.input_range.enable": False}


def convolution(axes, group=1, seed=0):
    """One Conv of so many axes, strided, padded unequally, with a bias.  -> (graph, an image)"""
    rng = np.random.default_rng(seed)
    g = Graph("conv")
    sizes = (7, 6, 5)[:axes]
    x = g.input("x", ("N", 4, *sizes))
    w = g.parameter("w", rng.normal(0, 0.4, (6, 4 // group, *(3, 2, 2)[:axes])).astype(np.float32))
    b = g.parameter("b", rng.normal(0, 0.4, 6).astype(np.float32))
    g.output(
        g.op.Conv(
            x, w, b, group=group, strides=(2, 1, 1)[:axes], pads=((1, 1, 0)[:axes] + (1, 0, 1)[:axes]), name="conv"
        )
    )
    return g, rng.normal(size=(3, 4, *sizes)).astype(np.float32)


@pytest.mark.parametrize("axes, group", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)])
def test_convolutions_of_every_rank_become_analog_and_digital_again(axes, group):
    graph, x = convolution(axes, group)
    want = run(graph, x)
    forms = [{}, {"unfold": True}] if group == 1 else [{}]
    for form in forms:
        made = analog.convert_to_analog(graph, config(**IDEAL), **form)
        for backend in ("jax", "numpy"):
            np.testing.assert_allclose(aidgejax.run(made, {"x": x}, backend)[0], want, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(run(analog.to_digital(made), x), want, rtol=1e-5, atol=1e-6)
    fine = analog.convert_to_analog(
        graph,
        config(
            **{
                "pre_post.input_range.init_from_data": 0,
                "pre_post.input_range.init_value": 5.0,
                "forward.inp_res": 2**-12,
                "forward.out_res": 2**-12,
            }
        ),
    )
    np.testing.assert_allclose(run(fine, x), want, atol=0.04)  # a step of the output: 20 * range * scale / 4096
    assert not np.allclose(run(fine, x), want, atol=1e-5)


def one_group(graph, k):
    """The k-th of the two groups of `convolution(2, 2)` as a graph of its own."""
    g = Graph("half")
    x = g.input("x", ("N", 2, 7, 6))
    rows = slice(3 * k, 3 * k + 3)
    held = [g.parameter(n, graph.producers[n].data[rows]) for n in ("w", "b")]
    attrs = {n: v for n, v in graph.nodes[0].attrs.items() if n != "group"}
    g.output(g.op.Conv(x, *held, **attrs, name="conv"))
    return g


def test_groups_under_noise_and_bound_management_are_tiles_of_their_own():
    graph, x = convolution(2, 2)
    coarse = config(
        **{"pre_post.input_range.enable": False, "forward.noise_management": "ABS_MAX", "forward.out_bound": 1.0,
           "forward.bound_management": "ITERATIVE", "forward.inp_res": 0.1, "forward.out_res": 0.05,
           "mapping.max_input_size": 5}
    )  # fmt: skip
    made = analog.convert_to_analog(graph, coarse)
    (layer,) = analog.layers(made)
    assert [p.prefix for p in layer.parts[::3]] == ["conv.group_0.tile_0_0.", "conv.group_1.tile_0_0."]
    halves = [analog.convert_to_analog(one_group(graph, k), coarse) for k in (0, 1)]
    want = np.concatenate([run(h, x[:, 2 * k : 2 * k + 2]) for k, h in enumerate(halves)], axis=1)
    for backend in ("jax", "numpy"):
        np.testing.assert_allclose(aidgejax.run(made, {"x": x}, backend)[0], want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run(analog.to_digital(made), x), run(graph, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axes, size", [(1, 5), (2, 11), (3, 11)])
def test_a_convolution_in_several_tiles(axes, size):
    graph, x = convolution(axes)
    made = analog.convert_to_analog(
        graph, config(**IDEAL, **{"mapping.max_input_size": size, "mapping.max_output_size": 4})
    )
    assert len(analog.layers(made)[0].parts) > 2
    np.testing.assert_allclose(run(made, x), run(graph, x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run(analog.to_digital(made), x), run(graph, x), rtol=1e-5, atol=1e-6)


def test_ranges_and_counters_move_in_a_compiled_epoch_and_resume_is_bit_identical(tmp_path):
    quantized = config(
        **{
            "pre_post.periph_quant.n_bits": 4,
            "pre_post.periph_quant.learn_quant_params": True,
            "pre_post.periph_quant.init_learning_after": 6,
            "forward.out_noise": 0.04,
            "modifier.type": "ADD_NORMAL",
            "modifier.std_dev": 0.05,
            "clip.type": "LAYER_GAUSSIAN",
        }
    )
    graph = analog.convert_to_analog(small_cnn(), quantized, exclude=["conv", "depthwise", "mm"])
    run = Run(graph)
    whole, history = run(0, 20)
    assert np.isfinite(history["loss"]).all()
    assert float(whole.buffers["fc.input_range_update_idx"][0]) == 4
    assert float(whole.buffers["fc.scale_quant_update_idx"][0]) == 7
    assert float(whole.params["fc.input_range"][0]) != 3.0
    part = None
    for first in range(0, 20, 2):
        part, _ = run(first, first + 2, part)
        if first in (0, 6):  # in the init phase, and while quantizers are learned
            checkpoint.save(tmp_path / "run.aidge", part)
            part = checkpoint.load(tmp_path / "run.aidge", like=part)
    for a, b in zip(
        jax.tree.leaves((whole.params, whole.buffers)), jax.tree.leaves((part.params, part.buffers)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_weights_are_clipped_and_mapped_inside_the_step():
    made = analog.convert_to_analog(
        small_cnn(),
        config(**{"clip.type": "FIXED_VALUE", "clip.fixed_value": 0.5, "remap.type": "CHANNELWISE_SYMMETRIC"}),
    )
    state, _ = Run(made)(0, 3)
    w = np.asarray(state.params["fc.weight"])
    np.testing.assert_allclose(np.abs(w).max(axis=1), 1, rtol=1e-6)


def test_exported_to_standard_operators():
    made = analog.convert_to_analog(small_cnn(), config(**{"pre_post.periph_quant.n_bits": 6}))
    state, _ = Run(made)(0, 6)
    trained = made.with_params(state.params, state.buffers)
    model = onnxio.to_model(trained)
    assert {n.domain for n in model.graph.node} <= {""}
    x = np.random.default_rng(0).normal(size=(5, 2, 6, 6)).astype(np.float32)
    got = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})[0]
    np.testing.assert_allclose(got, run(trained, x), rtol=2e-2, atol=2e-2)
    assert analog.to_digital(made, state.params, state.buffers).count()["Conv"] == 2
    assert len(analog.input_ranges(made, state.params, state.buffers)) == 4


def test_mistakes_are_named():
    with pytest.raises(aidgejax.GraphError, match="no node or weight 'nope'"):
        analog.convert_to_analog(small_cnn(), config(), exclude=["nope"])
    bad = config(**{"pre_post.periph_quant.n_bits": 1})
    with pytest.raises(analog.ConfigError, match="n_bits is 1 and symmetric"):
        analog.convert_to_analog(small_cnn(), bad)


def test_a_zoo_network_by_ranges_of_its_own():
    made = analog.convert_to_analog(zoo.mlp((8, 6, 3)), config(), specific={"fc1": configs.TorchInferenceRPUConfig()})
    assert list(analog.input_ranges(made)) == ["fc2"]


@pytest.mark.parametrize("case", [pytest.param(c, id=c["name"]) for c in family("calibration")])
def test_calibration(case):
    i, e = case["inputs"], case["expected"]
    rpu = config_of(case)
    enabled = rpu.pre_post.input_range.enable
    if not enabled:
        rpu.pre_post.input_range.enable, rpu.pre_post.input_range.learn_input_range = True, False
    rpu.pre_post.input_range.init_from_data = 0
    g = Graph("mlp")
    y = g.input("x", ("N", i["x"].shape[-1]))
    for k in ("init.0", "init.2"):
        y = y if k == "init.0" else g.op.Tanh(y)
        w, b = g.parameter(f"{k}.w", i[f"{k}.weight"]), g.parameter(f"{k}.b", i[f"{k}.bias"])
        y = g.op.Gemm(y, w, b, transB=1, name=k)
    g.output(y)
    made = analog.convert_to_analog(g, rpu)
    params, buffers = analog.calibrate(made, [{"x": x} for x in i["x"]], i["type"], quantile=i["quantile"])
    found = analog.input_ranges(made, params, buffers)
    for k, name in enumerate(("init.0", "init.2")):
        np.testing.assert_allclose(found[name], e[f"ir_{k}"][0], rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(buffers[f"{name}.input_range_update_idx"], e[f"idx_{k}"])
    y = run(made.with_params(params, buffers), i["x"][0])
    np.testing.assert_allclose(y, e["y_eval_after"], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("kind", ["MAX", "CACHE_QUANTILE"])
def test_a_second_tile_is_calibrated_beyond_the_bounds_of_the_first(kind):
    """Ranges that data has still to set and converters of the first tile do not cut what the second one sees."""
    g, eye = Graph("two"), np.eye(4, dtype=np.float32)
    h = g.op.Gemm(g.input("x", ("N", 4)), g.parameter("w1", eye), transB=1, name="fc1")
    g.output(g.op.Gemm(h, g.parameter("w2", eye.copy()), transB=1, name="fc2"))
    rpu = config(
        **{
            "pre_post.input_range.enable": True,
            "mapping.weight_scaling_omega": 1.0,
            "forward.noise_management": configs.NoiseManagementType.NONE,
            "forward.bound_management": configs.BoundManagementType.NONE,
            "forward.inp_asymmetry": 0.1,
            "forward.out_scale": 2.0,
        }
    )
    x = np.full((2, 4), -50.0, np.float32) if kind == "MAX" else np.full((2, 4), 50.0, np.float32)
    made = analog.convert_to_analog(g, rpu)
    found = analog.input_ranges(made, *analog.calibrate(made, [{"x": x}], kind))
    assert found == pytest.approx({"fc1": 50.0, "fc2": 50.0})
    if kind == "MAX":  # its tiles draw noise, for which no key has to be given here
        assert analog.describe(made, {"x": x}).count("%") >= 2


@pytest.mark.parametrize("kind", ["quant", "explicit"])
def test_an_analog_graph_survives_a_file(kind, tmp_path):
    """Layers, ranges, the way back and what follows a step are those of the graph that was written."""
    rpu = config() if kind == "quant" else configs.InferenceRPUConfig()
    rpu.pre_post.input_range.enable, rpu.forward.is_perfect = True, True
    rpu.clip.type, rpu.clip.fixed_value = configs.WeightClipType.FIXED_VALUE, 0.2
    rpu.remap.type = configs.WeightRemapType.CHANNELWISE_SYMMETRIC
    made = analog.convert_to_analog(small_cnn(), rpu, exclude=["depthwise"])
    onnxio.write(made, None, tmp_path / "analog.onnx")
    back = onnxio.read(tmp_path / "analog.onnx")
    assert [(a.prefix, a.shape, a.settings) for a in analog.layers(back)] == [
        (a.prefix, a.shape, a.settings) for a in analog.layers(made)
    ]
    assert [a.settings.noise_model for a in analog.layers(back)] == [rpu.noise_model] * 3
    assert analog.input_ranges(back) == analog.input_ranges(made)
    assert analog.describe(back) == analog.describe(made)
    x = np.random.default_rng(0).normal(size=(2, 2, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(run(back, x), run(made, x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run(analog.to_digital(back), x), run(small_cnn(), x), rtol=1e-4, atol=1e-5)
    digital = [{n.name: n for n in analog.to_digital(g).nodes if n.name in ("conv", "mm", "fc")} for g in (made, back)]
    assert digital[0] == digital[1] and len(digital[0]) == 3
    stepped = [analog.with_post_update(optim.sgd(), g).post_update(g.params, g.buffers) for g in (made, back)]
    for (w, s), (v, t) in [stepped]:
        np.testing.assert_array_equal(w["fc.weight"], v["fc.weight"])
        np.testing.assert_array_equal(s["fc.mapping_scales"], t["fc.mapping_scales"])


def test_a_file_with_other_metadata_is_refused():
    g = small_cnn()
    g.metadata["aidgejax.analog"] = '[{"node": 3}]'
    with pytest.raises(aidgejax.GraphError, match="not what aidgejax writes"):
        analog.layers(g)
