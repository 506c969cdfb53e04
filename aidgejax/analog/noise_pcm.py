"""Phase-change memory: the published statistical models of programming noise, drift and read noise.

Sources: Nandakumar et al., "Phase-change memory models for deep learning training and inference" (2019) and IBM's
aihwkit, whose classes, arguments and numbers these are.  g and g_max in uS, t in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from .conductance import BaseConductanceConverter, SinglePairConductanceConverter
from .noise_model import BaseNoiseModel, NoiseModelError, polynomial, power_law, read_growth, relative

PCM = (0.26348, 1.9650, -1.1731)  # of x = g / g_max, in uS at a g_max of 25
PCM_REFERENCE = 25.0


class CharacterizationError(NoiseModelError, AssertionError):
    """Devices or lists that a model was not made for; aihwkit asserts."""


class PCMLikeNoiseModel(BaseNoiseModel):
    """x = g / g_max; sigma, nu and read noise as in the formulas of the methods.

    prog_coeff: of the programming noise's polynomial in x, any number of them; prog_coeff_g_max_reference: the g_max
    at which they hold (default: 25 uS for the default coefficients, else the converter's).  t_0, t_read: seconds from
    programming to the first read, and length of a read.  The three scales multiply their kind of noise.
    The converter's g_max wins over `g_max`.
    """

    def __init__(
        self,
        prog_coeff: Sequence[float] | None = None,
        g_converter: BaseConductanceConverter | None = None,
        g_max: float | None = None,
        t_read: float = 250.0e-9,
        t_0: float = 20.0,
        prog_noise_scale: float = 1.0,
        read_noise_scale: float = 1.0,
        drift_scale: float = 1.0,
        prog_coeff_g_max_reference: float | None = None,
    ) -> None:
        super().__init__(SinglePairConductanceConverter(g_max=g_max) if g_converter is None else g_converter)
        self.g_max = self.g_converter.g_max
        own = PCM_REFERENCE if prog_coeff is None else self.g_max
        reference = own if prog_coeff_g_max_reference is None else prog_coeff_g_max_reference
        self.prog_coeff = list(PCM if prog_coeff is None else prog_coeff)
        if not self.prog_coeff or reference <= 0:
            raise NoiseModelError(
                f"prog_coeff is {self.prog_coeff} and its reference {reference} uS: expected coefficients, and a "
                f"reference above 0"
            )
        self.prog_coeff_g_max_reference = float(reference)
        self.t_read, self.t_0 = float(t_read), float(t_0)
        self.prog_noise_scale, self.read_noise_scale = float(prog_noise_scale), float(read_noise_scale)
        self.drift_scale = float(drift_scale)

    def sigma_programming(self, g: Any) -> Any:
        """Standard deviation of the programming noise in uS: sum c_i x^i g_max / reference."""
        size = polynomial(self.prog_coeff, g / self.g_max) * (self.g_max / self.prog_coeff_g_max_reference)
        return self.prog_noise_scale * size

    def drift_statistics(self, g: Any) -> tuple[Any, Any]:
        """(mean, standard deviation) of the drift coefficient of a target g: two clipped lines in ln x."""
        log = jnp.log(relative(g, self.g_max))
        return jnp.clip(-0.0155 * log + 0.0244, 0.049, 0.1), jnp.clip(-0.0125 * log - 0.0059, 0.008, 0.045)

    def read_factor(self, g: Any) -> Any:
        """Read noise of a device relative to its conductance, before it grows with time."""
        x = jnp.maximum(jnp.abs(g / self.g_max), 1e-12)
        return jnp.minimum(0.0088 / jnp.maximum(x**0.65, 1e-3), 0.2)

    def programmed(self, g: Any, z: Any) -> Any:
        return jnp.maximum(g + self.sigma_programming(g) * z, 0)

    def coefficients(self, g: Any, z: Any) -> Any:
        mean, spread = self.drift_statistics(g)
        return self.drift_scale * jnp.abs(mean + spread * z)

    def drifted(self, g: Any, nu: Any, t: Any, z: Any) -> Any:
        """max(0, g_d + |g_d| q L z), g_d = g ((t + t_0) / t_0)^-nu; read noise of t = 0 is that of t_0 seconds."""
        now = power_law(g, nu, t, self.t_0)
        size = jnp.abs(now) * self.read_noise_scale * self.read_factor(g) * read_growth(t, self.t_0, self.t_read)
        return jnp.maximum(now + (size * z[0]).astype(now.dtype), 0)


class CustomDriftPCMLikeNoiseModel(PCMLikeNoiseModel):
    """The same with a drift of one's own: {g_lst (uS, ascending), nu_mean_lst, nu_std_lst}, interpolated between."""

    def __init__(
        self,
        custom_drift_model: dict[str, Sequence[float]],
        prog_coeff: Sequence[float] | None = None,
        g_converter: BaseConductanceConverter | None = None,
        g_max: float | None = None,
        t_read: float = 250.0e-9,
        t_0: float = 20.0,
        prog_noise_scale: float = 1.0,
        read_noise_scale: float = 1.0,
        drift_scale: float = 1.0,
        prog_coeff_g_max_reference: float | None = None,
    ) -> None:
        super().__init__(
            prog_coeff, g_converter, g_max, t_read, t_0, prog_noise_scale, read_noise_scale, drift_scale,
            prog_coeff_g_max_reference,
        )  # fmt: skip
        names = ("g_lst", "nu_mean_lst", "nu_std_lst")
        if set(custom_drift_model) != set(names):
            raise NoiseModelError(f"custom_drift_model has {sorted(custom_drift_model)}: expected {', '.join(names)}")
        lists = {k: [float(v) for v in custom_drift_model[k]] for k in names}
        g = lists["g_lst"]
        if len({len(v) for v in lists.values()}) != 1 or len(g) < 2 or sorted(g) != g:
            raise NoiseModelError(
                "custom_drift_model: expected three lists of one length of at least 2, g_lst ascending"
            )
        if self.g_converter.g_min < g[0] or self.g_converter.g_max > g[-1]:
            raise NoiseModelError(
                f"custom_drift_model: g_lst spans {g[0]} to {g[-1]} uS, but the converter's conductances "
                f"{self.g_converter.g_min} to {self.g_converter.g_max}"
            )
        self.custom_drift_model = lists

    def drift_statistics(self, g: Any) -> tuple[Any, Any]:
        m = {k: jnp.asarray(v, g.dtype) for k, v in self.custom_drift_model.items()}
        return jnp.interp(g, m["g_lst"], m["nu_mean_lst"]), jnp.interp(g, m["g_lst"], m["nu_std_lst"])


# ---- Hermes -------------------------------------------------------------------------------------------

HERMES = {
    2: {"prog": (0.16603222, 4.71806468, -8.48101252, 4.68961419), "g_max": 20.7, "t_0": 300.0},
    1: {"prog": (0.15781817, 2.32443916, -2.16310839, 0.68841818), "g_max": 10.35, "t_0": 200.0},
}  # fmt: skip


def _pieces(x: Any, at: float, line: tuple[float, float], bounds: tuple[float, float], rest: Sequence[float]) -> Any:
    """A clipped line in ln x below `at`, a polynomial above."""
    low = jnp.clip(line[0] * jnp.log(x) + line[1], *bounds)
    return jnp.where(x < at, low, polynomial(rest, x))


class HermesNoiseModel(PCMLikeNoiseModel):
    """The devices of the Hermes chip, with num_devices (1 or 2) in parallel for each conductance.

    g_max: at most what was characterized, 20.7 uS (two devices) or 10.35 uS.  A converter may span more, as in
    aihwkit: the curves hold relative to its g_max.
    """

    def __init__(
        self,
        prog_coeff: Sequence[float] | None = None,
        g_converter: BaseConductanceConverter | None = None,
        num_devices: int = 2,
        g_max: float | None = None,
        t_read: float = 512.0e-9,
        t_0: float | None = None,
        prog_noise_scale: float = 1.0,
        read_noise_scale: float = 1.0,
        drift_scale: float = 1.0,
        prog_coeff_g_max_reference: float | None = None,
    ) -> None:
        if num_devices not in HERMES:
            raise CharacterizationError(f"num_devices is {num_devices!r}: the chip was characterized with 1 and 2")
        known: dict[str, Any] = HERMES[num_devices]
        if g_max is not None and g_max > known["g_max"]:
            raise CharacterizationError(f"g_max is {g_max} uS: the chip was characterized up to {known['g_max']}")
        super().__init__(
            known["prog"] if prog_coeff is None else prog_coeff,
            g_converter,
            known["g_max"] if g_max is None else g_max,
            t_read,
            known["t_0"] if t_0 is None else t_0,
            prog_noise_scale,
            read_noise_scale,
            drift_scale,
            known["g_max"] if prog_coeff is None and prog_coeff_g_max_reference is None else prog_coeff_g_max_reference,
        )
        self.num_devices = num_devices

    def drift_statistics(self, g: Any) -> tuple[Any, Any]:
        x = relative(g, self.g_max)
        mean = _pieces(x, 0.0945, (-0.0387, -0.0182), (0.072, 0.13), (0.0736, -0.0126, -0.0436))
        if self.num_devices == 2:
            return mean, _pieces(x, 0.3055, (-0.0117, -0.0057), (0.0091, 0.04), (0.0073, 0.0093, -0.0118))
        return mean, _pieces(x, 0.3039, (-0.0120, -0.0023), (0.0124, 0.04), (0.0104, 0.0116, -0.0165))

    def read_factor(self, g: Any) -> Any:
        x = relative(g, self.g_max)
        if self.num_devices == 2:
            return _pieces(x, 0.16, (-0.0117, -0.0069), (0.015, 0.04), (0.0123, 0.0211, -0.0280, 0.0069))
        return _pieces(x, 0.1591, (-0.0078, 0.0038), (0.0179, 0.04), (0.0088, 0.0768, -0.1352, 0.0664))


# ---- independent of the state -------------------------------------------------------------------------


class StateIndependentNoiseModel(BaseNoiseModel):
    """Noise and drift of one size, whatever the conductance; for comparisons and devices of one's own."""

    def __init__(
        self,
        g_converter: BaseConductanceConverter | None = None,
        g_max: float | None = None,
        prog_coeff: Sequence[float] | None = None,
        prog_noise_scale: float = 1.0,
        drift_nu_mean: float = 0.1,
        drift_nu_std: float = 0.05,
        drift_scale: float = 1.0,
        t_0: float = 20.0,
        read_noise_scale: float = 1.0,
        t_read: float = 250.0e-9,
    ) -> None:
        super().__init__(SinglePairConductanceConverter(g_max=g_max) if g_converter is None else g_converter)
        self.g_max = self.g_converter.g_max
        self.prog_coeff = [0.2, 0.0, 0.0] if prog_coeff is None else list(prog_coeff)
        self.prog_noise_scale, self.read_noise_scale = float(prog_noise_scale), float(read_noise_scale)
        self.drift_nu_mean, self.drift_nu_std = float(drift_nu_mean), float(drift_nu_std)
        self.drift_scale, self.t_0, self.t_read = float(drift_scale), float(t_0), float(t_read)

    def sigma_programming(self, g: Any) -> Any:
        """In uS: sum c_i (g / g_max)^i."""
        return self.prog_noise_scale * polynomial(self.prog_coeff, g / self.g_max)

    def drift_statistics(self, g: Any) -> tuple[Any, Any]:
        return jnp.full_like(g, self.drift_nu_mean), jnp.full_like(g, self.drift_nu_std)

    def programmed(self, g: Any, z: Any) -> Any:
        return jnp.maximum(g + self.sigma_programming(g) * z, 0)

    def coefficients(self, g: Any, z: Any) -> Any:
        return self.drift_scale * jnp.abs(self.drift_nu_mean + self.drift_nu_std * z)

    def drifted(self, g: Any, nu: Any, t: Any, z: Any) -> Any:
        now = power_law(g, nu, t, self.t_0)
        size = jnp.abs(now / self.g_max) * self.read_noise_scale * read_growth(t, self.t_0, self.t_read)
        return jnp.maximum(now + (size * z[0]).astype(now.dtype), 0)
