"""tvm.relax.testing, as far as checkpoints use it."""

from . import nn

__all__ = ["nn"]
