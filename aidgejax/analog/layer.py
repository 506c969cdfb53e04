"""What a node of the digital graph became: a layer of one tile or several."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Node
from .settings import Settings


@dataclass(frozen=True)
class Part:
    """One tile: which outputs and inputs of the layer's weight it holds."""

    prefix: str
    outputs: slice
    inputs: slice


@dataclass(frozen=True)
class AnalogLayer:
    """What a node became.  node, weight, bias: those of the digital graph, weight as f[out, in, ...]."""

    node: Node
    prefix: str
    settings: Settings
    parts: tuple[Part, ...]
    shape: tuple[int, ...]
    unfolded: bool
    analog_bias: bool = False
