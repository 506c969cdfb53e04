"""onnxruntime.training.api: training with artifacts, in JAX or (backend="onnxruntime") in plain onnxruntime."""

from .checkpoint_state import CheckpointState, Parameter, Parameters, Properties
from .lr_scheduler import LinearLRScheduler
from .module import Module
from .optimizer import Optimizer

__all__ = ["CheckpointState", "LinearLRScheduler", "Module", "Optimizer", "Parameter", "Parameters", "Properties"]
