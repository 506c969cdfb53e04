"""ONNX in and out.  The only room of the core that imports onnx."""

from .reader import read
from .writer import to_model, write

__all__ = ["read", "to_model", "write"]
