"""aihwkit.inference.calibration.calibration: input ranges of a model, set from data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

import jax.numpy as jnp
import numpy as np

from .....analog.calibrate import Measure, rows
from ...exceptions import ArgumentError, ArgumentTypeError, ConfigError
from ...nn.modules._module import is_tensor
from ...nn.modules.base import AnalogLayerBase
from ...simulator._in_memory import lookup


class InputRangeCalibrationType(Enum):
    """How ranges are found; see aidgejax.analog.calibrate."""

    NONE = "None"
    MOVING_STD = "MovingStd"
    MOVING_QUANTILE = "MovingQuantile"
    CACHE_QUANTILE = "CacheQuantile"
    MAX = "Max"


def calibrate_input_ranges(
    model: Any,
    calibration_type: InputRangeCalibrationType,
    dataloader: Iterable[Any],
    quantile: float = 0.99995,
    max_samples: int = 1000,
    std_alpha: float | None = None,
    force_all_layers: bool = True,
    verbose: bool = False,
) -> None:
    """Set the input range of every layer from what it sees of these batches, in evaluation.

    dataloader: batches, or (arguments, keyword arguments) of the model.  The rules are aidgejax.analog.calibrate's; a
    layer of several tiles gives each the range of its own inputs.  ArgumentError where the root is not analog;
    ConfigError for layers without a range (force_all_layers False leaves those alone).
    """
    if not isinstance(model, AnalogLayerBase):
        raise ArgumentError("the model has no analog root: convert it with convert_to_analog")
    try:
        kind = InputRangeCalibrationType(calibration_type)
    except ValueError:
        known = ", ".join(InputRangeCalibrationType.__members__)
        raise ArgumentError(f"calibration_type is {calibration_type!r}: expected one of {known}") from None
    if kind is InputRangeCalibrationType.NONE:
        return
    if not isinstance(dataloader, Iterable) and not hasattr(dataloader, "__getitem__"):
        raise ArgumentTypeError(f"dataloader is a {type(dataloader).__name__}: expected batches to go through")
    watched: dict[str, tuple[Any, str, Any]] = {}
    layers = list(model.analog_layers())
    for k, layer in enumerate(layers):
        named = {name for name, _, _ in layer._places()}
        for part in layer._layer.parts:
            if f"{part.prefix}input_range" in named:
                watched[f"{k}:{part.prefix}"] = (layer, part.prefix, part.inputs)
            elif force_all_layers:
                raise ConfigError(
                    f"layer {k} has no input range: its config's pre_post.input_range.enable is False when it is made"
                )
    alphas = {n: std_alpha or layer._settings.range.init_std_alpha for n, (layer, _, _) in watched.items()}
    measure = Measure(kind.name, quantile, max_samples, alphas)
    by_layer: dict[int, list[str]] = {}
    for name, (layer, _, _) in watched.items():
        by_layer.setdefault(id(layer), []).append(name)

    def seen(layer: Any, x: Any) -> None:
        x = np.array(x.detach().cpu() if is_tensor(x) else x)
        windows = rows(layer.windows(x))
        for name in by_layer.get(id(layer), []):
            _, prefix, inputs = watched[name]
            held = layer.params | layer.state
            r, n = held[f"{prefix}input_range"], held[f"{prefix}input_range_update_idx"]
            r, n = measure.take(name, windows[:, inputs], r, n)
            layer._write(f"{prefix}input_range", r)
            layer._write(f"{prefix}input_range_update_idx", n)

    mode = model.training
    model.eval()
    ideal = kind.name in ("MAX", "CACHE_QUANTILE")
    for layer in layers:
        layer.watcher = (seen, ideal)
    try:
        for batch in dataloader:
            arguments, keywords = _call_of(batch)
            model(*arguments, **keywords)
            if verbose:
                print("calibrating ...")
    finally:
        for layer in layers:
            layer.watcher = None
        model.train(mode)
    for name, (layer, prefix, _) in watched.items():
        found = measure.result(name)
        if found is not None:
            layer._write(f"{prefix}input_range", jnp.full(1, found, jnp.float32))
        layer._write(f"{prefix}input_range_update_idx", jnp.full(1, 1e6, jnp.float32))


__getattr__ = lookup(__name__, "calibrate_quantization_ranges")


def _call_of(batch: Any) -> tuple[Sequence[Any], dict[str, Any]]:
    """(arguments, keywords) of the model: the batch is its input, alone or in a tuple, or it is just this pair."""
    if not isinstance(batch, tuple | list):
        return (batch,), {}
    if len(batch) == 2 and isinstance(batch[1], dict):
        first = batch[0]
        return (first if isinstance(first, tuple | list) else (first,)), batch[1]
    if len(batch) == 1:
        return batch, {}
    raise ArgumentError(
        f"the data loader gave a {type(batch).__name__} of {len(batch)}: expected the input alone, or "
        f"(arguments, keywords). Leave labels out: (([x], {{}}) for x, _ in loader)"
    )
