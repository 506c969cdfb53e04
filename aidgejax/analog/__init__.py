"""Analog input range and quantization as pure functions, and graphs made analog.

    params, state = analog_linear_init(weight, bias, config)
    y, params, state, saved = analog_linear(params, state, x, config, training=True, key=key)
    grads, dx = analog_linear_backward(params, saved, dy, config)
    params, state = analog_post_update(params, state, config)         # after the optimizer's step

`config` is one of the classes of config.py, or anything with the same fields.  Everything is a
pytree, goes through jax.jit and jax.lax.scan, and belongs in a checkpoint as it is.  Formulas stand in
aidgejax/ops/analog.py, analog_management.py, analog_quantizer.py and fake_quantize.py; tile.py writes them into one
graph per configuration.
"""

from .calibrate import CALIBRATIONS, calibrate
from .compensation import (
    BaseDriftCompensation,
    GlobalDriftCompensation,
    GlobalDriftCompensationWithExactReference,
    PerColumnDriftCompensation,
)
from .convert import (
    convert_to_analog,
    input_ranges,
    layers,
    logical_weights,
    post_updated,
    to_digital,
    with_post_update,
)
from .errors import (
    AihwkitException,
    AnalogBiasConfigError,
    ConfigError,
    PeripheryConfigError,
    TorchTileConfigError,
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
from .inference import drift_analog_weights, drift_tile, over_time, program_analog_weights, program_tile
from .layer import AnalogLayer
from .metadata import noted_layers
from .report import clipped_share, describe
from .settings import Settings, settings
from .sweep import picture, sweep, table

__all__ = [
    "AihwkitException", "AnalogBiasConfigError", "AnalogLayer", "BaseDriftCompensation", "CALIBRATIONS",
    "ConfigError", "GlobalDriftCompensation", "GlobalDriftCompensationWithExactReference",
    "PerColumnDriftCompensation", "PeripheryConfigError", "Settings", "TorchTileConfigError", "analog_linear",
    "analog_linear_backward", "analog_linear_init", "analog_post_update", "calibrate", "clipped_share",
    "convert_to_analog", "describe", "drift_analog_weights", "drift_tile", "fake_quantize",
    "fake_quantize_backward", "input_ranges", "layer_graph", "layers", "logical_weights", "noted_layers", "over_time",
    "picture", "post_updated", "program_analog_weights", "program_tile", "quantizer_range", "settings", "sweep",
    "table", "to_digital", "uniform_quantize", "with_post_update",
]  # fmt: skip
