"""Apache SINGA's Python API on JAX: `from aidgejax.frontends.singa import autograd, opt, tensor` and so on.

The tape that SINGA's programs write holds the same operators as every other Graph of aidgejax, so its gradients are
their rules, a training step compiles into one program, and `Model.to_graph` gives a Graph.

Where this front end differs from SINGA on purpose (measured on Apache SINGA 5.1.0, CPU):

* Right gradients of reduce_sum, softmax with any axis, gather with repeated indices, erf, max and min (which heed the
  gradient that arrives), sum, mean and add_all (which returns its sum), add_bias with axis=1, batched matmul.
* A second backward through the same tape gives the same gradients; losses heed the gradient that arrives.
* Dropout divides by 1 - ratio, and layer.Dropout(ratio) takes its argument for the ratio.
* softmax_cross_entropy reads its target by value, of any dtype, soft labels included.
* Tensor(data=...) converts values to dtype where SINGA reads bits; lists, float64 and int64 are taken.
* add_bias leaves its input alone and takes a bias (1, n); Linear flattens inputs of more than two axes from axis 1.
* A gradient is never shared between two tensors; an optimizer's state belongs to a tensor and not to its name; Adam's
  bias correction counts updates, also those made with `update`, which no `step` follows.
* Layers take any batch size at any time; convolutions take groups and dilation everywhere.
* A compiled step takes the tensors that are passed to it, and returns new ones.
* initializer.eye and orthogonal fill matrices (SINGA refuses exactly those).
* CudnnRNN runs on every device; DistOpt's forms that send less (half, partial, sparse) are the plain update.
* save_states refuses an aux state with a state's name; load_states refuses to load before `compile`.
* What ends SINGA's process (unfilled tensors, shapes that do not fit) raises an exception of aidgejax.errors, which is
  also of the kind that SINGA raises where it does (AssertionError, TypeError, ValueError, NotImplementedError).
* Elements `t[i]` have the right `.shape`, slices heed their step.
"""

from typing import Any

from .._shared.absent_modules import refuse_modules
from .._shared.absent_names import absent_name

OLD = "it belongs to SINGA before version 3; use layer, model, autograd and opt"
ABSENT = {
    **dict.fromkeys(("loss", "metric", "net", "optimizer", "rnn", "converter", "caffe_converter", "lazy_conv2d"), OLD),
    "snapshot": "use model.save_states and load_states, or aidgejax.checkpoint",
}
refuse_modules(__name__, ABSENT)


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, ABSENT)
