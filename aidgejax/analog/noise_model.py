"""What happens to conductances: the shape of every noise model, and how it acts on weights.

    model = PCMLikeNoiseModel(g_max=25.0)
    programmed, coefficients = model.apply_programming_noise(weight, key=key)
    drifted = model.apply_drift_noise(programmed, coefficients, t, key=key)        # t in seconds; may be traced

A kind of model says what becomes of conductances in uS when the standard normal draws z are given: `programmed`,
`coefficients`, `drifted`; or it overrides the methods of aihwkit's names, which then hold, on tiles too.
These are pure functions; the methods of aihwkit's names draw z from `key`.  Without a key
they draw from NumPy's global generator, or for tensors from their library's, so that its seed holds.
The noise acts as in aihwkit: weights become conductances, and the noisy conductances weights again; drift converts
those once more, with a scale of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .conductance import BaseConductanceConverter, as_array, as_scripts_have_it, copied, like
from .errors import AihwkitException

LEAST_RELATIVE = 1e-7  # conductance whose logarithm is taken
Draw = Callable[[tuple[int, ...], Any], Any]


class NoiseModelError(AihwkitException, ValueError):
    """A noise model's argument that cannot be, or a time that it does not know."""


def draws(key: Any, x: Any = None) -> Draw:
    """draw(shape, dtype): standard normal numbers, fresh with every call."""
    if key is None:
        owner = hasattr(x, "new_empty")
        seed = int(x.new_empty(1).double().uniform_() * 2**31) if owner else int(np.random.randint(2**31))
        key = jax.random.key(seed)
    count = iter(range(1 << 30))
    return lambda shape, dtype: jax.random.normal(jax.random.fold_in(key, next(count)), shape, dtype)


class BaseNoiseModel:
    """g_converter: how weights become conductances; copied; default SinglePairConductanceConverter()."""

    normals_of_drift = 1
    """How many standard normal numbers each conductance's drift takes."""

    draws_coefficients = True
    """Whether a drift coefficient takes one."""

    takes_any_time = True
    """Whether times may be traced: False of models that know single ones."""

    def __init__(self, g_converter: BaseConductanceConverter | None = None) -> None:
        self.g_converter = copied(g_converter)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __str__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in vars(self).items())})"

    __repr__ = __str__

    # ---- conductances, with the draws given ---------------------------------------------------------------

    def programmed(self, g: Any, z: Any) -> Any:
        """The conductances in uS that programming the targets g ends in."""
        return g

    def coefficients(self, g: Any, z: Any) -> Any:
        """The drift coefficient of every device, from its target g."""
        return jnp.zeros_like(g)

    def drifted(self, g: Any, nu: Any, t: Any, z: Any) -> Any:
        """The conductances read t seconds after programming.  z: [normals_of_drift, *shape of g]."""
        return g

    # ---- aihwkit's names ----------------------------------------------------------------------------------

    def apply_programming_noise_to_conductance(self, g_target: Any, key: Any = None) -> Any:
        g = as_array(g_target)
        return like(self.programmed(g, draws(key, g_target)(g.shape, g.dtype)), g_target)

    def generate_drift_coefficients(self, g_target: Any, key: Any = None) -> Any:
        g = as_array(g_target)
        return like(self.coefficients(g, draws(key, g_target)(g.shape, g.dtype)), g_target)

    def apply_drift_noise_to_conductance(
        self, g_prog: Any, drift_noise_param: Any, t_inference: Any, key: Any = None
    ) -> Any:
        g = as_array(g_prog)
        z = draws(key, g_prog)((self.normals_of_drift, *g.shape), g.dtype)
        return like(
            self.drifted(g, None if drift_noise_param is None else as_array(drift_noise_param), t_inference, z), g_prog
        )

    def apply_programming_noise(self, weights: Any, key: Any = None) -> tuple[Any, list[Any]]:
        """(the weights that programming ends in, the drift coefficients of each of the converter's matrices)."""
        w = as_array(weights)
        noisy, nus = self._program_weights(w, draws(key, weights), weights)
        return like(noisy, weights), [like(nu, weights) for nu in nus]

    def apply_drift_noise(
        self, weights: Any, drift_noise_parameters: Sequence[Any], t_inference: Any, key: Any = None
    ) -> Any:
        """The weights as they are read t_inference seconds after the programming that gave `weights`."""
        nus = [None if nu is None else as_array(nu) for nu in drift_noise_parameters]
        return like(self._drift_weights(as_array(weights), nus, t_inference, draws(key, weights), weights), weights)

    def apply_noise(self, weights: Any, t_inference: float, key: Any = None) -> Any:
        """Programming and drift on the conductances, without going back to weights in between.  t_inference > 0."""
        if not t_inference > 0:
            raise NoiseModelError(
                f"t_inference is {t_inference}: apply_noise needs a time after programming, above 0 s"
            )
        w, draw = as_array(weights), draws(key, weights)
        converter = as_scripts_have_it(self.g_converter, weights)
        targets, params = converter.to_conductances(w)
        read = []
        for g in targets:
            now, nu = self._programmed(g, draw, weights), self._coefficients(g, draw, weights)
            read.append(self._drifted(now, nu, t_inference, draw, weights))
        return like(converter.to_weights(read, params), weights)

    # ---- weights, with a source of draws ------------------------------------------------------------------

    def program_weights(self, w: Any, draw: Draw) -> tuple[Any, list[Any]]:
        """What programming makes of a tile's weights, and their drift coefficients."""
        if not self.overrides("apply_programming_noise"):
            return self._program_weights(w, draw)
        noisy, nus = self.apply_programming_noise(w)
        return as_array(noisy), [None if nu is None else as_array(nu) for nu in nus or ()]

    def drift_weights(self, w: Any, nus: Sequence[Any], t: Any, draw: Draw) -> Any:
        """What a tile reads t seconds after the programming that gave w."""
        if not self.overrides("apply_drift_noise"):
            return self._drift_weights(w, nus, t, draw)
        return as_array(self.apply_drift_noise(w, nus, t))

    def _program_weights(self, w: Any, draw: Draw, original: Any = None) -> tuple[Any, list[Any]]:
        """original: a tensor, where a script's own converter is to see tensors like it."""
        converter = as_scripts_have_it(self.g_converter, original)
        targets, params = converter.to_conductances(w)
        found, nus = [], []
        for g in targets:
            found.append(self._programmed(g, draw, original))
            nus.append(self._coefficients(g, draw, original))
        return converter.to_weights(found, params), nus

    def _drift_weights(self, w: Any, nus: Sequence[Any], t: Any, draw: Draw, original: Any = None) -> Any:
        converter = as_scripts_have_it(self.g_converter, original)
        # Noise on the device that was to be off is part of the weight's sign by now; aihwkit converts likewise.
        held, params = converter.to_conductances(w)
        read = [self._drifted(g, nu, t, draw, original) for g, nu in zip(held, nus, strict=True)]
        return converter.to_weights(read, params)

    # A class of a script's own overrides the methods of aihwkit's names; then they say what happens, to tensors
    # where the original is one.

    def overrides(self, name: str) -> bool:
        """Whether the class has a method of its own in the place of this one."""
        return getattr(type(self), name) is not getattr(BaseNoiseModel, name)

    def _programmed(self, g: Any, draw: Draw, original: Any = None) -> Any:
        if self.overrides("apply_programming_noise_to_conductance"):
            return as_array(self.apply_programming_noise_to_conductance(like(g, original)))
        return self.programmed(g, draw(g.shape, g.dtype))

    def _coefficients(self, g: Any, draw: Draw, original: Any = None) -> Any:
        if self.overrides("generate_drift_coefficients"):
            found = self.generate_drift_coefficients(like(g, original))
            return None if found is None else as_array(found)
        return self.coefficients(g, draw(g.shape, g.dtype) if self.draws_coefficients else None)

    def _drifted(self, g: Any, nu: Any, t: Any, draw: Draw, original: Any = None) -> Any:
        if self.overrides("apply_drift_noise_to_conductance"):
            shown = None if nu is None else like(nu, original)
            return as_array(self.apply_drift_noise_to_conductance(like(g, original), shown, t))
        return self.drifted(g, nu, t, draw((self.normals_of_drift, *g.shape), g.dtype))


def polynomial(coefficients: Sequence[float], x: Any) -> Any:
    """sum coefficients_i x^i"""
    total = jnp.zeros_like(x)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def relative(g: Any, g_max: float) -> Any:
    """|g| / g_max, not 0."""
    return jnp.maximum(jnp.abs(g / g_max), LEAST_RELATIVE)


def power_law(g: Any, nu: Any, t: Any, t_0: float) -> Any:
    """g ((t + t_0) / t_0)^-nu after programming, g at it and before."""
    age = jnp.maximum((t + t_0) / t_0, 1.0)
    return g * jnp.exp(-nu * jnp.log(age)).astype(g.dtype)


def read_growth(t: Any, t_0: float, t_read: float) -> Any:
    """sqrt(ln((T + t_read) / (2 t_read))), T = t + t_0: how read noise has grown; 0 for T of at most 0."""
    since = jnp.maximum(t + t_0, 0.0)
    inside = jnp.log(since + t_read) - np.log(2 * t_read)
    return jnp.sqrt(jnp.maximum(inside, 0.0)) * (since > 0)
