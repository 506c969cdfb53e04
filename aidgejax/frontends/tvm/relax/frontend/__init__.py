"""tvm.relax.frontend: models of other systems as modules.  ONNX is the way in; see `onnx`."""

from . import nn, onnx, torch
from .onnx import detach_params

__all__ = ["detach_params", "nn", "onnx", "torch"]
