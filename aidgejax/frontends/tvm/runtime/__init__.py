"""tvm.runtime: devices, tensors, reports."""

from . import profiling
from .tensors import Device, Tensor, check, cpu, cuda, tensor, unwrap

__all__ = ["Device", "Tensor", "check", "cpu", "cuda", "profiling", "tensor", "unwrap"]
