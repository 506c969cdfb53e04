"""Normalization over the batch, over instances, layers, groups and neighbouring channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .definition import define

STATISTICS = ("BatchNorm1D", "BatchNorm2D", "BatchNorm3D")  # whose inputs 3 and 4 are running statistics
PAIR = ("scale", "bias")


def _batch_weights(nb_features: int, /) -> dict[str, Any]:
    return dict.fromkeys(("scale", "shift", "batch_mean", "batch_variance"), (nb_features,))


def _batch_norm(name: str) -> None:
    @define(name, parameters=("scale", "shift"), statistics=("mean", "variance"), weights=_batch_weights)
    def emit(
        c: Any,
        data_input: Any,
        scale: Any,
        shift: Any,
        mean: Any,
        variance: Any,
        *,
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        training_mode: bool = False,
    ) -> Any:
        """With training_mode the batch's own statistics, and running <- momentum * running + (1 - momentum) * batch,
        as in ONNX; without, the running ones."""
        tensors = (data_input, scale, shift, mean, variance)
        settings = {"epsilon": epsilon, "momentum": momentum, "training_mode": int(training_mode)}
        return c.named("BatchNormalization", *tensors, **settings)


for _name in STATISTICS:
    _batch_norm(_name)


def _features(nb_features: int, /) -> dict[str, Any]:
    return {"scale": (nb_features,), "bias": (nb_features,)}


@define("InstanceNorm", parameters=PAIR, weights=_features)
def instance_norm(c: Any, data_input: Any, scale: Any, bias: Any, *, epsilon: float = 1e-5) -> Any:
    return c.named("InstanceNormalization", data_input, scale, bias, epsilon=epsilon)


def _layer(normalized_shape: Sequence[int], /) -> dict[str, Any]:
    return {"scale": tuple(normalized_shape), "bias": tuple(normalized_shape)}


@define("LayerNorm", parameters=PAIR, weights=_layer)
def layer_norm(c: Any, data_input: Any, scale: Any, bias: Any, *, axis: int, epsilon: float = 1e-5) -> Any:
    return c.named("LayerNormalization", data_input, scale, bias, axis=axis, epsilon=epsilon)


def _groups(num_groups: int, nb_features: int, /) -> dict[str, Any]:
    return _features(nb_features)


@define("GroupNorm", parameters=PAIR, weights=_groups)
def group_norm(c: Any, data_input: Any, scale: Any, bias: Any, *, num_groups: int, epsilon: float = 1e-5) -> Any:
    return c.named("GroupNormalization", data_input, scale, bias, num_groups=num_groups, epsilon=epsilon)


@define("LRN")
def lrn(
    c: Any, data_input: Any, *, size: int, name: str = "", alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Any:
    return c.named("LRN", data_input, size=size, alpha=alpha, beta=beta, bias=bias)
