"""Tensors on devices: tvm.runtime."""

import numpy as np

from aidgejax.frontends import tvm
from aidgejax.frontends.tvm import relax


def aligned(n, dtype=np.float32):
    """A buffer where JAX would take it as it is, without a copy."""
    held = np.zeros(n + 64, dtype)
    start = -held.ctypes.data % 64 // held.itemsize
    return held[start : start + n]


def test_a_tensor_keeps_what_it_was_made_from():
    for dtype in (np.float32, np.float64, np.int64):
        x = aligned(64, dtype)
        tensor = tvm.runtime.tensor(x)
        x[:] = 1
        assert not tensor.numpy().any() and tensor.dtype == np.dtype(dtype).name
        assert tvm.runtime.tensor(tensor).data is tensor.data


def test_a_result_keeps_what_it_was_computed_from():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorStructInfo((64,), "float32"))
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(relax.op.reshape(x, (8, 8))))
    vm = relax.VirtualMachine(tvm.compile(builder.get(), "llvm"), tvm.cpu())
    given = aligned(64)
    found = vm["main"](given)
    given[:] = 1
    assert not found.numpy().any()
