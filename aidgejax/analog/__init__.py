"""Analog input range and quantization as pure functions, and graphs made analog.

    params, state = analog_linear_init(weight, bias, config)
    y, params, state, saved = analog_linear(params, state, x, config, training=True, key=key)
    grads, dx = analog_linear_backward(params, saved, dy, config)
    params, state = analog_post_update(params, state, config)         # after the optimizer's step

`config` is one of the classes of config.py, or anything with the same fields.  Everything is a
pytree, goes through jax.jit and jax.lax.scan, and belongs in a checkpoint as it is.  Formulas stand in
aidgejax/ops/analog.py, analog_quantizer.py and fake_quantize.py; tile.py writes them into one graph per configuration.
"""

from .calibrate import CALIBRATIONS, calibrate
from .convert import (
    AnalogLayer,
    convert_to_analog,
    input_ranges,
    layers,
    logical_weights,
    post_updated,
    to_digital,
    with_post_update,
)
from .functions import (
    analog_linear,
    analog_linear_backward,
    analog_linear_init,
    analog_post_update,
    fake_quantize,
    fake_quantize_backward,
    layer_graph,
    quantizer_range,
    uniform_quantize,
)
from .report import clipped_share, describe
from .settings import (
    AihwkitException,
    AnalogBiasConfigError,
    ConfigError,
    PeripheryConfigError,
    Settings,
    TorchTileConfigError,
    settings,
)
from .sweep import picture, sweep, table

__all__ = [
    "CALIBRATIONS", "AihwkitException", "AnalogBiasConfigError", "AnalogLayer", "ConfigError", "PeripheryConfigError",
    "Settings", "TorchTileConfigError", "analog_linear", "analog_linear_backward", "analog_linear_init",
    "analog_post_update", "calibrate", "clipped_share", "convert_to_analog", "describe", "fake_quantize",
    "fake_quantize_backward", "input_ranges", "layer_graph", "layers", "logical_weights", "picture", "post_updated",
    "quantizer_range", "settings", "sweep", "table", "to_digital", "uniform_quantize", "with_post_update",
]  # fmt: skip
