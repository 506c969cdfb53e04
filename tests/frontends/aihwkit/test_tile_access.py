"""What scripts read of tiles and write into them; configs replaced and edited; with torch or without."""

import sys

import numpy as np
import pytest

from aidgejax.frontends.aihwkit.exceptions import AihwkitException, ConfigError, TileError, TileModuleError
from aidgejax.frontends.aihwkit.inference import drift_analog_weights
from aidgejax.frontends.aihwkit.nn import AnalogConv2d, AnalogLinear, AnalogSequential
from aidgejax.frontends.aihwkit.simulator import configs, tiles

X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
B = np.arange(4, dtype=np.float32)


def config(kind=configs.InferenceRPUConfig, **mapping):
    made = kind(mapping=configs.MappingParameter(**mapping))
    made.forward.is_perfect = True
    return made


def layer_of(made, weight=W, bias=B):
    layer = AnalogLinear(5, 4, rpu_config=made).eval()
    layer.set_weights(weight, bias)
    return layer


def numbers(v):
    return np.asarray(v.detach() if hasattr(v, "detach") else v)


def close(a, b, tolerance=1e-5):
    np.testing.assert_allclose(numbers(a), b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("kind", "split"), [(configs.InferenceRPUConfig, 0), (configs.TorchInferenceRPUConfig, 3)])
def test_weights_and_scales_of_tiles(kind, split):
    made = config(
        kind,
        weight_scaling_omega=0.5,
        weight_scaling_columnwise=True,
        learn_out_scaling=True,
        max_input_size=split,
        max_output_size=512 * (split > 0),
    )
    layer = layer_of(made)
    parts = np.split(W, [split] if split else [], axis=1) if split else [W]
    for tile, part in zip(layer.analog_tiles(), parts, strict=True):
        scales = np.abs(part).max(1) / 0.5
        close(tile.get_mapping_scales(), scales)
        close(tile.get_learned_out_scales(), [1])
        close(tile.get_weights()[0], part)
        close(tile.get_weights(apply_weight_scaling=False)[0], part / scales[:, None])
        close(tile.tile.get_weights(), part / scales[:, None])
        close(tile.read_weights(apply_weight_scaling=True)[0], part)
        tile.set_learned_out_scales(2.0)
        close(tile.get_scales(), 2 * scales)
        close(tile.get_weights()[0], 2 * part)
        tile.set_scales(3.0)
        close(tile.get_scales(), np.full(4, 3.0))
        tile.set_weights(part, B)
        tile.remap_weights(1.0)
        close(np.abs(numbers(tile.get_weights(apply_weight_scaling=False)[0])).max(1), np.ones(4))
        close(tile.get_weights()[0], part)
        assert (tile.get_weights()[1] is None) == bool(split)
        with pytest.raises(TileError, match=rf"mapping_scales of \w+\(4, {part.shape[1]}\) got 3 numbers"):
            tile.set_mapping_scales(np.ones(3))
        with pytest.raises(TileError, match=rf"weight of \w+\(4, {part.shape[1]}\) has shape \[2, 2\]"):
            tile.set_weights(np.ones((2, 2)))
    close(layer.get_weights(realistic=True)[0], W)
    close(layer(X), X @ W.T + B, 1e-4)


def test_an_analog_bias_is_read_with_the_weight():
    layer = layer_of(config(digital_bias=False))
    tile = layer.analog_module
    assert (tile.in_size, tile.analog_bias, tile.digital_bias, tile.tile.get_x_size()) == (5, True, False, 6)
    for weight, bias in (tile.get_weights(), tile.read_weights(), layer.get_weights(realistic=True)):
        close(weight, W)
        close(bias, B)


def test_a_config_is_replaced_and_edited_in_place():
    made = config()
    layer = layer_of(made)
    model = AnalogSequential(layer)
    made.forward.out_scale = 9.0  # the script's own: the layer has a copy
    want = numbers(layer(X))
    close(want, X @ W.T + B, 1e-4)
    layer.analog_module.rpu_config.forward.is_perfect = False
    layer.analog_module.rpu_config.forward.out_noise = 5.0
    assert np.abs(numbers(layer(X)) - want).max() > 1
    ranged = config()
    ranged.pre_post.input_range.enable, ranged.pre_post.input_range.init_value = True, 0.5
    model.replace_rpu_config(ranged)
    close(layer(X), np.clip(X, -0.5, 0.5) @ W.T + B, 1e-4)
    layer.analog_module.set_input_range(100.0)
    close(layer(X), want, 1e-4)
    model.replace_rpu_config(config())
    close(layer(X), want, 1e-5)
    with pytest.raises(ConfigError, match=r"Input range is not enabled.*InferenceTile\(4, 5\)"):
        layer.analog_module.set_input_range(1.0)
    with pytest.raises(TileModuleError, match="MappingParameter mismatch"):
        model.replace_rpu_config(config(learn_out_scaling=True))
    with pytest.raises(TileModuleError, match="RPU config mismatch"):
        model.replace_rpu_config(configs.TorchInferenceRPUConfig())
    layer.analog_module.rpu_config.forward.inp_res = float("nan")
    with pytest.raises(ConfigError, match="inp_res"):
        layer(X)


def test_weights_stay_where_scales_are_no_longer_asked_for():
    layer = layer_of(config(weight_scaling_omega=1.0))
    layer.replace_rpu_config(config())
    close(layer.get_weights()[0], W)
    close(np.abs(numbers(layer.analog_module.tile.get_weights())).max(), 1.0)
    tile, before = layer.analog_module, numbers(layer.analog_module.get_weights(False)[0])
    tile.set_mapping_scales([1.0, 2.0, 3.0, 4.0])
    close(layer(X), X @ (before * np.array([[1], [2], [3], [4]])).T + B, 1e-4)
    layer.replace_rpu_config(config())
    close(tile.get_scales(), [1, 2, 3, 4])


def test_tiles_by_themselves():
    tile = tiles.TorchInferenceTile(4, 5, config(configs.TorchInferenceRPUConfig), bias=True)
    tile.layer.eval()
    tile.set_weights(W, B)
    close(tile(X), X @ W.T + B, 1e-4)
    assert tile.layer.analog_module is tile and (tile.out_size, tile.in_size) == (4, 5)
    with pytest.raises(AttributeError, match="TorchInferenceTile.update is not in aidgejax: nothing is pulsed"):
        tile.update(X, X)
    with pytest.raises(TileModuleError, match="got a InferenceRPUConfig, whose tile is a InferenceTile"):
        tiles.TorchInferenceTile(4, 5, configs.InferenceRPUConfig())
    ((name, (weight, _)),) = AnalogSequential(tile.layer).get_weights().items()
    assert name == "0.analog_module"
    close(weight, W)


def test_a_checkpoint_brings_its_config():
    a, b = config(), config()
    a.modifier.std_dev = 0.3
    a.pre_post.input_range.enable = True
    saved, other = layer_of(a), layer_of(b, W * 0)
    state = saved.state_dict()
    if "torch" in sys.modules:
        other.load_state_dict(state)
        assert other.rpu_config == saved.rpu_config and other.rpu_config.modifier.std_dev == 0.3
        assert np.array_equal(numbers(other(X)), numbers(saved(X)))
        with pytest.raises(TileModuleError, match="input_range"):
            layer_of(b).load_state_dict(state, load_rpu_config=False)
    else:
        with pytest.raises(TileError, match="input_range"):
            other.load_state_dict(state)


def test_one_limit_of_zero_makes_an_array_of_one_tile_as_in_aihwkit():
    layer = layer_of(config(max_input_size=0))
    assert len(layer.analog_module.array) == 1 and layer.analog_module.out_sizes == [4]
    assert layer_of(config(max_input_size=0, max_output_size=0)).analog_module.in_size == 5
    close(layer(X), X @ W.T + B, 1e-4)


def test_the_explicit_tile_manages_bounds_by_row_and_asks_nothing_of_empty_rows():
    made = configs.InferenceRPUConfig()
    made.forward.inp_res, made.forward.out_res, made.forward.out_bound = 0.1, -1, 0.5
    layer = layer_of(made, W, B * 0)
    x = X.copy()
    x[2], x[3] = 0, 1e-3 * x[3]
    y = numbers(layer(x))
    assert not y[2].any()  # no noise either
    made.forward.out_noise = 0.0
    layer = layer_of(made, W, B * 0)
    rows = np.concatenate([numbers(layer(x[k : k + 1])) for k in range(len(x))])
    close(layer(x), rows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AnalogLinear(0, 3), "AnalogLinear got in_features=0: expected integers of at least 1"),
        (lambda: AnalogLinear(2.5, 3), "AnalogLinear got in_features=2.5"),
        (lambda: AnalogConv2d(2, 3, (3,)), r"AnalogConv2d got kernel_size=\(3,\): expected a number or 2 of them"),
        (lambda: AnalogConv2d(2, 3, 3, padding="same"), "AnalogConv2d got padding='same'"),
        (lambda: AnalogLinear(4, 3, rpu_config=configs.InferenceRPUConfig), "got the class InferenceRPUConfig"),
        (lambda: AnalogLinear(4, 3, rpu_config="x"), "AnalogLinear got a str as rpu_config"),
        (lambda: AnalogLinear(4, 3)("x"), "AnalogLinear got a str: expected a tensor or an array"),
        (lambda: layer_of(config()).drift_analog_weights(None), r"t_inference of InferenceTile\(4, 5\) is None"),
        (lambda: drift_analog_weights("model"), "of a model, got a str"),
        (lambda: layer_of(config()).load_state_dict(None), "load_state_dict got a NoneType"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(AihwkitException, match=message):
        call()
