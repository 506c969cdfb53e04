"""Resistive memory: two published models of programming noise and relaxation.

Sources: Wan et al., "A compute-in-memory chip based on resistive random-access memory" (2022); Falcone et al., CMO/HfOx
devices (2025); numbers as in IBM's aihwkit.  Conductances in uS, times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .conductance import BaseConductanceConverter, SingleDeviceConductanceConverter, SinglePairConductanceConverter
from .errors import ArgumentError
from .noise_model import BaseNoiseModel, NoiseModelError, polynomial

WAN = {
    1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
    86400.0: (0.701, 22.086, -50.773, 47.095, -16.458),
    172800.0: (0.782, 20.274, -43.507, 37.062, -11.934),
}
CMO_PROGRAMMING = {0.2: (0.00081107, 0.00106879), 2.0: (0.0112185391, 0.01129027418)}
CMO_DECAY = {"mean": [-0.08900206], "std": [0.04201137, 0.41183342]}
CMO_READ = {"K": 0.0277316483, "t_read": 1e-6}


class UnknownTime(NoiseModelError, ArgumentError):
    """A time at which a device was not measured; aihwkit's ArgumentError."""


class ReRamWan2022NoiseModel(BaseNoiseModel):
    """Spread around the target at measured times, without drift of the mean: max(0, g + noise_scale P_t(g / g_max) z).

    coeff_dic: {seconds: coefficients of P_t}; the smallest time is programming.  coeff_g_max_reference: the g_max of
    the fit, default the converter's.  Other times than those measured: UnknownTime.
    """

    draws_coefficients = takes_any_time = False

    def __init__(
        self,
        coeff_dic: Mapping[float, Sequence[float]] | None = None,
        g_converter: BaseConductanceConverter | None = None,
        g_max: float | None = None,
        noise_scale: float = 1.0,
        coeff_g_max_reference: float | None = None,
    ) -> None:
        super().__init__(SinglePairConductanceConverter(g_max=g_max) if g_converter is None else g_converter)
        self.g_max = self.g_converter.g_max
        self.coeff_dic = {float(t): tuple(c) for t, c in (WAN if coeff_dic is None else coeff_dic).items()}
        self.noise_scale = float(noise_scale)
        self.coeff_g_max_reference = self.g_max if coeff_g_max_reference is None else float(coeff_g_max_reference)

    def sigma(self, g: Any, t: float) -> Any:
        """Standard deviation in uS at time t."""
        size = polynomial(self.coeff_dic[t], g / self.g_max) * (self.g_max / self.coeff_g_max_reference)
        return self.noise_scale * size

    def sigma_programming(self, g: Any) -> Any:
        return self.sigma(g, min(self.coeff_dic))

    def programmed(self, g: Any, z: Any) -> Any:
        return jnp.maximum(g + self.sigma_programming(g) * z, 0)

    def coefficients(self, g: Any, z: Any) -> Any:
        """The targets themselves: later draws are around them."""
        return g

    def drifted(self, g: Any, nu: Any, t: Any, z: Any) -> Any:
        if isinstance(t, jax.core.Tracer):
            raise UnknownTime("ReRamWan2022NoiseModel knows single times only: t cannot be traced; loop over them")
        if float(t) not in self.coeff_dic:
            raise UnknownTime(f"t is {float(t)} s: this device was measured at {', '.join(map(str, self.coeff_dic))} s")
        return jnp.maximum(nu + self.sigma(nu, float(t)) * z[0], 0)


class ReRamCMONoiseModel(BaseNoiseModel):
    """One device for each weight, programmed to within acceptance_range (0.2 or 2, in percent), relaxing with ln t.

    coeff_dict: {acceptance range: coefficients of the programming noise's polynomial in g}; a range that it lacks
    means its smallest.  decay_dict: {"mean": [slope], "std": [slope, intercept]}, in uS by ln t; read_dict: {"K",
    "t_read"}, the size of read noise and the length of a read in seconds.
    Time 0 is the programmed state.  g = clip(g_d + read noise, g_min, g_max), g_d = g - 0.089 ln t + spread.
    """

    normals_of_drift, draws_coefficients = 2, False

    def __init__(
        self,
        coeff_dict: Mapping[float, Sequence[float]] | None = None,
        g_max: float | None = None,
        g_min: float | None = None,
        prog_noise_scale: float = 1.0,
        read_noise_scale: float = 1.0,
        drift_scale: float = 1.0,
        decay_dict: Mapping[str, Any] | None = None,
        read_dict: Mapping[str, Any] | None = None,
        acceptance_range: float = 2e-2,
    ) -> None:
        super().__init__(SingleDeviceConductanceConverter(g_max=g_max, g_min=g_min))
        self.g_max, self.g_min = self.g_converter.g_max, self.g_converter.g_min
        self.coeff_dict = dict(CMO_PROGRAMMING if coeff_dict is None else coeff_dict)
        self.prog_noise_scale, self.read_noise_scale = float(prog_noise_scale), float(read_noise_scale)
        self.drift_scale = float(drift_scale)
        known = acceptance_range in self.coeff_dict
        self.acceptance_range = acceptance_range if known else min(self.coeff_dict)
        self.decay_dict = _with_keys("decay_dict", decay_dict, CMO_DECAY)
        self.read_dict = _with_keys("read_dict", read_dict, CMO_READ)

    def sigma_programming(self, g: Any) -> Any:
        known = self.coeff_dict.get(self.acceptance_range, self.coeff_dict[min(self.coeff_dict)])
        return self.prog_noise_scale * polynomial(known, g)

    def programmed(self, g: Any, z: Any) -> Any:
        return g + self.sigma_programming(g) * z

    def coefficients(self, g: Any, z: Any) -> Any:
        """The targets, as aihwkit's: how a device relaxes does not depend on them."""
        return g

    def drifted(self, g: Any, nu: Any, t: Any, z: Any) -> Any:
        late = jnp.maximum(jnp.asarray(t, g.dtype), 1e-12)
        log = jnp.log(late)
        (slope, *_), spread = self.decay_dict["mean"], self.decay_dict["std"]
        size, t_read = float(self.read_dict["K"]), float(self.read_dict["t_read"])
        mean = g + slope * log * self.drift_scale
        now = mean + z[0] * (spread[0] * log + spread[1]) * self.drift_scale
        grown = jnp.sqrt(jnp.maximum(jnp.log(late + t_read) - np.log(2 * t_read), 0.0))
        sigma = size * jnp.log10(jnp.maximum(now, 1e-12)) * grown * self.read_noise_scale
        read = jnp.clip(now + jnp.where(now > 0, sigma, 0.0) * z[1], self.g_min, self.g_max)
        return jnp.where(jnp.asarray(t) > 0, read, g).astype(g.dtype)


def _with_keys(name: str, given: Mapping[str, Any] | None, default: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the given dictionary, the default for None.  NoiseModelError where it lacks a key."""
    found = dict(default if given is None else given)
    if missing := sorted(set(default) - set(found)):
        raise NoiseModelError(f"{name} has {sorted(found)}: {', '.join(missing)} is missing")
    return found
