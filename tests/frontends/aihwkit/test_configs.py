"""The configs: the page's fields, order and defaults; how they print; what is equal."""

import inspect
from dataclasses import MISSING, dataclass, field, fields

import numpy as np
import pytest

from aidgejax.analog.config_fields import UnknownField
from aidgejax.frontends.aihwkit import nn
from aidgejax.frontends.aihwkit.exceptions import ConfigError
from aidgejax.frontends.aihwkit.simulator import configs, presets
from aidgejax.frontends.aihwkit.simulator.parameters import pre_post

FACTORY, REQUIRED = object(), object()
PAGE = {
    "InputRangeParameter": [
        ("enable", FACTORY),
        ("learn_input_range", True),
        ("init_value", 3.0),
        ("init_from_data", 100),
        ("init_std_alpha", 3.0),
        ("decay", 0.001),
        ("input_min_percentage", 0.95),
        ("manage_output_clipping", False),
        ("output_min_percentage", 0.95),
        ("gradient_scale", 1.0),
        ("gradient_relative", True),
        ("calibration_info", None),
    ],
    "PeripheryQuantizationParameter": [
        ("n_bits", 0),
        ("symmetric", True),
        ("learn_quant_params", False),
        ("init_learning_after", 100),
    ],
    "PrePostProcessingParameter": [("input_range", FACTORY)],
    "PrePostProcessingParameterQuant": [("input_range", FACTORY), ("periph_quant", FACTORY)],
    "PrePostProcessingRPU": [("tile_class", REQUIRED), ("runtime", FACTORY), ("pre_post", FACTORY)],
}


@pytest.mark.parametrize("name", PAGE)
def test_fields_are_those_of_the_page(name):
    made = getattr(pre_post, name)
    found = [
        (f.name, FACTORY if f.default_factory is not MISSING else REQUIRED if f.default is MISSING else f.default)
        for f in fields(made)
    ]
    assert found == PAGE[name]
    assert list(inspect.signature(made).parameters) == [n for n, _ in PAGE[name]]


def test_prints_what_is_not_default():
    config = configs.TorchInferenceRPUConfig()
    assert "    forward=IOParameters(),\n" in str(config) and "out_noise" not in str(config)
    config.pre_post.input_range.decay = 0.5
    assert "input_range=InputRangeParameter(enable=False, decay=0.5)" in str(config)
    assert "init_value" not in str(config)
    kind = configs.WeightModifierParameter(type=configs.WeightModifierType.DROP_CONNECT)
    assert str(kind) == "WeightModifierParameter(type=WeightModifierType.DROP_CONNECT)"


def test_runtime_is_no_part_of_equality():
    one, other = configs.InferenceRPUConfig(), configs.InferenceRPUConfig()
    other.runtime.offload_input = True
    assert one == other
    other.forward.out_noise = 0.0
    assert one != other


def test_two_configs_share_nothing():
    one, other = presets.StandardHWATrainingPreset(), presets.StandardHWATrainingPreset()
    one.pre_post.input_range.enable = False
    assert other.pre_post.input_range.enable


def test_one_draw_for_each_sample_is_refused_where_the_explicit_tile_would_draw():
    config = configs.InferenceRPUConfig()
    config.modifier.type, config.modifier.per_batch_sample = configs.WeightModifierType.ADD_NORMAL, True
    layer = nn.AnalogLinear(2, 1, rpu_config=config)
    layer.eval()
    layer(np.ones((1, 2), np.float32))  # a preset for evaluation may have it, as in aihwkit
    with pytest.raises(RuntimeError, match="per_batch_sample: the explicit tile draws once"):
        layer.post_update_step()


@pytest.mark.parametrize("kind", [configs.InferenceRPUConfig, configs.TorchInferenceRPUConfig])
@pytest.mark.parametrize("field", ["forward.w_noise", "forward.out_nonlinearity", "modifier.pdrop", "clip.sigma"])
def test_what_should_be_a_number_is_one_whether_it_is_used_or_not(kind, field):
    config = kind()
    part, name = field.split(".")
    setattr(getattr(config, part), name, "much")
    with pytest.raises(ConfigError, match=f"{field} is 'much': expected a finite number"):
        nn.AnalogLinear(2, 1, rpu_config=config)


def test_devices_that_change_by_themselves_are_refused_where_the_original_has_them():
    for kind in (configs.InferenceRPUConfig, configs.FloatingPointRPUConfig, configs.TorchInferenceRPUConfig):
        for name in ("diffusion", "lifetime"):
            config = kind()
            setattr(config.device, name, 100.0)
            if kind is configs.TorchInferenceRPUConfig:
                nn.AnalogLinear(2, 1, rpu_config=config)  # without effect there as well
                continue
            with pytest.raises(ConfigError, match=f"device.{name} is 100.0"):
                nn.AnalogLinear(2, 1, rpu_config=config)


def test_a_config_of_the_tile_with_ir_drop_over_time_fits_the_explicit_tile():
    config = configs.InferenceRPUConfig()
    config.forward, config.modifier.type = configs.IOParametersIRDropT(ir_drop_segments=4), None
    assert config.forward.ir_drop == 1.0
    assert nn.AnalogLinear(2, 1, rpu_config=config)(np.ones((1, 2), np.float32)).shape == (1, 1)


def test_a_misspelt_field_is_not_set_in_silence():
    config = configs.InferenceRPUConfig()
    with pytest.warns(UnknownField, match=r"IOParameters has no field 'inp_ress'.* did you mean inp_res"):
        config.forward.inp_ress = 1 / 30
    with pytest.warns(
        UnknownField, match="InferenceRPUConfig has no field 'note', and nothing reads it: its fields are"
    ):
        config.note = "kept"
    assert config.note == "kept"
    config.note = config._mine = "again, without a word"
    config.pre_post.input_range.output_clipping_share = "output_size"


def test_a_config_that_a_script_derives_holds_what_it_likes():
    @dataclass
    class Mine(configs.TorchInferenceRPUConfig):
        forward: configs.IOParameters = field(default_factory=lambda: configs.IOParameters(out_noise=0.5))
        name: str = "mine"

        def __post_init__(self):
            self.experiment = 7

    config = Mine()
    config.name, config.more, config.forward.out_noise = "other", 1, 0.25
    assert (config.experiment, config.more) == (7, 1)
    with pytest.warns(UnknownField, match="did you mean modifier"):
        config.modifer = None
