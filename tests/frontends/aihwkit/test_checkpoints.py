"""Checkpoints that aihwkit wrote, and what drift leaves in a model's state: needs torch (run with -m peer)."""

import enum

import pytest

from aidgejax.frontends.aihwkit.exceptions import ConfigError, TileModuleError
from aidgejax.frontends.aihwkit.inference import PCMLikeNoiseModel
from aidgejax.frontends.aihwkit.inference.compensation.drift import PerColumnDriftCompensation
from aidgejax.frontends.aihwkit.nn import AnalogConv2d, AnalogLinear, AnalogSequential
from aidgejax.frontends.aihwkit.nn.conversion import convert_to_analog, convert_to_digital
from aidgejax.frontends.aihwkit.optim.context import AnalogContext
from aidgejax.frontends.aihwkit.simulator.configs import InferenceRPUConfig, TorchInferenceRPUConfig

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]
torch = pytest.importorskip("torch")


def realistic():
    config = InferenceRPUConfig()
    config.pre_post.input_range.enable = True
    config.mapping.weight_scaling_omega = 1.0
    config.forward.out_noise = 0.0
    return config


def mlp(config, seed=0):
    torch.manual_seed(seed)
    return AnalogSequential(
        AnalogLinear(6, 5, rpu_config=config), torch.nn.Tanh(), AnalogLinear(5, 3, rpu_config=config)
    )


def test_a_factor_for_each_output_drifts_and_what_a_script_kept_stays():
    config = realistic()
    config.drift_compensation = PerColumnDriftCompensation()
    model = mlp(config).eval()
    kept = []
    for t in (60.0, 3600.0):
        model.drift_analog_weights(t)
        kept.append(model[0].analog_module.alpha)
    assert kept[0].shape == (5,) and not torch.equal(kept[0], kept[1])


class Theirs:
    """Objects of another library, with the class names and fields of a config's."""

    @classmethod
    def of(cls, value):
        if isinstance(value, list | tuple):
            return type(value)(map(cls.of, value))
        if not hasattr(value, "__dict__") or isinstance(value, type | enum.Enum):
            return value
        made = type(type(value).__name__, (), {})()
        vars(made).update({k: cls.of(v) for k, v in vars(value).items()}, scale_ratio=None)
        return made


def test_a_checkpoint_that_aihwkit_wrote_loads_with_its_config():
    """It holds aihwkit's config as an object; in release 1.1.0 the handle of gradients is a single number."""
    config = realistic()
    config.drift_compensation = None
    config.noise_model = PCMLikeNoiseModel(g_max=30.0, prog_noise_scale=0.5)
    model, other = mlp(config), mlp(realistic(), seed=5)
    state = model.state_dict()
    assert state["0.analog_module.alpha"].shape == (1,)
    for key in [k for k in state if k.endswith("analog_module.analog_tile_state")]:
        state[key] = {"rpu_config": Theirs.of(config), "aihwkit_version": "1.1.0"}
        state[key.replace("analog_tile_state", "analog_ctx")] = torch.tensor(0.0)
    other.load_state_dict(state)
    assert other[0].rpu_config == config and other[0].rpu_config.noise_model == config.noise_model
    x = torch.randn(4, 6)
    assert torch.equal(model.eval()(x), other.eval()(x))
    state["0.analog_module.analog_tile_state"]["rpu_config"].noise_model = Theirs.of(torch.nn.Tanh())
    with pytest.raises(TileModuleError, match="a Tanh is not known here.*load_rpu_config=False"):
        other.load_state_dict(state)
    other.load_state_dict(state, load_rpu_config=False)


def test_weights_pass_from_one_kind_of_tile_to_the_other_and_configs_stay():
    own, other = (AnalogLinear(4, 3, rpu_config=c()) for c in (InferenceRPUConfig, TorchInferenceRPUConfig))
    for a, b in ((own, other), (other, own)):
        a.set_weights(torch.rand(3, 4))
        kind = type(b.rpu_config)
        b.load_state_dict(a.state_dict(), load_rpu_config=False)
        assert type(b.rpu_config) is kind
        torch.testing.assert_close(b.get_weights(), a.get_weights())


@pytest.mark.parametrize("wrong", ["state", None, 3, {"device": {}}])
def test_a_tiles_state_of_another_kind_loads_nothing(wrong):
    model, other = mlp(realistic()), mlp(realistic(), seed=5)
    before = model[0].get_weights()[0]
    with pytest.raises(TileModuleError, match="Nothing was loaded"):
        model.load_state_dict(other.state_dict() | {"2.analog_module.analog_tile_state": wrong})
    assert torch.equal(model[0].get_weights()[0], before)


def test_a_context_is_of_the_class_that_scripts_ask_for():
    for config in (InferenceRPUConfig(), TorchInferenceRPUConfig()):
        contexts = [p for p in mlp(config).parameters() if isinstance(p, AnalogContext)]
        assert [c.analog_tile.get_weights()[0].shape for c in contexts] == [(5, 6), (3, 5)]


def test_a_kernels_weights_are_a_matrix():
    config = InferenceRPUConfig()
    config.forward.is_perfect = True
    digital = torch.nn.Conv2d(2, 3, 4)
    analog = convert_to_analog(digital, config)
    assert isinstance(analog, AnalogConv2d)
    torch.testing.assert_close(analog.get_weights()[0], digital.weight.detach().reshape(3, 32))
    torch.testing.assert_close(convert_to_digital(analog).weight, digital.weight)


def test_layers_are_not_converted_without_a_config():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    with pytest.raises(ConfigError, match="no rpu_config for 0"):
        convert_to_analog(model, None)
    convert_to_analog(model, None, specific_rpu_config_fun=lambda *_: InferenceRPUConfig())
