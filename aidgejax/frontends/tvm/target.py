"""tvm.target."""

from .relax.vm import Target

__all__ = ["Target"]
