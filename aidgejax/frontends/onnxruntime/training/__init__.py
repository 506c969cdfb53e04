"""onnxruntime.training: artifacts (write them), onnxblock (build losses and models of blocks), api (train with them).

Where this front end does otherwise than ONNX Runtime 1.19.2, on purpose:

* Artifacts hold standard ONNX operators only and run in any ONNX runtime; the accumulated gradient is a float output.
  `generate_artifacts(..., runtime="onnxruntime-training")` writes what ONNX Runtime's own training build loads.
* Losses with reduction "none", class weights and `ignore_index` are right; a loss of many numbers is differentiated as
  their sum.  BCEWithLogitsLoss stays finite.  CrossEntropyLoss takes classes on the last axis of [N, S, V].
* Nothing is written unless everything can be: no file stays behind after an error.
* A second graph output is not taken for the target: say which outputs the loss takes (loss_input_names).
* frozen_params is checked as requires_grad is; only what is listed becomes an input.
* LinearLRScheduler takes warm-up and total in the documented order.
* What ended or killed the process (eval mode without an eval model) is a RuntimeError.  A resumed optimizer keeps its
  learning rate.  BatchNormalization's new statistics are outputs, `<name>.updated`, which `api.Module` feeds back.
"""

from ..._shared.absent_modules import refuse_modules
from ..._shared.absent_names import absent_name
from . import api, artifacts, onnxblock


def is_ortmodule_available() -> bool:
    """No: torch modules are not trained in place here."""
    return False


__all__ = ["api", "artifacts", "onnxblock"]

EXPORT = "export the module with torch.onnx.export, then train it with aidgejax.train, or with artifacts and api"
ABSENT = {
    "ORTModule": EXPORT,
    "ortmodule": EXPORT,
    "ORTTrainer": "use api.Module and api.Optimizer",
    "optim": "use api.Optimizer, or optimizers of aidgejax.optim",
    "amp": "pass precision='bfloat16' to aidgejax.train",
}
refuse_modules(__name__, ABSENT)


def __getattr__(name: str) -> object:
    raise absent_name(__name__, name, ABSENT)
