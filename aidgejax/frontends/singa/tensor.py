"""singa.tensor: Tensor, and the functions of tensors that autograd does not record.

    x = Tensor((2, 3))
    x.gaussian(0.0, 0.1)
    w = Tensor(data=np.eye(3, dtype=np.float32), stores_grad=True)
    to_numpy(mult(x, w))

Unlike SINGA's: `data` may be a list, or an array of any dtype, whose values are converted to `dtype` (SINGA reads the
bits); integers, unless dtype says otherwise, become float32 as well.  A tensor that nobody filled, or a shape that does
not fit, raises; SINGA ends the process.
"""

from . import _operation  # noqa: F401  (the tape: it makes the creators of tensors)
from ._ctensor import CTensor
from ._tensor import (
    Tensor,
    bfloat16,
    float16,
    float32,
    from_numpy,
    from_raw_tensor,
    from_raw_tensors,
    int32,
    to_numpy,
)
from ._tensor_functions import *  # noqa: F403
from ._tensor_functions import __all__ as _functions

PlaceHolder = Tensor

__all__ = [
    *_functions,
    "CTensor",
    "PlaceHolder",
    "Tensor",
    "bfloat16",
    "float16",
    "float32",
    "from_numpy",
    "from_raw_tensor",
    "from_raw_tensors",
    "int32",
    "to_numpy",
]
