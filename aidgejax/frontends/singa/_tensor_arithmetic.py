"""The operators of tensors, which autograd does not record."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ._errors import DoesNotFit


class Arithmetic:
    """+ - * / // and comparisons with tensors that broadcast and with numbers; the same in place.

    computed(function, *operands): what a tensor makes of a function of arrays.
    """

    name: Any
    shape: Any
    data: Any
    computed: Any
    set_value: Any
    _fill: Any

    def __add__(self, x: Any) -> Any:
        return self.computed(jnp.add, self, x)

    def __sub__(self, x: Any) -> Any:
        return self.computed(jnp.subtract, self, x)

    def __mul__(self, x: Any) -> Any:
        return self.computed(jnp.multiply, self, x)

    def __truediv__(self, x: Any) -> Any:
        return self.computed(jnp.divide, self, x)

    def __floordiv__(self, x: Any) -> Any:
        return self.computed(jnp.floor_divide, self, x)

    def __radd__(self, x: Any) -> Any:
        return self.computed(jnp.add, x, self)

    def __rsub__(self, x: Any) -> Any:
        return self.computed(jnp.subtract, x, self)

    def __rmul__(self, x: Any) -> Any:
        return self.computed(jnp.multiply, x, self)

    def __rtruediv__(self, x: Any) -> Any:
        return self.computed(jnp.divide, x, self)

    def __neg__(self) -> Any:
        return self.computed(jnp.negative, self)

    def __lt__(self, x: Any) -> Any:
        return self.computed(jnp.less, self, x)

    def __le__(self, x: Any) -> Any:
        return self.computed(jnp.less_equal, self, x)

    def __gt__(self, x: Any) -> Any:
        return self.computed(jnp.greater, self, x)

    def __ge__(self, x: Any) -> Any:
        return self.computed(jnp.greater_equal, self, x)

    def __eq__(self, x: Any) -> Any:  # type: ignore[override]  # element by element, as SINGA; so a tensor has no hash
        return self.computed(jnp.equal, self, x)

    def __iadd__(self, x: Any) -> Any:
        return self._in_place(self._or_zeros() + x)

    def __isub__(self, x: Any) -> Any:
        return self._in_place(self._or_zeros() - x)

    def __imul__(self, x: Any) -> Any:
        return self._in_place(self._or_zeros() * x)

    def __itruediv__(self, x: Any) -> Any:
        return self._in_place(self._or_zeros() / x)

    def _or_zeros(self) -> Any:
        """In-place arithmetic on a tensor that nobody filled starts from zeros, as in SINGA's fresh memory."""
        return self if self.data.filled else self.set_value(0)

    def _in_place(self, result: Any) -> Any:
        if result.shape != self.shape:
            raise DoesNotFit(
                f"tensor {self.name} of shape {list(self.shape)} cannot become {list(result.shape)} in place"
            )
        return self._fill(result.array)

    # Rows and columns of a matrix, in place, by a vector.

    def add_column(self, v: Any) -> None:
        """v added to each column."""
        self._in_place(self + v.reshape((v.size(), 1)))

    def add_row(self, v: Any) -> None:
        """v added to each row."""
        self._in_place(self + v.reshape((1, v.size())))

    def div_column(self, v: Any) -> None:
        """Each column divided by v."""
        self._in_place(self / v.reshape((v.size(), 1)))

    def div_row(self, v: Any) -> None:
        """Each row divided by v."""
        self._in_place(self / v.reshape((1, v.size())))

    def mult_column(self, v: Any) -> None:
        """Each column times v."""
        self._in_place(self * v.reshape((v.size(), 1)))

    def mult_row(self, v: Any) -> None:
        """Each row times v."""
        self._in_place(self * v.reshape((1, v.size())))
