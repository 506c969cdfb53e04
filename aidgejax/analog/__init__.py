"""Analog input range and quantization as pure functions, and graphs made analog.

    params, state = analog_linear_init(weight, bias, config)
    y, params, state, saved = analog_linear(params, state, x, config, training=True, key=key)
    grads, dx = analog_linear_backward(params, saved, dy, config)
    params, state = analog_post_update(params, state, config)         # after the optimizer's step

`config` is one of aidgejax.frontends.aihwkit.simulator.configs, or anything with the same fields.  Everything is a
pytree, goes through jax.jit and jax.lax.scan, and belongs in a checkpoint as it is.  Formulas stand in
aidgejax/ops/analog.py, periphery.py and quantize.py; tile.py writes them into one graph per configuration.
"""

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
from .settings import (
    AihwkitException,
    AnalogBiasConfigError,
    ConfigError,
    PeripheryConfigError,
    Settings,
    TorchTileConfigError,
    settings,
)

__all__ = [
    "AihwkitException", "AnalogBiasConfigError", "ConfigError", "PeripheryConfigError", "Settings",
    "TorchTileConfigError", "analog_linear", "analog_linear_backward", "analog_linear_init", "analog_post_update",
    "fake_quantize", "fake_quantize_backward", "layer_graph", "quantizer_range", "settings", "uniform_quantize",
]  # fmt: skip
