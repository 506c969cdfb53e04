"""tvm.runtime: devices, tensors, reports."""

from . import profiling
from .tensors import Device, Tensor, check, cpu, cuda, device_from_target, empty, tensor, unwrap

__all__ = ["Device", "Tensor", "check", "cpu", "cuda", "device_from_target", "empty", "profiling", "tensor", "unwrap"]
