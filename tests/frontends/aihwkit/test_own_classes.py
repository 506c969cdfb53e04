"""Classes that a script derives: noise models, drift compensations and tiles; weights of containers; wrong kinds.

Written in arithmetic that arrays and tensors share, so that the same holds with torch and without.
"""

import collections
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from aidgejax.frontends.aihwkit import inference
from aidgejax.frontends.aihwkit.exceptions import (
    AihwkitException,
    ArgumentError,
    ArgumentTypeError,
    ConfigError,
    ModuleError,
)
from aidgejax.frontends.aihwkit.inference.calibration import InputRangeCalibrationType, calibrate_input_ranges
from aidgejax.frontends.aihwkit.inference.compensation.drift import (
    GlobalDriftCompensation,
    PerColumnDriftCompensation,
)
from aidgejax.frontends.aihwkit.nn import AnalogLinear, AnalogLinearMapped, AnalogSequential, AnalogWrapper
from aidgejax.frontends.aihwkit.optim import AnalogOptimizer
from aidgejax.frontends.aihwkit.simulator import configs
from aidgejax.frontends.aihwkit.simulator.tiles import InferenceTile, TorchInferenceTile
from aidgejax.frontends.aihwkit.simulator.tiles.inference import InferenceTileWithPeriphery
from aidgejax.frontends.aihwkit.utils.analog_info import analog_summary

W = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
B = np.zeros(3, np.float32)
MAX = InputRangeCalibrationType.MAX


def numbers(x):
    return np.asarray(x.detach() if hasattr(x, "detach") else x)


def programmed(noise_model, compensation, t=1.0):
    config = configs.InferenceRPUConfig()
    config.forward.is_perfect = True
    config.noise_model, config.drift_compensation = noise_model, compensation
    layer = AnalogLinear(4, 3, rpu_config=config)
    layer.set_weights(W, B)
    layer.eval().program_analog_weights()
    (tile,) = layer.analog_tiles()
    held = numbers(tile.programmed_weights)
    layer.drift_analog_weights(t)
    return tile, held, numbers(layer(np.eye(4, dtype=np.float32))).T


def still():
    return inference.PCMLikeNoiseModel(prog_noise_scale=0, read_noise_scale=0, drift_scale=0)


class OwnBaseline(GlobalDriftCompensation):
    def init_baseline(self, tile):
        return 2 * self.readout(tile._forward_drift_readout_tensor(True))


class OfPairs(inference.BaseDriftCompensation):
    """A baseline of two parts, read by its own products."""

    def get_readout_tensor(self, in_size):
        return np.full((2, in_size), 0.5, np.float32)

    def readout(self, out_tensor):
        return abs(out_tensor).sum()

    def init_baseline(self, tile):
        seen = tile.tile.forward(self.get_readout_tensor(4))
        exact = tile._forward_drift_readout_tensor(exact_reference=True)
        return self.readout(seen), self.readout(exact)

    def apply(self, forward_output, ref_value):
        return (ref_value[0] + ref_value[1]) / self.readout(forward_output)


class OfWeights(inference.PCMLikeNoiseModel):
    """Programming and drift of weights, not of conductances."""

    def apply_programming_noise(self, weights):
        return 0.5 * weights, [0 * weights + 0.25]

    def apply_drift_noise(self, weights, drift_noise_parameters, t_inference):
        return weights - drift_noise_parameters[0] * t_inference


class Around(inference.PCMLikeNoiseModel):
    """Calls what it overrides."""

    def apply_programming_noise(self, weights):
        noisy, nus = super().apply_programming_noise(weights)
        return 3 * noisy, nus


@pytest.mark.parametrize(
    ("compensation", "factor"), [(OwnBaseline(), 2.0), (OfPairs(), 2.0), (PerColumnDriftCompensation(), 1.0)]
)
def test_a_scripts_own_baseline_is_what_drift_is_compared_with(compensation, factor):
    tile, _, seen = programmed(still(), compensation)
    np.testing.assert_allclose(numbers(tile.alpha).ravel(), factor, rtol=1e-5)
    np.testing.assert_allclose(seen, factor * W, rtol=1e-4)


def test_a_scripts_own_noise_of_weights_holds_on_tiles():
    _, held, seen = programmed(OfWeights(), None, t=2.0)
    np.testing.assert_allclose(held, 0.5 * W, rtol=1e-6)
    np.testing.assert_allclose(seen, 0.5 * W - 0.5, rtol=1e-5, atol=1e-6)
    model = Around(prog_noise_scale=0, read_noise_scale=0, drift_scale=0)
    np.testing.assert_allclose(programmed(model, None)[1], 3 * W, rtol=1e-5)
    np.testing.assert_allclose(model.apply_programming_noise(W)[0], 3 * W, rtol=1e-5)


def test_a_noise_model_that_is_handed_over_is_the_configs_from_then_on():
    tile, _, _ = programmed(still(), None)
    other = Around(prog_noise_scale=0, read_noise_scale=0, drift_scale=0)
    tile.layer.program_analog_weights(noise_model=other)
    assert isinstance(tile.rpu_config.noise_model, Around)
    tile.program_weights()
    np.testing.assert_allclose(numbers(tile.programmed_weights), 3 * W, rtol=1e-5)


class Twice(TorchInferenceTile):
    def forward(self, x_input, tensor_view=None):
        return 2 * super().forward(x_input)


@dataclass(repr=False)
class OfTwice(configs.TorchInferenceRPUConfig):
    tile_class: ClassVar[type] = Twice


@dataclass(repr=False)
class OwnMatrix(configs.TorchInferenceRPUConfig):
    simulator_tile_class: ClassVar[type] = type("Own", (), {})


def test_tiles_of_a_scripts_own_are_refused_by_name():
    for config, name in ((OfTwice(), "OfTwice.tile_class is Twice"), (OwnMatrix(), "simulator_tile_class is Own")):
        with pytest.raises(ConfigError, match=name):
            AnalogLinear(4, 3, rpu_config=config)
    with pytest.raises(ConfigError, match="AnalogLinearMapped: tile_module_class is Twice"):
        AnalogLinearMapped(4, 3, rpu_config=configs.TorchInferenceRPUConfig(), tile_module_class=Twice)


def test_a_config_makes_its_tile():
    for config in (configs.InferenceRPUConfig(), configs.TorchInferenceRPUConfig()):
        tile = config.tile_class(3, 4, config, bias=True)
        assert isinstance(tile, config.tile_class) and isinstance(tile, InferenceTile | TorchInferenceTile)
        assert isinstance(tile, InferenceTileWithPeriphery)
        tile.set_weights(W, B)
        np.testing.assert_allclose(numbers(tile.get_weights()[0]), W, rtol=1e-6)
        assert isinstance(config.create_tile(3, 4), config.tile_class)
    config.clip.type, config.clip.fixed_value = configs.WeightClipType.FIXED_VALUE, 0.3
    tile = config.create_tile(3, 4)
    tile.set_weights(W)
    tile.post_update_step()
    assert np.abs(numbers(tile.get_weights()[0])).max() == np.float32(0.3)


def model_of(seed):
    config = configs.TorchInferenceRPUConfig()
    config.mapping.max_input_size = 3
    layers = [("first", AnalogLinear(4, 3, rpu_config=config, seed=seed)), ("last", AnalogLinear(3, 2, seed=seed))]
    return AnalogSequential(collections.OrderedDict(layers))


def test_weights_of_all_tiles_by_name():
    a, b = model_of(0), model_of(1)
    held = a.get_weights()
    assert list(held) == [name for name, _ in a.named_analog_tiles()] and len(held) == 3
    b.set_weights(held)
    for name, (weight, bias) in b.get_weights().items():
        np.testing.assert_allclose(numbers(weight), numbers(held[name][0]), rtol=1e-6)
        assert (bias is None) == (held[name][1] is None)
    before = b.get_weights()
    wrong = {**model_of(2).get_weights(), "last.analog_module": (np.ones((5, 5)), None)}
    for given in (wrong, {"last.analog_module": held["last.analog_module"]}, np.ones((2, 3))):
        with pytest.raises(AihwkitException):
            b.set_weights(given)
    for name, (weight, _) in b.get_weights().items():
        np.testing.assert_allclose(numbers(weight), numbers(before[name][0]), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: AnalogWrapper(3), TypeError, "AnalogWrapper got a int: expected a torch module"),
        (lambda: AnalogSequential(3), TypeError, "AnalogSequential got int"),
        (lambda: AnalogLinear.from_digital(3, None), AttributeError, "got a int: expected a module with in_features"),
        (lambda: inference.PCMLikeNoiseModel(g_max="a"), TypeError, "g_max='a': expected a number of uS"),
        (lambda: inference.PCMLikeNoiseModel(g_converter="x"), AttributeError, "g_converter is 'x'"),
        (lambda: still().apply_programming_noise("x"), TypeError, "got a str: expected an array"),
        (lambda: analog_summary(3, (1, 2)), ArgumentError, "analog_summary got a int"),
        (lambda: analog_summary(model_of(0)), TypeError, "input_size=None: expected a shape"),
        (lambda: AnalogOptimizer("SGD", []), ArgumentTypeError, "got 'SGD': expected the class of an optimizer"),
        (lambda: calibrate_input_ranges(model_of(0), MAX, 3), TypeError, "is a int: expected batches"),
        (lambda: model_of(0).set_weights(W), ModuleError, "got a ndarray: expected what get_weights gives"),
    ],
)  # fmt: skip
def test_wrong_kinds_of_things_are_named(call, kind, message):
    with pytest.raises(AihwkitException, match=message) as e:
        call()
    assert isinstance(e.value, kind)


def test_a_tile_in_evaluation_is_in_evaluation():
    config = configs.InferenceRPUConfig()
    config.forward.is_perfect, config.drift_compensation = True, None
    config.modifier.type, config.modifier.std_dev = configs.WeightModifierType.ADD_NORMAL, 1.0
    tile = config.tile_class(3, 4, config)
    tile.set_weights(W)
    tile.post_update_step()
    x = np.eye(4, dtype=np.float32)
    assert np.abs(numbers(tile(x)).T - W).max() > 1e-3
    np.testing.assert_allclose(numbers(tile.eval()(x)).T, W, rtol=1e-6)


def test_an_analog_bias_is_refused_where_there_is_a_bias():
    config = configs.TorchInferenceRPUConfig()
    config.mapping.digital_bias = False
    assert AnalogLinear(4, 3, bias=False, rpu_config=config)(np.ones((1, 4), np.float32)).shape == (1, 3)
    with pytest.raises(ConfigError, match="Analog bias"):
        AnalogLinear(4, 3, rpu_config=config)
    ideal = configs.FloatingPointRPUConfig()
    ideal.mapping.digital_bias = False
    assert AnalogLinear(4, 3, rpu_config=ideal).get_weights()[1].shape == (3,)


def test_a_config_prints_its_parts():
    config = configs.InferenceRPUConfig()
    config.forward.out_res = -1.0
    config.drift_compensation = None
    lines = str(config).splitlines()
    assert "    forward=IOParameters(out_res=-1.0)," in lines and "    mapping=MappingParameter()," in lines
    assert any(line.startswith("    noise_model=PCMLikeNoiseModel(g_converter=") for line in lines)
    assert "    remap=WeightRemapParameter(type=WeightRemapType.NONE)," in lines
    assert "    drift_compensation=None," in lines
