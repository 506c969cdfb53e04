"""singa.singa_wrap: what of SINGA's C++ layer a Python program meets.

Tensor is the raw tensor below a singa.tensor.Tensor: a constructor from a shape, SINGA's queries, and arithmetic.
Convolutions, pools and normalization on raw tensors are not here; use singa.autograd's.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .._shared.absent_names import absent_name
from ._ctensor import CTensor as Tensor
from ._ctensor import kBFloat16, kChar, kDouble, kFloat16, kFloat32, kInt, kUChar, raw
from .device import Device, get_default_device

__all__ = [
    "Bernoulli",
    "ConcatOn",
    "Device",
    "Gaussian",
    "Reshape",
    "SoftMax",
    "Tensor",
    "Transpose",
    "Uniform",
    "VecTensor",
    "kBFloat16",
    "kChar",
    "kDouble",
    "kFloat16",
    "kFloat32",
    "kInt",
    "kUChar",
]

USE_CUDA = USE_DIST = USE_DNNL = USE_ONEDNN = False


def Gaussian(mean: float, std: float, t: Tensor) -> None:
    """Fill t, in place."""
    t.array = mean + std * jax.random.normal(_device(t).key(), t.shape())


def Uniform(low: float, high: float, t: Tensor) -> None:
    """Fill t, in place."""
    t.array = jax.random.uniform(_device(t).key(), t.shape(), minval=low, maxval=high)


def Bernoulli(p: float, t: Tensor) -> None:
    """Fill t, in place."""
    t.array = jax.random.bernoulli(_device(t).key(), float(p), t.shape()).astype("float32")


def _device(t: Tensor) -> Device:
    device = t.device()
    return device if isinstance(device, Device) else get_default_device()


class VecTensor(list):
    """A list of raw tensors."""


def _function(compute: Any) -> Any:
    def function(*xs: Any) -> Tensor:
        return Tensor(array=compute(*map(raw, xs)))

    return function


def _flag(compare: Any) -> Any:
    """1.0 where it holds, 0.0 elsewhere, as SINGA's comparisons give it."""
    return lambda a, b: compare(a, b).astype("float32")


_BY_NAME = {
    "Abs": jnp.abs,
    "Ceil": jnp.ceil,
    "Cos": jnp.cos,
    "Cosh": jnp.cosh,
    "Acos": jnp.arccos,
    "Acosh": jnp.arccosh,
    "Erf": jax.scipy.special.erf,
    "Exp": jnp.exp,
    "Floor": jnp.floor,
    "Log": jnp.log,
    "ReLU": jax.nn.relu,
    "RoundE": jnp.round,
    "Sigmoid": jax.nn.sigmoid,
    "Sign": jnp.sign,
    "Sin": jnp.sin,
    "Sinh": jnp.sinh,
    "Asin": jnp.arcsin,
    "Asinh": jnp.arcsinh,
    "SoftPlus": jax.nn.softplus,
    "SoftSign": jax.nn.soft_sign,
    "Sqrt": jnp.sqrt,
    "Square": jnp.square,
    "Tan": jnp.tan,
    "Tanh": jnp.tanh,
    "Atan": jnp.arctan,
    "Atanh": jnp.arctanh,
    "Add": jnp.add,
    "Sub": jnp.subtract,
    "EltwiseMult": jnp.multiply,
    "Div": jnp.divide,
    "Pow": jnp.power,
    "Mult": jnp.matmul,
    "GTFloat": _flag(jnp.greater),
    "GEFloat": _flag(jnp.greater_equal),
    "LTFloat": _flag(jnp.less),
    "LEFloat": _flag(jnp.less_equal),
    "AddFloat": jnp.add,
    "SubFloat": jnp.subtract,
    "MultFloat": jnp.multiply,
    "DivFloat": jnp.divide,
    "PowFloat": jnp.power,
    "__gt__": _flag(jnp.greater),
    "__ge__": _flag(jnp.greater_equal),
    "__lt__": _flag(jnp.less),
    "__le__": _flag(jnp.less_equal),
    "__eq__": _flag(jnp.equal),
    "__add__": jnp.add,
    "__sub__": jnp.subtract,
    "__mul__": jnp.multiply,
    "__div__": jnp.divide,
}
globals().update({name: _function(compute) for name, compute in _BY_NAME.items()})


def SoftMax(t: Tensor, axis: int = -1) -> Tensor:
    return Tensor(array=jax.nn.softmax(raw(t), axis))


def Reshape(t: Tensor, shape: Any) -> Tensor:
    return Tensor(array=jnp.reshape(raw(t), tuple(shape)))


def Transpose(t: Tensor, axes: Any = None) -> Tensor:
    return Tensor(array=jnp.transpose(raw(t), axes))


def ConcatOn(tensors: Any, axis: int) -> Tensor:
    return Tensor(array=jnp.concatenate([raw(t) for t in tensors], axis))


HANDLE = "C++ handles fix a batch size; use singa.layer's layers, or the operations of singa.autograd"
ABSENT = {
    **dict.fromkeys(
        (
            "BatchNormHandle ConvHandle CpuBatchNormBackwardx CpuBatchNormForwardInference CpuBatchNormForwardTraining "
            "CpuConvBackwardW CpuConvBackwardb CpuConvBackwardx CpuConvForward CpuPoolingBackward CpuPoolingForward "
            "CudnnBatchNormHandle CudnnConvHandle CudnnPoolingHandle CudnnRNNHandle GpuConvForward GpuPoolingForward "
            "GpuRNNForwardTraining PoolingHandle"
        ).split(),
        HANDLE,
    ),
    "NcclIdHolder": "one process holds all devices; opt.DistOpt(optimizer) needs no id",
    "Communicator": "XLA adds gradients up; opt.DistOpt lays batches over the devices",
}


def __getattr__(name: str) -> Any:
    raise absent_name(__name__, name, ABSENT)
