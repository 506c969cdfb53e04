"""ONNX in and out.  The only room of the core that imports onnx."""

from .exporter.writer import to_model, write
from .importer.reader import read

__all__ = ["read", "to_model", "write"]
