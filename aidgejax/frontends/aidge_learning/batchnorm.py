"""Helpers for BatchNorm nodes: insert them, give their producers first values, set their mode."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..aidge_core.errors import TensorTypeError
from ..aidge_core.factories import FACTORIES
from ..aidge_core.graphview import GraphView
from ..aidge_core.operators.normalization import STATISTICS

CONVOLUTIONS = {f"{p}Conv{k}{d}D": d for p in ("", "Padded") for k in ("", "DepthWise") for d in (1, 2, 3)}


def _nodes(network: GraphView, kinds: Any) -> list[Any]:
    if not isinstance(network, GraphView):
        raise TensorTypeError(f"expected a GraphView, got {type(network).__name__}")
    return [n for n in network.get_ordered_nodes() if n.type() in kinds]


def set_batchnorm_training_mode(network: GraphView, training_mode: bool = True) -> int:
    """Batch statistics (True) or running ones (False), for every BatchNorm; how many there are."""
    found = _nodes(network, STATISTICS)
    for n in found:
        n.get_operator().attr.training_mode = bool(training_mode)
    return len(found)


def init_batchnorm_producers(network: GraphView) -> int:
    """Scale 1, shift 0, mean 0, variance 1; how many BatchNorms."""
    found = _nodes(network, STATISTICS)
    for n in found:
        for k, value in enumerate((1.0, 0.0, 0.0, 1.0), start=1):
            tensor = n.get_operator().get_input(k)
            tensor.fill(np.full(tensor.cell.shape, value, tensor.cell.dtype))
    return len(found)


def insert_batchnorm_nodes(
    network: GraphView, epsilon: float = 1e-5, momentum: float = 0.9, training_mode: bool = False
) -> int:
    """A BatchNorm behind every convolution; how many."""
    found = _nodes(network, CONVOLUTIONS)
    for n in found:
        channels = n.get_operator().get_input(1).cell.shape[0]
        make = FACTORIES[f"BatchNorm{CONVOLUTIONS[n.type()]}D"]
        bn = make(channels, epsilon, momentum, training_mode, name=f"{n.name()}_bn")
        op = n.get_operator()
        if op.backend_name is not None:
            for m in (bn, *(p for p in bn.get_parents() if p is not None)):
                m.get_operator().set_backend(op.backend_name)
        network.insert_child(n, bn, 0, 0, 0)
        if network.chosen_outputs is not None:
            network.set_ordered_outputs([(bn, 0) if p == (n, 0) else p for p in network.chosen_outputs])
    return len(found)
