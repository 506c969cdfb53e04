"""Noise models and drift compensations that a script derived in torch's terms: they see tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from .....analog import Settings
from .....analog.compensation import BaseDriftCompensation
from .....analog.conductance import as_array, as_scripts_have_it
from .....analog.noise_model import BaseNoiseModel
from ._bridge import tensor_of
from ._module import in_torch

NAMES = (
    "apply_programming_noise",
    "apply_drift_noise",
    "apply_programming_noise_to_conductance",
    "generate_drift_coefficients",
    "apply_drift_noise_to_conductance",
)
OURS = "aidgejax."


class OnTensors(BaseNoiseModel):
    """A noise model whose methods of aihwkit's names are called with tensors."""

    def __init__(self, model: BaseNoiseModel) -> None:
        super().__init__(model.g_converter)
        self.g_converter = as_scripts_have_it(model.g_converter, tensor_of(np.zeros(1, np.float32)))
        self.model = model
        self.normals_of_drift, self.draws_coefficients = model.normals_of_drift, model.draws_coefficients

    def overrides(self, name: str) -> bool:
        return self.model.overrides(name)

    def programmed(self, g: Any, z: Any) -> Any:
        return self.model.programmed(g, z)

    def coefficients(self, g: Any, z: Any) -> Any:
        return self.model.coefficients(g, z)

    def drifted(self, g: Any, nu: Any, t: Any, z: Any) -> Any:
        return self.model.drifted(g, nu, t, z)

    def apply_programming_noise(self, weights: Any, key: Any = None) -> tuple[Any, list[Any]]:
        return self.model.apply_programming_noise(tensor_of(weights))

    def apply_drift_noise(
        self, weights: Any, drift_noise_parameters: Sequence[Any], t_inference: Any, key: Any = None
    ) -> Any:
        nus = [None if nu is None else tensor_of(nu) for nu in drift_noise_parameters]
        return self.model.apply_drift_noise(tensor_of(weights), nus, t_inference)

    def apply_programming_noise_to_conductance(self, g_target: Any, key: Any = None) -> Any:
        return self.model.apply_programming_noise_to_conductance(tensor_of(g_target))

    def generate_drift_coefficients(self, g_target: Any, key: Any = None) -> Any:
        return self.model.generate_drift_coefficients(tensor_of(g_target))

    def apply_drift_noise_to_conductance(
        self, g_prog: Any, drift_noise_param: Any, t_inference: Any, key: Any = None
    ) -> Any:
        nu = None if drift_noise_param is None else tensor_of(drift_noise_param)
        return self.model.apply_drift_noise_to_conductance(tensor_of(g_prog), nu, t_inference)


class CompensationOnTensors(BaseDriftCompensation):
    """A compensation whose readout is called with a tensor."""

    def __init__(self, compensation: BaseDriftCompensation) -> None:
        self.compensation = compensation
        self.exact, self.by_output = compensation.exact, compensation.by_output

    def readout(self, out_tensor: Any) -> Any:
        found = as_array(self.compensation.readout(tensor_of(out_tensor)))
        return found.reshape(-1)

    def apply(self, forward_output: Any, ref_value: Any) -> Any:
        found = self.compensation.apply(tensor_of(forward_output), jax.tree.map(tensor_of, ref_value))
        return as_array(found).reshape(-1)

    def get_readout_tensor(self, in_size: int) -> Any:
        return self.compensation.get_readout_tensor(in_size)


def own_baseline(compensation: Any, tile: Any) -> Any:
    """What a script's own init_baseline says of the tile, as arrays; None where its class has none of its own."""
    if compensation is None or type(compensation).init_baseline is BaseDriftCompensation.init_baseline:
        return None
    return jax.tree.map(as_array, compensation.init_baseline(tile))


def on_tensors(model: Any) -> Any:
    """The model; wrapped where it or its converter is of a script's own class and torch is used."""
    if not isinstance(model, BaseNoiseModel) or not in_torch():
        return model
    custom = any(model.overrides(n) for n in NAMES) or as_scripts_have_it(model.g_converter) is not model.g_converter
    return OnTensors(model) if custom else model


def settings_on_tensors(s: Settings) -> Settings:
    """The settings, with a script's own drift compensation wrapped in the same way."""
    mine = s.compensation
    if mine is None or type(mine).__module__.startswith(OURS) or not in_torch():
        return s
    return replace(s, compensation=CompensationOnTensors(mine))
