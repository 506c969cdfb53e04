"""Drift compensation: how much weaker a tile answers than just after programming, and the factor that makes up for it.

A compensation reads the outputs of all unit vectors, or of what it asks with; alpha = baseline / readout.
Classes of aihwkit's names.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .conductance import as_array, like

LEAST = 1e-4  # of a readout, so that alpha is finite


class BaseDriftCompensation:
    """by_output: one factor for each output; exact: the baseline is that of the ideal, unprogrammed weights."""

    by_output = False
    exact = False

    def readout(self, out_tensor: Any) -> Any:
        """f[1] or f[out] of the outputs out_tensor f[n, out] that the inputs of get_readout_tensor give.

        Of an array or a tensor, and such is the answer.
        """
        return like(jnp.ones(1, as_array(out_tensor).dtype), out_tensor)

    def get_readout_tensor(self, in_size: int) -> Any:
        """f[n, in_size]: the inputs whose outputs `readout` sees; by default the unit vectors."""
        return jnp.eye(in_size)

    def apply(self, forward_output: Any, ref_value: Any) -> Any:
        """alpha: what was read just after programming, divided by what these outputs read."""
        read = self.readout(forward_output)
        return (jnp.asarray(ref_value) if isinstance(read, jax.Array) else ref_value) / read

    def init_baseline(self, tile: Any) -> Any:
        """What `tile`, one of a front end's layer, reads now, or would read exactly where `exact`."""
        return tile.drift_readout(self)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class GlobalDriftCompensation(BaseDriftCompensation):
    """One factor for the tile: from the mean magnitude of all outputs."""

    def readout(self, out_tensor: Any) -> Any:
        magnitude = jnp.mean(jnp.abs(as_array(out_tensor)))
        return like(jnp.maximum(jnp.reshape(magnitude, (1,)), LEAST), out_tensor)


class GlobalDriftCompensationWithExactReference(GlobalDriftCompensation):
    """The same, relative to the weights that were to be programmed, without converters."""

    exact = True


class PerColumnDriftCompensation(BaseDriftCompensation):
    """One factor for each output: from the mean magnitude over the unit vectors."""

    by_output = True

    def readout(self, out_tensor: Any) -> Any:
        return like(jnp.maximum(jnp.mean(jnp.abs(as_array(out_tensor)), axis=0), LEAST), out_tensor)
