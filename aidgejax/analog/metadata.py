"""What a graph remembers of its analog layers, as text in its metadata: it survives ONNX files.

The text names the node that each layer was, its tiles, its settings, its noise model and drift compensation.  A noise
model of a class that is not aidgejax's is left out of it, and has to be given again after reading.
"""

from __future__ import annotations

import json
from dataclasses import fields
from functools import lru_cache
from typing import Any

from ..errors import GraphError
from ..graph import Node
from . import compensation, conductance, noise_pcm, noise_reram
from .compensation import BaseDriftCompensation
from .conductance import BaseConductanceConverter
from .layer import AnalogLayer, Part
from .noise_model import BaseNoiseModel
from .settings import Settings, Snapshot

KEY = "aidgejax.analog"
KINDS = {
    name: kind
    for module in (compensation, conductance, noise_pcm, noise_reram)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, BaseDriftCompensation | BaseConductanceConverter | BaseNoiseModel)
}
Text = dict[str, Any]


def dumps(layers: tuple[AnalogLayer, ...]) -> str:
    """The layers as text."""
    return json.dumps([_layer_text(layer) for layer in layers])


def noted_layers(layers: tuple[AnalogLayer, ...]) -> dict[str, Any]:
    """What a graph's metadata holds of these layers."""
    return {"analog": layers, KEY: dumps(layers)}


@lru_cache(maxsize=64)
def loads(text: str) -> tuple[AnalogLayer, ...]:
    """The layers of a text that `dumps` made.  GraphError for any other."""
    try:
        return tuple(_layer_of(t) for t in json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as e:
        raise GraphError(f"the graph's metadata {KEY!r} is not what aidgejax writes: {text[:80]!r} ({e})") from None


def _layer_text(layer: AnalogLayer) -> Text:
    n = layer.node
    return {
        "node": [n.op, list(n.inputs), list(n.outputs), dict(n.attrs), n.name, n.domain],
        "prefix": layer.prefix,
        "parts": [[p.prefix, p.outputs.start, p.outputs.stop, p.inputs.start, p.inputs.stop] for p in layer.parts],
        "shape": list(layer.shape),
        "unfolded": layer.unfolded,
        "analog_bias": layer.analog_bias,
        "settings": {f.name: plain_model(getattr(layer.settings, f.name)) for f in fields(Settings)},
    }


def _layer_of(t: Text) -> AnalogLayer:
    op, inputs, outputs, attrs, name, domain = t["node"]
    found = {k: read_model(v) for k, v in t["settings"].items()}
    return AnalogLayer(
        Node(str(op), tuple(inputs), tuple(outputs), {k: _tuple(v) for k, v in attrs.items()}, name, domain),
        str(t["prefix"]),
        Settings(**found),
        tuple(Part(p, slice(a, b), slice(c, d)) for p, a, b, c, d in t["parts"]),
        tuple(t["shape"]),
        bool(t["unfolded"]),
        bool(t["analog_bias"]),
    )


def plain_model(value: Any) -> Any:
    """A noise model, a compensation, a snapshot or plain values as what JSON can hold; None of a foreign class."""
    if isinstance(value, Snapshot):
        return {"fields": [[k, plain_model(v)] for k, v in value.items()]}
    if isinstance(value, BaseDriftCompensation | BaseConductanceConverter | BaseNoiseModel):
        if type(value).__name__ not in KINDS:
            return None
        return {"class": type(value).__name__, "with": [[k, plain_model(v)] for k, v in vars(value).items()]}
    if isinstance(value, dict):
        return {"items": [[k, plain_model(v)] for k, v in value.items()]}
    return [plain_model(v) for v in value] if isinstance(value, tuple | list) else value


def model_key(*models: Any) -> str | None:
    """A text that says all of these models and compensations; None where a script has derived the class of one."""
    for model in models:
        own = [v for v in (model, getattr(model, "g_converter", None)) if v is not None]
        if any(KINDS.get(type(v).__name__) is not type(v) for v in own):
            return None
    return json.dumps([plain_model(m) for m in models], default=str)


def read_model(text: Any) -> Any:
    """What `plain_model` was given; lists have become tuples."""
    if isinstance(text, list):
        return tuple(read_model(v) for v in text)
    if not isinstance(text, dict):
        return text
    if "fields" in text:
        return Snapshot.of(tuple((k, read_model(v)) for k, v in text["fields"]))
    if "items" in text:
        return {k: read_model(v) for k, v in text["items"]}
    made = object.__new__(KINDS[text["class"]])
    vars(made).update({k: list(v) if isinstance(v := read_model(t), tuple) else v for k, t in text["with"]})
    return made


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
