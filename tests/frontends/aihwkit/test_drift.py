"""Programming, drift and compensation of layers against aihwkit's numbers; input ranges set from data."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aidgejax import analog
from aidgejax.errors import SettingError
from aidgejax.execution.program import make_program
from aidgejax.frontends.aihwkit import inference
from aidgejax.frontends.aihwkit.exceptions import ArgumentError, ConfigError, ModuleError
from aidgejax.frontends.aihwkit.inference.calibration import InputRangeCalibrationType, calibrate_input_ranges
from aidgejax.frontends.aihwkit.inference.compensation import drift
from aidgejax.frontends.aihwkit.nn import AnalogConv2d, AnalogLinear, AnalogLinearMapped, AnalogSequential, Tanh
from aidgejax.frontends.aihwkit.optim import AnalogSGD
from aidgejax.frontends.aihwkit.simulator import configs
from aidgejax.frontends.aihwkit.simulator.presets import StandardHWATrainingPreset
from aidgejax.graph import Graph

from ...golden.aihwkit import config_of, sampled

COMPENSATIONS = {
    "Global": drift.GlobalDriftCompensation,
    "PerColumn": drift.PerColumnDriftCompensation,
    "ExactReference": drift.GlobalDriftCompensationWithExactReference,
}


def config_from(case):
    c = case["config"]
    config = config_of({**case, "config": {k: v for k, v in c.items() if "." in k}})
    kind, arguments = c["noise_model"]
    config.noise_model = getattr(inference, kind)(**arguments)
    named = c["drift_compensation"]
    config.drift_compensation = COMPENSATIONS[named]() if named in COMPENSATIONS else None
    return config


def model_of(case):
    i, kind, config = case["inputs"], case["config"]["layer"], config_from(case)
    if kind == "mlp":
        first, last = (AnalogLinear(*i[w].shape[::-1], rpu_config=config) for w in ("w", "w2"))
        first.set_weights(i["w"], i["b"])
        last.set_weights(i["w2"], i["b2"])
        return AnalogSequential(first, Tanh(), last)
    out, inputs, *kernel = i["w"].shape
    if kernel:
        layer = AnalogConv2d(inputs, out, tuple(kernel), padding=1, bias="b" in i, rpu_config=config)
    else:
        made = AnalogLinearMapped if kind == "mapped" else AnalogLinear
        layer = made(inputs, out, bias="b" in i, rpu_config=config)
    layer.set_weights(i["w"], i.get("b"))
    if "out_scaling_alpha" in i:
        layer.params["out_scaling_alpha"] = i["out_scaling_alpha"]
    return layer


@pytest.mark.parametrize("case", sampled("drift_compensation", 6) + sampled("drift_compensation_explicit", 6))
def test_compensated_drift(case):
    i, e = case["inputs"], case["expected"]
    model = model_of(case).eval()
    close = lambda got, want, t: np.testing.assert_allclose(got, want, rtol=t, atol=t)
    close(model(i["x"]), e["y_before"], 2e-4)
    tiles = list(model.analog_tiles())
    for k in range(1 + len(i["times"])):
        if k:
            model.drift_analog_weights(i["times"][k - 1])
        else:
            model.program_analog_weights()
        for n, tile in enumerate(tiles):
            want = e[f"tile{n}_w"][k]
            close(np.reshape(np.asarray(tile.tile.get_weights()), want.shape), want, 2e-5)
            if "alpha" in tile.names:
                close(np.ravel(tile.numbers("alpha")) * np.ones(np.size(e[f"tile{n}_alpha"][k])),
                      np.ravel(e[f"tile{n}_alpha"][k]), 2e-4)  # fmt: skip
        got, want = np.asarray(model(i["x"])), e["y_eval"][k]
        apart = np.abs(got - want) > 2e-4 * (1 + np.abs(want))
        assert np.mean(apart) < (0.2 if "io8" in case["name"] else 1e-9)  # elements on a tie of the converters
    close(model.train()(i["x"]), e["y_train"], 2e-2 if "io8" in case["name"] else 2e-4)


@pytest.mark.parametrize("case", sampled("drift_sequences", 4) + sampled("drift_sequences_explicit", 4))
def test_sequences_of_calls(case):
    i, e = case["inputs"], case["expected"]
    layer = AnalogLinear(4, 3, rpu_config=config_from(case))
    layer.set_weights(i["w"], i["b"])
    for k, call in enumerate(case["config"]["calls"]):
        name, *rest = call.split()
        layer.eval()
        if name == "program":
            layer.program_analog_weights()
        elif name == "drift":
            layer.drift_analog_weights(float(rest[0]))
        elif name == "set_weights":
            layer.set_weights(i["w2"], i["b"])
        else:
            optimizer = AnalogSGD(layer.train().parameters(), lr=case["config"]["lr"])
            layer(i["x"])
            layer.backward(i["g"])
            optimizer.step()
            layer.eval()
        np.testing.assert_allclose(layer.get_weights()[0], e[f"w{k}"], rtol=1e-4, atol=1e-4, err_msg=f"{k} {call}")
        np.testing.assert_allclose(layer(i["x"]), e[f"y{k}"], rtol=1e-4, atol=1e-4, err_msg=f"{k} {call}")


def ideal(kind=configs.TorchInferenceRPUConfig):
    config = kind()
    config.forward.is_perfect = True
    return config


def test_drift_does_not_undo_training():
    layer = AnalogLinear(4, 3, rpu_config=ideal())
    layer.eval().program_analog_weights()
    new = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    layer.set_weights(new)
    layer.drift_analog_weights(1.0)
    assert np.abs(np.asarray(layer.get_weights()[0]) - new).max() < 0.2


def test_what_cannot_be_programmed_is_named():
    layer = AnalogLinear(4, 3, rpu_config=ideal())
    for call in (layer.program_analog_weights, layer.drift_analog_weights):
        with pytest.raises(ModuleError, match="eval"):
            call()
    with pytest.raises(ConfigError, match="noise_model"):
        layer.eval().program_analog_weights(noise_model=3)
    for time in ("soon", float("nan")):
        with pytest.raises(ConfigError, match="t_inference"):
            layer.drift_analog_weights(time)
    config = ideal()
    config.noise_model = "anything"
    with pytest.raises(ConfigError, match="noise_model"):
        AnalogLinear(4, 3, rpu_config=config)


def test_accuracy_over_time_is_one_call_over_devices_and_times():
    rng = np.random.default_rng(0)
    g = Graph("mlp")
    x = g.input("x", ("N", 6))
    g.output(g.op.Gemm(x, g.parameter("a", rng.normal(size=(8, 6)).astype("f")), transB=1, name="fc1"))
    config = ideal(configs.InferenceRPUConfig)
    made = analog.convert_to_analog(g, config)
    program = make_program(made, wrt=[], seeds=[], training=False)
    batch = {"x": rng.normal(size=(20, 6)).astype("f")}
    traced = []

    def error(params, buffers, key):
        traced.append(1)
        y = program.forward(params, buffers, batch, key, save=False)[0][made.outputs[0]]
        clean = program.forward(made.params, made.buffers, batch, key, save=False)[0][made.outputs[0]]
        return jnp.mean((y - clean) ** 2)

    rows = analog.over_time(made, error, [1.0, 3600.0, 3.2e7], seeds=6)
    assert len(traced) == 1 and [r["t"] for r in rows] == [1.0, 3600.0, 3.2e7]
    assert 0 < rows[0]["mean"] < rows[2]["mean"] and rows[0]["low"] < rows[0]["high"]
    device = analog.program_analog_weights(made, key=jax.random.key(0))
    params, buffers = analog.drift_analog_weights(made, device, 3600.0, key=jax.random.key(1))
    assert float(buffers["fc1.alpha"][0]) > 1 and not np.array_equal(params["fc1.weight"], made.params["fc1.weight"])


SWEEP = {"mlp": [{"t": t, "mean": m, "low": m / 2, "high": 2 * m} for t, m in [(1.0, 0.1), (3600.0, 0.3)]]}


def test_accuracy_over_time_as_a_picture(tmp_path):
    pytest.importorskip("matplotlib")
    analog.picture(SWEEP, str(tmp_path / "drift.png"), "error")
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_without_matplotlib_names_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SettingError, match="pip install"):
        analog.picture(SWEEP, str(tmp_path / "drift.png"), "error")


@pytest.mark.parametrize("kind", ["MAX", "CACHE_QUANTILE", "MOVING_STD"])
def test_input_ranges_of_layers_are_those_of_the_graph(kind):
    config = configs.TorchInferenceRPUConfig()
    config.forward.out_noise = 0.0
    config.forward.noise_management = configs.NoiseManagementType.NONE
    config.forward.bound_management = configs.BoundManagementType.NONE
    config.pre_post.input_range.enable, config.pre_post.input_range.init_from_data = True, 0
    config.mapping.max_input_size = 4
    layers = [AnalogLinear(4, 4, rpu_config=config), AnalogLinear(4, 2, rpu_config=config, seed=2)]
    g = Graph("mlp")
    y = g.input("x", ("N", 4))
    for k, layer in enumerate(layers):
        w, b = layer.get_weights()
        y = g.op.Gemm(y, g.parameter(f"w{k}", w), g.parameter(f"b{k}", b), transB=1, name=f"fc{k}")
        y = y if k else g.op.Tanh(y)
    g.output(y)
    data = [np.random.default_rng(k).normal(size=(16, 4)).astype(np.float32) for k in range(3)]
    made = analog.convert_to_analog(g, config)
    want = analog.input_ranges(made, *analog.calibrate(made, [{"x": x} for x in data], kind))
    model = AnalogSequential(layers[0], Tanh(), layers[1])
    calibrate_input_ranges(model, InputRangeCalibrationType[kind], data)
    found = [float(layer.input_range[0]) for layer in layers]
    np.testing.assert_allclose(found, list(want.values()), rtol=1e-4)
    assert model.training
    if kind == "MAX":
        calibrate_input_ranges(model, InputRangeCalibrationType[kind], [(x,) for x in data])  # as a DataLoader gives it
        np.testing.assert_allclose([float(layer.input_range[0]) for layer in layers], found, rtol=1e-6)
        with pytest.raises(ArgumentError, match="a tuple of 2: expected the input alone"):
            calibrate_input_ranges(model, InputRangeCalibrationType[kind], [(x, x) for x in data])


def test_the_standard_preset_trains_with_read_noise_and_ir_drop():
    """Wires take more from outputs that draw more current, and read noise is of the size of its formula."""
    config = StandardHWATrainingPreset()
    layer = AnalogLinear(4, 3, bias=False, rpu_config=config)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    assert np.isfinite(np.asarray(layer.backward(np.asarray(layer(x))))).all()
    n = 4000
    quiet, noisy, dropped = (configs.InferenceRPUConfig() for _ in range(3))
    for c in (quiet, noisy, dropped):
        c.forward.inp_res = c.forward.out_res = -1.0
        c.forward.out_noise, c.forward.noise_management = 0.0, configs.NoiseManagementType.NONE
        c.forward.bound_management = configs.BoundManagementType.NONE
    noisy.forward.w_noise, noisy.forward.w_noise_type = 0.0175, configs.WeightNoiseType.PCM_READ
    dropped.forward.ir_drop, dropped.forward.ir_drop_g_ratio = 1.0, 100.0
    w = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    x = np.broadcast_to(np.float32([0.5, -0.2, 0.9, 1.0]), (n, 4))
    found = []
    for c in (quiet, noisy, dropped):
        layer = AnalogLinear(4, 3, bias=False, rpu_config=c).eval()
        layer.set_weights(w)
        found.append(np.asarray(layer(x), np.float64))
    np.testing.assert_allclose(found[1].std(0), 0.0175 * np.sqrt(np.abs(w) @ x[0] ** 2), rtol=0.1)
    a = np.abs(w) @ np.abs(x[0]) * 4 / 100
    taken = (0.05 * a**3 - 0.2 * a**2 + 0.5 * a) * (w @ (x[0] * (1 - (1 - np.arange(4) / 4) ** 2)))
    np.testing.assert_allclose(found[2][0], w @ x[0] - taken, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind, error", [("program_analog_weights", TypeError), ("drift_analog_weights", None)])
def test_a_tile_without_a_noise_model(kind, error):
    layer = AnalogLinear(4, 3, rpu_config=configs.FloatingPointRPUConfig()).eval()
    if error is None:
        getattr(layer, kind)()
    else:
        with pytest.raises(error, match="noise_model"):
            getattr(layer, kind)()


class Halved(inference.BaseNoiseModel):
    """A script's own model, in the names of the original."""

    def apply_programming_noise_to_conductance(self, g_target):
        return 0.5 * g_target


def test_a_model_of_a_scripts_own_is_not_ignored():
    w = np.array([[1.0, -2.0], [0.5, 0.0]], np.float32)
    programmed, nus = Halved().apply_programming_noise(w)
    np.testing.assert_allclose(programmed, w / 2, rtol=1e-6)
    np.testing.assert_allclose(Halved().apply_drift_noise(programmed, nus, 100.0), w / 2, rtol=1e-6)
    np.testing.assert_allclose(Halved().apply_noise(w, 100.0), w / 2, rtol=1e-6)


@pytest.mark.parametrize(
    "kind",
    [drift.GlobalDriftCompensation, drift.PerColumnDriftCompensation, "GlobalDriftCompensationWithExactReference"],
)
def test_a_compensation_reads_a_tile_and_says_the_factor(kind):
    kind = getattr(drift, kind) if isinstance(kind, str) else kind
    config = configs.InferenceRPUConfig()
    config.forward.is_perfect, config.drift_compensation = True, kind()
    layer = AnalogLinear(4, 3, bias=False, rpu_config=config).eval()
    tile, compensation = next(iter(layer.analog_tiles())), kind()
    before = np.abs(np.asarray(tile.get_weights()[0]))
    baseline = compensation.init_baseline(tile)
    read = before.mean(axis=1) if compensation.by_output else [before.mean()]
    np.testing.assert_allclose(baseline, read, rtol=1e-6)
    layer.program_analog_weights()
    layer.drift_analog_weights(1e6)
    # A tile that was programmed is compared with its reference, where the compensation is exact.
    now = before if compensation.exact else np.abs(np.asarray(tile.get_weights()[0]))
    np.testing.assert_allclose(
        compensation.init_baseline(tile), now.mean(axis=1) if compensation.by_output else [now.mean()], rtol=1e-6
    )
    weaker = np.float32(0.5) * np.eye(4, dtype=np.float32) @ np.asarray(before).T
    np.testing.assert_allclose(compensation.apply(weaker, baseline), np.full_like(baseline, 2.0), rtol=1e-6)
