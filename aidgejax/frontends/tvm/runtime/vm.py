"""tvm.runtime.vm."""

from ..relax.vm import VirtualMachine

__all__ = ["VirtualMachine"]
