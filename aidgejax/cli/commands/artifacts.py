"""Training artifacts of a model."""

from __future__ import annotations

from ...frontends.onnxruntime.training.command import HELP, add_arguments, run

__all__ = ["HELP", "add_arguments", "run"]
