"""relax.op beyond TVM's own gradients: against NumPy, and against central differences in float64."""

import numpy as np
import pytest

from aidgejax.frontends import tvm
from aidgejax.frontends.tvm import relax

from .programs import var

R, N = relax.op, relax.op.nn
RNG = np.random.default_rng(11)


def f(*shape, low=-2.0, high=2.0):
    return RNG.uniform(low, high, shape)


def i(high, *shape):
    return RNG.integers(0, high, shape)


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def normal(x, axes, eps=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


# name: (call, arrays, what NumPy says or None)
TABLE = {
    "gelu": (N.gelu, [f(3, 4)], None),
    "gelu_tanh": (N.gelu_tanh, [f(3, 4)], None),
    "softplus": (N.softplus, [f(3, 4)], lambda x: np.log1p(np.exp(x))),
    "leakyrelu": (lambda x: N.leakyrelu(x, 0.2), [f(3, 4)], lambda x: np.where(x < 0, 0.2 * x, x)),
    "erf": (R.erf, [f(3, 4)], None),
    "square": (R.square, [f(3, 4)], np.square),
    "rsqrt": (R.rsqrt, [f(3, 4, low=0.5)], lambda x: x ** -0.5),
    "tan": (R.tan, [f(3, 4, low=-1, high=1)], np.tan),
    "clip": (lambda x: R.clip(x, -1, 1.5), [f(3, 4)], lambda x: np.clip(x, -1, 1.5)),
    "max": (lambda x: R.max(x, axis=[0, 2], keepdims=True), [f(2, 3, 4)], lambda x: x.max((0, 2), keepdims=True)),
    "min": (lambda x: R.min(x, axis=-1), [f(2, 3, 4)], lambda x: x.min(-1)),
    "prod": (lambda x: R.prod(x, axis=1), [f(2, 3)], lambda x: x.prod(1)),
    "std": (lambda x: R.std(x, axis=0), [f(4, 3)], lambda x: x.std(0)),
    "squeeze": (R.squeeze, [f(1, 3, 1)], np.squeeze),
    "stack": (lambda a, b: R.stack([a, b], axis=-1), [f(2, 3), f(2, 3)], lambda a, b: np.stack([a, b], -1)),
    "concat of the flattened": (lambda a, b: R.concat([a, b], axis=None), [f(2, 3), f(2)],
                                lambda a, b: np.concatenate([a, b], None)),
    "tile": (lambda x: R.tile(x, (2, 1, 3)), [f(2, 3)], lambda x: np.tile(x, (2, 1, 3))),
    "flatten": (R.flatten, [f(2, 3)], np.ravel),
    "strided_slice": (lambda x: R.strided_slice(x, [1], [3], [0], [-1]), [f(2, 5)], lambda x: x[:, 3:0:-1]),
    "triu": (lambda x: R.triu(x, 1), [f(3, 4)], lambda x: np.triu(x, 1)),
    "tril": (lambda x: R.tril(x, -1), [f(3, 4)], lambda x: np.tril(x, -1)),
    "take with two axes of indices": (lambda x, k: R.take(x, k, axis=1), [f(3, 4), i(4, 2, 3)],
                                      lambda x, k: np.take(x, k, 1)),
    "take of the flattened": (R.take, [f(3, 4), i(12, 5)], np.take),
    "where broadcasts": (R.where, [f(3, 1) > 0, f(4), f(2, 3, 1)], np.where),
    "einsum": (lambda a, b: R.einsum([a, b], "ij,kj->ik"), [f(2, 3), f(4, 3)], lambda a, b: a @ b.T),
    "linear": (R.linear, [f(2, 3), f(4, 3), f(4)], lambda x, w, b: x @ w.T + b),
    "split in unequal parts": (lambda x: R.split(x, [1, 1, 4], axis=1)[2], [f(2, 5)], lambda x: x[:, 1:4]),
    "layer_norm over the last": (lambda x, g, b: N.layer_norm(x, g, b, axes=[-1]), [f(2, 3, 4), f(4), f(4)],
                                 lambda x, g, b: normal(x, -1) * g + b),
    "layer_norm over others": (lambda x, g, b: N.layer_norm(x, g, b, axes=[2, 1], epsilon=1e-3),
                               [f(2, 3, 4, 2), f(4, 3), f(4, 3)],
                               lambda x, g, b: normal(x, (1, 2), 1e-3) * g.T[..., None] + b.T[..., None]),
    "group_norm": (lambda x, g, b: N.group_norm(x, g, b, num_groups=2), [f(2, 4, 3), f(4), f(4)],
                   lambda x, g, b: normal(x.reshape(2, 2, 6), -1).reshape(2, 4, 3) * g[:, None] + b[:, None]),
    "batch_norm as it trains": (lambda *a: N.batch_norm(*a, axis=2)[0], [f(2, 3, 4), f(4), f(4), f(4), f(4, low=0.5)],
                                lambda x, g, b, m, v: normal(x, (0, 1)) * g + b),
    "batch_norm that never trains": (lambda *a: N.batch_norm(*a, axis=1, training=False)[0],
                                     [f(2, 3, 4), f(3), f(3), f(3), f(3, low=0.5)],
                                     lambda x, g, b, m, v: ((x.swapaxes(1, 2) - m) / np.sqrt(v + 1e-5) * g + b
                                                            ).swapaxes(1, 2)),
    "conv2d with a dilation": (lambda x, w: N.conv2d(x, w, dilation=(2, 1), padding=[1, 0, 2, 1]),
                               [f(2, 3, 6, 5), f(4, 3, 2, 3)], None),
    "conv2d of NHWC and HWIO": (lambda x, w: N.conv2d(x, w, strides=2, data_layout="NHWC", kernel_layout="HWIO"),
                                [f(2, 6, 5, 3), f(2, 3, 3, 4)], None),
    "max_pool2d of NHWC": (lambda x: N.max_pool2d(x, 2, 2, layout="NHWC"), [f(1, 4, 4, 2)],
                           lambda x: x.reshape(1, 2, 2, 2, 2, 2).max((2, 4))),
    "adaptive_avg_pool2d": (lambda x: N.adaptive_avg_pool2d(x, (2, 1)), [f(1, 2, 4, 3)],
                            lambda x: x.reshape(1, 2, 2, 2, 3).mean((3, 4))[..., None]),
    "pad": (lambda x: N.pad(x, [0, 1, 2, 0]), [f(2, 3)], lambda x: np.pad(x, ((0, 1), (2, 0)))),
    "softmax": (lambda x: N.softmax(x, axis=0), [f(3, 4)], lambda x: softmax(x, 0)),
    "arithmetic": (lambda a, b: -(2.0 - a) / b + a ** 2.0 * b - 1.0, [f(3, 4), f(4, low=1, high=3)],
                   lambda a, b: -(2 - a) / b + a ** 2 * b - 1),
}  # fmt: skip


def machine(call, arrays):
    """The machine of `sum(call(x) * cotangent)` and its gradient, and the Vars that are floating."""
    x = [var(f"x{k}", a.shape, a.dtype.name) for k, a in enumerate(arrays)]
    bb = relax.BlockBuilder()
    with bb.function("main", [*x]):
        with bb.dataflow():
            out = bb.emit(call(*x))
            cot = RNG.normal(size=out.struct_info.shape)
            loss = bb.emit_output(R.sum(R.multiply(out, relax.const(cot))))
            out = bb.emit_output(out)
        bb.emit_func_output([loss, out])
    floats = [k for k, a in enumerate(arrays) if a.dtype == np.float64]
    mod = relax.transform.Gradient("main", require_grads=[x[k] for k in floats])(bb.get())
    return relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())["main_adjoint"], floats


@pytest.mark.parametrize("name", TABLE)
def test_an_operator(name):
    call, arrays, expected = TABLE[name]
    main, floats = machine(call, arrays)
    (_, out), grads = main(*arrays)
    assert out.dtype == "float64"
    if expected is not None:
        np.testing.assert_allclose(out.numpy(), expected(*arrays), rtol=1e-9, atol=1e-12)
    for k, g in zip(floats, grads, strict=True):
        v, h = RNG.normal(size=arrays[k].shape), 1e-6
        moved = [[a + s * h * v if j == k else a for j, a in enumerate(arrays)] for s in (1, -1)]
        high, low = (float(main(*m)[0][0]) for m in moved)
        np.testing.assert_allclose((g.numpy() * v).sum(), (high - low) / (2 * h), rtol=1e-5, atol=1e-7)


def test_constants_and_comparisons():
    x = var("x", (3,))
    bb = relax.BlockBuilder()
    with bb.function("main", [x]):
        with bb.dataflow():
            big = bb.emit(R.astype(R.greater(x, relax.const(0.5, "float32")), "float32"))
            hot = bb.emit(R.one_hot(R.argmax(x, axis=0), relax.const(1.0), relax.const(0.0), 3))
            outs = [
                bb.emit_output(e)
                for e in (
                    big,
                    hot,
                    R.add(R.ones((3,)), R.full_like(x, 2.0)),
                    R.not_equal(x, R.zeros_like(x)),
                    R.logical_not(R.less_equal(x, x)),
                    R.cumsum(x, exclusive=True),
                )
            ]
        bb.emit_func_output(outs)
    got = relax.VirtualMachine(tvm.compile(bb.get()), tvm.cpu())["main"](np.array([0, 2, 1], np.float32))
    expected = [[0, 1, 1], [0, 1, 0], [3, 3, 3], [False, True, True], [False] * 3, [0, 0, 2]]
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_array_equal(g.numpy(), e)


def test_mistakes_are_named_where_they_are_made():
    x, k = var("x", (2, 3)), var("k", (2,), "int64")
    for call, kind, message in (
        (lambda: R.add(x, k), TypeError, "relax.add takes two tensors of one dtype, got x:float32"),
        (lambda: R.matmul(x, x), ValueError, "MatMul.*of graph 'main'.*rows of 3 elements"),
        (lambda: R.broadcast_to(x, (3, 3)), ValueError, "does not broadcast to"),
        (lambda: R.where(x, x, x), TypeError, "condition of dtype bool"),
        (lambda: R.reshape(x, (4, 2)), ValueError, "Reshape"),
        (lambda: R.split(x, 2, axis=0)[5], ValueError, "TupleGetItem takes field 5"),
        (lambda: var("y", (2,)), ValueError, "Var y is neither a parameter of function 'main' nor emitted"),
        (lambda: R.grad.start_checkpoint(relax.const(1.0)), TypeError, "should be a Var"),
    ):
        bb = relax.BlockBuilder()
        with pytest.raises(kind, match=message):
            with bb.function("main", [x, k]):
                with bb.dataflow():
                    bb.emit(call())
        assert bb.get().functions == {}
