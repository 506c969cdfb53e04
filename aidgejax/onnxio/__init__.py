"""ONNX in and out.  The only package below the front ends that imports onnx."""

from .exporter.writer import to_model, write
from .importer.reader import read
from .step.targets import Target, outside
from .step.write import read_step, read_trained, write_step

__all__ = ["Target", "outside", "read", "read_step", "read_trained", "to_model", "write", "write_step"]
