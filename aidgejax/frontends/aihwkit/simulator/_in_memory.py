"""Names of aihwkit that are out of scope: they can be imported, and say so when they are made or called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..exceptions import ConfigError

PULSED = (
    "in-memory training on pulsed devices is not simulated; take InferenceRPUConfig or TorchInferenceRPUConfig for "
    "hardware-aware training"
)
INSTEAD = {
    "linalg": "an AnalogLinear without a bias multiplies by its matrix: layer.set_weights(matrix), layer.eval()(x)",
    "converter.wpo": "give CustomPairConductanceConverter conductances of your own (g_lst), found by any search",
    "export": "the Fusion chip's files are not written; tile.get_weights() and the converters give conductances",
    "low_precision": "digital layers are quantized by aidgejax.quant, the digital parts of tiles by "
    "QuantizedTorchInferenceRPUConfig",
    "IRDropT": "IR drop that follows the length of pulses is not simulated; forward.ir_drop of InferenceRPUConfig is "
    "the drop along the wires",
    "simulator.tiles": "the original's own tile is not here; InferenceTile and TorchInferenceTile are",
}
"""Part of a name's path -> what to use."""


class NotSimulated:
    """The base of every class that aidgejax has no counterpart of.  ConfigError when one is made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        name = f"{type(self).__module__}.{type(self).__name__}"
        why = next((cure for part, cure in INSTEAD.items() if part in name), PULSED)
        raise ConfigError(f"{name.removeprefix('aidgejax.frontends.')} is not there: {why}")


def lookup(module: str, names: str) -> Callable[[str], type]:
    """A module's __getattr__ for these names, separated by blanks: a class for each, made once."""
    wanted = set(names.split())
    made: dict[str, type] = {}

    def found(name: str) -> type:
        if name not in wanted:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        if name not in made:
            made[name] = type(name, (NotSimulated,), {"__module__": module, "__doc__": NotSimulated.__doc__})
        return made[name]

    return found
