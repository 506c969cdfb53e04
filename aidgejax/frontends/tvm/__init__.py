"""TVM relax.training: state a backbone, let SetupTrainer make a trainer module of it, train it with Trainer.

    from aidgejax.frontends import tvm
    from aidgejax.frontends.tvm import relax
    from aidgejax.frontends.tvm.relax.training import SetupTrainer, Trainer
    from aidgejax.frontends.tvm.relax.training.loss import CrossEntropyLoss
    from aidgejax.frontends.tvm.relax.training.optimizer import Adam

Names, arguments and conventions are TVM's (measured on 0.27).  Functions are explicit Graphs: print them.

Where we do what TVM's page says, and not what TVM does:

* A negative ignore_index is left out of the gradient too (TVM reads out of bounds there).
* load_states(dict) looks names up among the states; load_params and load_states check shapes and dtypes, and apply
  nothing when anything is wrong.
* conv2d with a dilation, take with indices of any rank, where with branches that broadcast, triu, and operators that
  TVM has no gradient for (gelu, layer_norm, max, erf, square, clip, squeeze, stack ...) have a gradient.
* CrossEntropyLoss and CategoricalCrossEntropyLoss of (N, C, d...) take the softmax over the classes on axis 1.
* avg_pool2d(ceil_mode=True, count_include_pad=True): a window that sticks out is divided by the same number forward and
  backward (TVM: by another).
* CategoricalCrossEntropyLoss takes float64 predictions.
* update() takes tuples, checks the number of targets, and always returns the loss alone.
* profile_adjoint, which TVM has lost, is there.
* d/dy of power(x, y) is 0, not NaN, where x is 0 and y >= 0.
"""

from typing import Any

from .._shared.absent_modules import refuse_modules
from .._shared.original_names import refuse_original_names
from . import error, ir, relax, runtime, script, target, testing, tir, tirx
from ._original_names import NAMES, WHY
from .errors import InternalError, TVMError
from .ir import transform
from .relax.function import IRModule
from .relax.types import TensorType
from .relax.vm import build
from .runtime import Device, cpu, cuda, device_from_target
from .target import Target


def compile(mod: IRModule, target: Any = None, **options: Any) -> relax.Executable:  # noqa: A001  TVM's name
    """tvm.compile: a module, ready for a VirtualMachine.  The target names a platform: "llvm" (the host), "cuda"."""
    return build(mod, target, **options)


def device(name: str, index: int = 0) -> Device:
    """tvm.device: "cpu", "llvm", "cuda", "cuda:1"."""
    kind, _, number = name.partition(":")
    return Device(Target(kind).platform, int(number or index))


COMPILER = "it belongs to TVM's own code generation, which is out of scope: XLA compiles here"
ABSENT = {
    **dict.fromkeys(
        ("arith", "contrib", "driver", "exec", "meta_schedule", "micro", "rpc", "auto_scheduler", "autotvm", "topi"),
        COMPILER,
    ),
    "te": "tensor expressions are out of scope; use the operators of relax.op",
    "relay": "TVM has given relay up; use relax",
    "s_tir": "functions of TIR are out of scope; use the operators of relax.op",
    "nd": "use tvm.runtime.tensor(array)",
    "_ffi": "TVM has given it up; errors are in tvm.error",
    "runtime.ndarray": "use tvm.runtime.tensor(array)",
    "ndarray": "use tvm.runtime",
    **dict.fromkeys(
        ("ffi", "register_func", "register_global_func", "get_global_func", "register_object", "convert"),
        "packed functions of TVM's runtime are out of scope: XLA compiles here",
    ),
    "instrument": "passes of modules are not instrumented here",
}
refuse_original_names(__name__, {m: names for m, names in NAMES.items() if m != "script.relax"}, WHY)
refuse_modules(__name__, ABSENT)
refuse_modules(
    f"{__name__}.relax",
    {
        "backend": COMPILER,
        "ty": "the types are tvm.relax.TensorType, TupleType and ShapeType",
        "distributed": "aidgejax.training places batches over devices",
        "dpl": "patterns over graphs are aidgejax.passes.pattern",
        "frontend.tflite": "convert the model to ONNX and read it with relax.from_onnx",
        "frontend.stablehlo": "convert the model to ONNX and read it with relax.from_onnx",
    },
)


__all__ = [
    "Device",
    "IRModule",
    "InternalError",
    "TVMError",
    "Target",
    "TensorType",
    "build",
    "compile",
    "cpu",
    "cuda",
    "device",
    "device_from_target",
    "error",
    "ir",
    "relax",
    "runtime",
    "script",
    "target",
    "testing",
    "tir",
    "tirx",
    "transform",
]
