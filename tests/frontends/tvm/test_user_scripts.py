"""What scripts of TVM's users call beside the trainer: operators, pipelines, passes, a VirtualMachine with state."""

import numpy as np
import pytest

from aidgejax.errors import AidgeJaxError
from aidgejax.frontends import tvm
from aidgejax.frontends.tvm import relax
from aidgejax.frontends.tvm.script import ir as I  # noqa: N812
from aidgejax.frontends.tvm.script import relax as R  # noqa: N812

op, nn = relax.op, relax.op.nn
RNG = np.random.default_rng(0)
A = RNG.normal(0, 3, (2, 3, 4)).astype(np.float32)
B = (RNG.uniform(0.5, 2, A.shape) * RNG.choice([-1, 1], A.shape)).astype(np.float32)
N, M = np.array([-7, 7, 5, -5], np.int32), np.array([2, -2, 3, 3], np.int32)
S, W = RNG.normal(size=3).astype(np.float32), RNG.normal(size=(4, 3, 2)).astype(np.float32)
Q, K, V = (RNG.normal(size=(2, n, 2, 4)).astype(np.float32) for n in (3, 5, 5))
PLACES = np.array([[0, 2], [1, 0]])
NEW = RNG.normal(size=(2, 4)).astype(np.float32)


def attended(q, k, v, offset):
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
    scores = np.where(np.tril(np.ones(scores.shape[-2:]), offset), scores, -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bhqk,bkhd->bqhd", e / e.sum(-1, keepdims=True), v).astype(np.float32)


def scattered(x):
    x = x.copy()
    np.add.at(x, tuple(PLACES.T), NEW)
    return x


def convolved(x, w):
    """Stride 1, dilation 2, one zero in front."""
    x = np.pad(x, [(0, 0), (0, 0), (1, 0)])
    return np.stack([np.einsum("ncw,ocw->no", x[:, :, [t, t + 2]], w) for t in range(x.shape[2] - 2)], axis=-1)


def windows(x, fill):
    x = np.pad(x, [(0, 0), (0, 0), (1, 0)], constant_values=fill)
    return np.stack([x[:, :, t : t + 2] for t in (0, 2)], axis=2)


# Each agrees with apache-tvm 0.27 on these numbers (measured), dtypes included.
OPERATORS = {
    "trunc": (lambda a: op.trunc(a), np.trunc, [A]),
    "floor_divide": (lambda a, b: op.floor_divide(a, b), np.floor_divide, [A, B]),
    "floor_divide of integers": (lambda a, b: op.floor_divide(a, b), np.floor_divide, [N, M]),
    "floor_mod": (lambda a, b: op.floor_mod(a, b), np.mod, [A, B]),
    "floor_mod of integers": (lambda a, b: op.floor_mod(a, b), np.mod, [N, M]),
    "mod": (lambda a, b: op.mod(a, b), np.fmod, [A, B]),
    "log_add_exp": (lambda a, b: op.log_add_exp(a, b), np.logaddexp, [A, B]),
    "isfinite": (lambda a: op.isfinite(a), np.isfinite, [np.array([1.0, np.inf, np.nan], np.float32)]),
    "bitwise_xor": (lambda a, b: op.bitwise_xor(a, b), np.bitwise_xor, [N, M]),
    "repeat": (lambda a: op.repeat(a, 2, 1), lambda a: np.repeat(a, 2, 1), [A]),
    "repeat of all": (lambda a: op.repeat(a, 3), lambda a: np.repeat(a, 3), [A]),
    "flip": (lambda a: op.flip(a, 1), lambda a: np.flip(a, 1), [A]),
    "arange": (lambda: op.arange(2, 9, 3), lambda: np.arange(2, 9, 3), []),
    "eye": (lambda: op.eye(3, 4, 1), lambda: np.eye(3, 4, 1, np.float32), []),
    "topk": (lambda a: op.topk(a, 2, 1, "values"), lambda a: -np.sort(-a, 1)[:, :2], [A]),
    "sort": (lambda a: op.sort(a, 1, True), lambda a: -np.sort(-a, 1), [A]),
    "argsort": (lambda a: op.argsort(a), lambda a: np.argsort(a, -1).astype(np.int32), [A]),
    "gather_nd": (lambda a, i: op.gather_nd(a, i), lambda a, i: a[tuple(i.T)], [A, PLACES]),
    "scatter_nd": (lambda a, i, u: op.scatter_nd(a, i, u, "add"), lambda a, i, u: scattered(a), [A, PLACES, NEW]),
    "outer": (lambda a, b: op.outer(a, b), np.outer, [S, NEW[0]]),
    "relu6": (lambda a: nn.relu6(a), lambda a: np.clip(a, 0, 6), [A]),
    "prelu": (lambda a, s: nn.prelu(a, s, 1), lambda a, s: np.where(a > 0, a, s[:, None] * a), [A, S]),
    "rms_norm": (
        lambda a, w: nn.rms_norm(a, w),
        lambda a, w: a / np.sqrt((a**2).mean(-1, keepdims=True) + 1e-5) * w,
        [A, NEW[0]],
    ),
    "conv1d": (lambda a, w: nn.conv1d(a, w, 1, [1, 0], 2), convolved, [A, W]),
    "max_pool1d": (lambda a: nn.max_pool1d(a, 2, 2, [1, 0]), lambda a: windows(a, -np.inf).max(-1), [A]),
    "avg_pool1d": (lambda a: nn.avg_pool1d(a, 2, 2, [1, 0]), lambda a: windows(a, 0).mean(-1), [A]),
    "attention": (lambda q, k, v: nn.attention(q, k, v), lambda q, k, v: attended(q, k, v, 99), [Q, K, V]),
    "attention, causal": (
        lambda q, k, v: nn.attention(q, k, v, causal_mask="BottomRight"),
        lambda q, k, v: attended(q, k, v, 2),
        [Q, K, V],
    ),
}


@pytest.fixture(scope="module")
def results():
    """All of them in one function, compiled once, its text read again."""
    builder, params, given, emitted = relax.BlockBuilder(), [], [], []
    for k, (_, _, arrays) in enumerate(OPERATORS.values()):
        params.append([relax.Var(f"x{k}_{i}", relax.TensorType(a.shape, str(a.dtype))) for i, a in enumerate(arrays)])
        given += arrays
    with builder.function("main", [v for vs in params for v in vs]):
        with builder.dataflow():
            for vs, (call, _, _) in zip(params, OPERATORS.values(), strict=True):
                emitted.append(builder.emit_output(call(*vs)))
        builder.emit_func_output(emitted)
    module = builder.get()
    tvm.ir.assert_structural_equal(tvm.script.from_source(module.script()), module)
    machine = relax.VirtualMachine(tvm.compile(module, "llvm"), tvm.cpu())
    return dict(zip(OPERATORS, machine["main"](*given), strict=True))


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name, results):
    _, reference, arrays = OPERATORS[name]
    want, got = reference(*arrays), results[name].numpy()
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


@I.ir_module
class Small:
    @R.function
    def main(x: R.Tensor((2, 3), "float32"), y: R.Tensor((2, 3), "float32")):  # noqa: N805
        with R.dataflow():
            z = R.add(x, R.nn.relu(y))
            R.output(z)
        return z


def test_a_pipeline_and_the_compilers_passes_leave_results_as_they_are():
    @tvm.transform.module_pass(opt_level=0)
    def rename(mod, context):
        assert context.opt_level == 3
        return tvm.IRModule({"renamed": mod["main"]})

    passes = [relax.get_pipeline("zero"), relax.transform.FoldConstant(), relax.transform.FuseOps(0), rename]
    with tvm.transform.PassContext(opt_level=3):
        module = tvm.transform.Sequential(passes)(Small)
    assert [v.name_hint for v in module.functions] == ["renamed"] and "renamed" in module.functions
    x, y = A[0, :2, :3], -A[1, :2, :3]
    machine = relax.VirtualMachine(relax.build(module, "llvm"), tvm.cpu())
    np.testing.assert_allclose(machine["renamed"](x, y).numpy(), x + np.maximum(y, 0), rtol=1e-6)
    with pytest.raises(AidgeJaxError, match="no pipeline 'nothing'; there are zero"):
        relax.get_pipeline("nothing")


def test_a_virtual_machine_keeps_inputs_and_outputs():
    machine = relax.VirtualMachine(tvm.compile(Small, "llvm"), tvm.cpu())
    x, y = A[0, :2, :3], -A[1, :2, :3]
    with pytest.raises(AidgeJaxError, match="call set_input"):
        machine.invoke_stateful("main")
    machine.set_input("main", x, y=y)
    with pytest.raises(AidgeJaxError, match="call invoke_stateful"):
        machine.get_outputs("main")
    machine.invoke_stateful("main")
    want = x + np.maximum(y, 0)
    np.testing.assert_allclose(machine.get_outputs("main").numpy(), want, rtol=1e-6)
    machine.save_function("main", "again", x, y)
    np.testing.assert_allclose(machine["again"]().numpy(), want, rtol=1e-6)
    with pytest.raises(AidgeJaxError, match=r"takes 2 arguments \(x, y\)"):
        machine.set_input("main", x)
    timed = machine.time_evaluator("main", tvm.cpu(), number=2, repeat=3)(x, y)
    assert len(timed.results) == 3 and 0 < timed.min <= timed.mean <= timed.max
