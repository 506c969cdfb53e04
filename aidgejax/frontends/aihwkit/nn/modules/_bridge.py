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
    plain = tensor.detach().cpu()
    return (plain.float() if is_half(plain) else plain).contiguous().numpy()


def is_half(tensor: Any) -> bool:
    """Is it a tensor of float16 or bfloat16?"""
    torch = sys.modules["torch"]
    return tensor.dtype in (torch.bfloat16, torch.float16)


def tensor_of(array: Any, like: Any = None) -> Any:
    """A tensor of its own memory with these numbers, where `like` lies."""
    torch = sys.modules["torch"]
    made = torch.from_numpy(np.array(array))
    return made if like is None or like.device.type == "cpu" else made.to(like.device)


def finished(tree: Any) -> Any:
    """The tree, once all of it has been computed."""
    return jax.block_until_ready(tree)
