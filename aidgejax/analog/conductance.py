"""Weights as conductances of devices, and back.

    conductances, params = SinglePairConductanceConverter().convert_to_conductances(weight)
    weight = converter.convert_back_to_weights(conductances, params)

A converter maps the whole weight matrix of one tile to a list of conductance matrices in uS, with one scale for all of
it.  Classes, arguments and formulas are those of aihwkit.  Arrays in, arrays out; what has `new_tensor` (a torch
tensor) comes back as such.
"""

from __future__ import annotations

import copy
import numbers
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..dtypes import Arrays
from ..errors import AidgeJaxError
from .errors import ArgumentError, ArgumentTypeError

SMALLEST = 1e-7  # of max |w|: a weight of zeros has a scale too


class ConverterError(AidgeJaxError, ValueError):
    """Conductance bounds, factors or lists that no converter can have."""


class NotInvertible(AidgeJaxError, ArithmeticError):
    """Conductance lists from which the weight cannot be found again."""


def as_array(x: Any) -> Any:
    """x as a JAX array; a tensor that knows `detach` is read, never shared.  ArgumentTypeError for what is none."""
    try:
        return jnp.asarray(np.array(x.detach().cpu().numpy()) if hasattr(x, "detach") else x)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"got a {type(x).__name__}: expected an array, or a tensor, of numbers") from None


def like(result: Any, original: Any) -> Any:
    """The result as the kind of thing that `original` is."""
    return original.new_tensor(np.asarray(result)) if hasattr(original, "new_tensor") else result


def magnitude(w: Any) -> Any:
    return jnp.maximum(jnp.max(jnp.abs(w)), SMALLEST)


class BaseConductanceConverter:
    """g_max, g_min: bounds of every conductance in uS; scale_ratio: None, the ratio is in the params."""

    scale_ratio = None

    def __init__(self, g_max: float | None = None, g_min: float | None = None) -> None:
        if g_max is None or g_min is None:
            return  # a script's own, which holds what it needs
        for name, value in (("g_max", g_max), ("g_min", g_min)):
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise ArgumentTypeError(f"{type(self).__name__} got {name}={value!r}: expected a number of uS")
        if g_max < 0 or g_min < 0 or g_min >= g_max:
            raise ConverterError(f"g_min is {g_min} and g_max {g_max}: expected 0 <= g_min < g_max, in uS")
        self.g_max, self.g_min = float(g_max), float(g_min)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __str__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in vars(self).items())})"

    def convert_to_conductances(self, weights: Any) -> tuple[list[Any], Arrays]:
        """(conductance matrices in uS, params for the way back) of weights f[out, in]."""
        found, params = self.to_conductances(as_array(weights))
        return [like(g, weights) for g in found], params

    def convert_back_to_weights(self, conductances: Sequence[Any], params: Arrays) -> Any:
        """The weights of these conductances.  ConverterError where params or a matrix is missing."""
        if "scale_ratio" not in params:
            raise ConverterError(
                f"{type(self).__name__}: params lack 'scale_ratio', which convert_to_conductances gives"
            )
        if len(conductances) != self.matrices:
            raise ConverterError(
                f"{type(self).__name__} got {len(conductances)} conductance matrices: expected {self.matrices}"
            )
        return like(self.to_weights([as_array(g) for g in conductances], params), conductances[0])

    @property
    def matrices(self) -> int:
        """How many conductance matrices one weight matrix becomes."""
        return 2

    def to_conductances(self, w: Any) -> tuple[list[Any], Arrays]:
        raise ConverterError("BaseConductanceConverter converts nothing: take one of its kinds")

    def to_weights(self, g: Sequence[Any], params: Arrays) -> Any:
        raise ConverterError("BaseConductanceConverter converts nothing: take one of its kinds")


class ScriptConverter:
    """A converter whose class has methods of aihwkit's names of its own: those are called.

    original: None, or a tensor; the methods see tensors like it.
    """

    def __init__(self, converter: BaseConductanceConverter, original: Any = None) -> None:
        self.converter, self.original = converter, original

    def to_conductances(self, w: Any) -> tuple[list[Any], Any]:
        found, params = self.converter.convert_to_conductances(like(w, self.original))
        return [as_array(g) for g in found], params

    def to_weights(self, g: Sequence[Any], params: Any) -> Any:
        return as_array(self.converter.convert_back_to_weights([like(v, self.original) for v in g], params))


def as_scripts_have_it(converter: Any, original: Any = None) -> Any:
    """The converter; a ScriptConverter where its class overrides a method of aihwkit's name."""
    names = ("convert_to_conductances", "convert_back_to_weights")
    methods = [getattr(type(converter), n, None) for n in names]
    own = any(m is not None and not m.__module__.startswith("aidgejax.") for m in methods)
    return ScriptConverter(converter, original if hasattr(original, "new_tensor") else None) if own else converter


class SinglePairConductanceConverter(BaseConductanceConverter):
    """A device for each sign: g+ = max(k w, 0) + g_min, g- = max(-k w, 0) + g_min, k = (g_max - g_min) / max |w|."""

    def __init__(self, g_max: float | None = None, g_min: float | None = None) -> None:
        super().__init__(25.0 if g_max is None else g_max, 0.0 if g_min is None else g_min)

    def to_conductances(self, w: Any) -> tuple[list[Any], Arrays]:
        k = (self.g_max - self.g_min) / magnitude(w)
        return [jnp.clip(s * k * w, 0, self.g_max) + self.g_min for s in (1, -1)], {"scale_ratio": k}

    def to_weights(self, g: Sequence[Any], params: Arrays) -> Any:
        return ((g[0] - self.g_min) - (g[1] - self.g_min)) / params["scale_ratio"]


class SingleDeviceConductanceConverter(BaseConductanceConverter):
    """One device: g = (w - min w) k + g_min, k = (g_max - g_min) / (max w - min w)."""

    def __init__(self, g_max: float | None = None, g_min: float | None = None) -> None:
        super().__init__(88.199997 if g_max is None else g_max, 9.0 if g_min is None else g_min)

    matrices = 1

    def to_conductances(self, w: Any) -> tuple[list[Any], Arrays]:
        low = jnp.min(w)
        k = (self.g_max - self.g_min) / jnp.maximum(jnp.max(w) - low, SMALLEST)
        return [(w - low) * k + self.g_min], {"scale_ratio": k, "min": low}

    def convert_to_conductances(self, weights: Any) -> tuple[Any, Arrays]:
        """As of the others, but the one matrix itself, as in aihwkit."""
        found, params = super().convert_to_conductances(weights)
        return found[0], params

    def convert_back_to_weights(self, conductances: Any, params: Arrays) -> Any:
        if "min" not in params:
            raise ConverterError(f"{type(self).__name__}: params lack 'min', which convert_to_conductances gives")
        given = list(conductances) if isinstance(conductances, list | tuple) else [conductances]
        return super().convert_back_to_weights(given, params)

    def to_weights(self, g: Sequence[Any], params: Arrays) -> Any:
        return params["min"] + (g[0] - self.g_min) / params["scale_ratio"]


class NPairConductanceConverter(BaseConductanceConverter):
    """Pairs of significance f_lst, filled one after the other: w k = sum over pairs of f (g+ - g-)."""

    def __init__(self, f_lst: Sequence[float], g_max: float | None = None, g_min: float | None = None) -> None:
        super().__init__(25.0 if g_max is None else g_max, 0.0 if g_min is None else g_min)
        if not isinstance(f_lst, list) or not f_lst or min(f_lst) < 0 or sum(f_lst) <= 0:
            raise ConverterError(f"f_lst is {f_lst!r}: expected a list of factors of at least 0, one above it")
        self.f_lst = [float(f) for f in f_lst]

    @property
    def matrices(self) -> int:
        return 2 * len(self.f_lst)

    def to_conductances(self, w: Any) -> tuple[list[Any], Arrays]:
        k = sum(self.f_lst) * (self.g_max - self.g_min) / magnitude(w)
        found, low = [], 0.0
        for f in self.f_lst:
            for s in (1, -1):
                rest = (jnp.maximum(s * k * w, 0) - low) / f if f else jnp.zeros_like(w)
                found.append(jnp.clip(rest + self.g_min, self.g_min, self.g_max))
            low += f * (self.g_max - self.g_min)
        return found, {"scale_ratio": k}

    def to_weights(self, g: Sequence[Any], params: Arrays) -> Any:
        pairs = zip(self.f_lst, g[::2], g[1::2], strict=True)
        return sum(f * (up - down) for f, up, down in pairs) / params["scale_ratio"]


class DualPairConductanceConverter(NPairConductanceConverter):
    """Two pairs."""

    def __init__(self, f_lst: Sequence[float], g_max: float | None = None, g_min: float | None = None) -> None:
        if len(f_lst) != 2:
            raise ConverterError(f"f_lst has {len(f_lst)} factors: expected 2")
        super().__init__(f_lst, g_max, g_min)


class CustomPairConductanceConverter(BaseConductanceConverter):
    """Pairs whose conductances over an even grid of weights are given: g_lst holds two lists for each factor."""

    def __init__(
        self,
        f_lst: Sequence[float],
        g_lst: Sequence[Sequence[float]],
        g_max: float | None = None,
        g_min: float | None = None,
        invertibility_test: bool = True,
    ) -> None:
        super().__init__(25.0 if g_max is None else g_max, 0.0 if g_min is None else g_min)
        if not len(f_lst) or len(g_lst) != 2 * len(f_lst) or len({len(g) for g in g_lst}) != 1 or len(g_lst[0]) < 2:
            raise ConverterError(
                f"g_lst has lists of lengths {[len(g) for g in g_lst]}: expected 2 for each of the {len(f_lst)} "
                f"factors of f_lst, of one length of at least 2"
            )
        if any(not self.g_min <= g <= self.g_max for gs in g_lst for g in gs):
            raise ConverterError(f"g_lst has conductances outside [{self.g_min}, {self.g_max}] uS")
        self.f_lst = [float(f) for f in f_lst]
        self.g_lst = [[float(g) for g in gs] for gs in g_lst]
        if invertibility_test:
            self.invertibility_test()

    @property
    def matrices(self) -> int:
        return len(self.g_lst)

    def invertibility_test(self) -> None:
        """NotInvertible unless weights of -1 to 1 come back."""
        w = jnp.linspace(-1, 1, 101)
        g, params = self.to_conductances(w)
        if not np.allclose(self.to_weights(g, params), w, atol=1e-4):
            raise NotInvertible(
                "the conductance lists of g_lst are not invertible: weights of -1 to 1 do not come back"
            )

    def _grid(self) -> np.ndarray:
        pairs = zip(self.f_lst, self.g_lst[::2], self.g_lst[1::2], strict=True)
        return np.sum([f * (np.asarray(up) - np.asarray(down)) for f, up, down in pairs], axis=0)

    def to_conductances(self, w: Any) -> tuple[list[Any], Arrays]:
        most = float(np.abs(self._grid()).max())
        k = most / magnitude(w)
        at = jnp.linspace(-most, most, len(self.g_lst[0])) / k
        return [jnp.interp(w, at, jnp.asarray(g, w.dtype)) for g in self.g_lst], {"scale_ratio": k}

    def to_weights(self, g: Sequence[Any], params: Arrays) -> Any:
        pairs = zip(self.f_lst, g[::2], g[1::2], strict=True)
        return sum(f * (up - down) for f, up, down in pairs) / params["scale_ratio"]


class FusionConductanceConverter(BaseConductanceConverter):
    """Magnitudes for the Fusion chip: |w| g_max / max |row|, one matrix; signs and scales come from the weights."""

    matrices = 1

    def __init__(self, g_max: float = 40) -> None:
        if not 10 <= g_max <= 40:
            raise ArgumentError(f"g_max is {g_max} uS: the Fusion chip has 10 to 40")
        super().__init__(g_max, 0.0)

    def to_conductances(self, w: Any) -> tuple[list[Any], Arrays]:
        row = jnp.maximum(jnp.max(jnp.abs(w), axis=-1, keepdims=True), SMALLEST)
        return [jnp.abs(w) * self.g_max / row], {"scale_ratio": self.g_max / row, "weights": w}

    def to_weights(self, g: Sequence[Any], params: Arrays) -> Any:
        """Of each row the slope of a least-squares line, with intercept, of its weights on its signed conductances."""
        w = as_array(params["weights"])
        signed = g[0] * jnp.sign(w)
        x = signed - jnp.mean(signed, axis=-1, keepdims=True)
        y = w - jnp.mean(w, axis=-1, keepdims=True)
        slope = jnp.sum(x * y, axis=-1, keepdims=True) / jnp.maximum(
            jnp.sum(x * x, axis=-1, keepdims=True), SMALLEST**2
        )
        return signed * slope


def copied(converter: BaseConductanceConverter | None) -> BaseConductanceConverter:
    """A converter of one's own; a single pair for None.  ArgumentTypeError for what converts nothing."""
    if converter is not None and not hasattr(converter, "convert_to_conductances"):
        raise ArgumentTypeError(
            f"g_converter is {converter!r}: expected a conductance converter, such as SinglePairConductanceConverter()"
        )
    return SinglePairConductanceConverter() if converter is None else copy.deepcopy(converter)
