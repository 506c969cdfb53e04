"""From torch's memory to JAX and back, in the safe direction only.

JAX reads tensors in place and has finished before torch goes on; what JAX gives is copied into memory of torch's own.
No buffer that JAX owns, keeps or has donated is ever handed out to be written.
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import numpy as np


def view(tensor: Any) -> np.ndarray:
    """The tensor's memory as an array, copied only where it lies elsewhere than on the CPU, or not in order.

    16-bit numbers are copied as float32, which the layers compute in.
    """
    plain = tensor.detach()
    if not reads_in_place(plain):
        plain = plain.cpu()
        plain = (plain.float() if is_half(plain) else plain).contiguous()
    return plain.numpy()


def reads_in_place(tensor: Any) -> bool:
    """Can JAX read the tensor's memory as it is?"""
    return tensor.is_cpu and tensor.is_contiguous() and not is_half(tensor)


def is_half(tensor: Any) -> bool:
    """Is it a tensor of float16 or bfloat16?"""
    return tensor.dtype.itemsize == 2 and tensor.dtype.is_floating_point


def tensor_of(array: Any, like: Any = None) -> Any:
    """A tensor of its own memory with these numbers, where `like` lies."""
    made = sys.modules["torch"].from_numpy(np.array(array))
    return made if like is None or like.is_cpu else made.to(like.device)


def overwrite(tensor: Any, array: Any) -> None:
    """These numbers into the tensor's memory, which its graph does not see."""
    if reads_in_place(tensor):
        np.copyto(tensor.detach().numpy(), array)
    else:
        tensor.data.copy_(tensor_of(array))


def finished(tree: Any) -> Any:
    """The tree, once all of it has been computed."""
    return jax.block_until_ready(tree)
