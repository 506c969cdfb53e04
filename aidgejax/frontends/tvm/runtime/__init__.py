"""tvm.runtime: devices, tensors, reports."""

from . import profiling
from .tensors import Device, Tensor, check, cpu, cuda, device_from_target, tensor, unwrap

__all__ = ["Device", "Tensor", "check", "cpu", "cuda", "device_from_target", "profiling", "tensor", "unwrap"]
