"""Gradients of single calls, helpers for checkpoints, and tvm.testing: what TVM's own tests are made of."""

import numpy as np
import pytest

from aidgejax.errors import AidgeJaxError
from aidgejax.frontends import tvm
from aidgejax.frontends.tvm import relax, testing
from aidgejax.frontends.tvm.relax import op
from aidgejax.frontends.tvm.relax.testing import nn as checkpoints
from aidgejax.frontends.tvm.runtime.vm import VirtualMachine

from .programs import var

RNG = np.random.default_rng(0)


def run(params, write, *arrays):
    """write(*Vars, builder) as a compiled function, called."""
    return compiled(params, write)(*arrays)


def compiled(params, write):
    bb = relax.BlockBuilder()
    with bb.function("main", params):
        with bb.dataflow():
            out = bb.emit_output(write(*params, bb))
        bb.emit_func_output(out)
    vm = VirtualMachine(tvm.compile(bb.get(), "llvm"), tvm.cpu())
    return vm["main"]


CALLS = {
    "add": (op.add, [(2, 3), (3,)], (2, 3)),
    "matmul": (op.matmul, [(2, 3), (3, 4)], (2, 4)),
    "concat": (lambda a, b: op.concat([a, b], axis=1), [(2, 3), (2, 1)], (2, 4)),
    "softmax": (op.nn.softmax, [(2, 3)], (2, 3)),
    "variance": (lambda x: op.variance(x, [1]), [(2, 3)], (2,)),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_operators_own_gradient_is_that_of_differences(name):
    function, shapes, result = CALLS[name]
    arrays = [RNG.normal(size=s) for s in shapes]
    d = RNG.normal(size=result)
    params = [var(f"x{k}", s, "float64") for k, s in enumerate(shapes)]

    def gradient(*given):
        *xs, dy, bb = given
        call = function(*xs)
        return relax.Tuple(call.op.get_attr("FPrimalGradient")(bb.emit(call), call, dy, bb))

    found = run([*params, var("dy", result, "float64")], gradient, *arrays, d)
    found = [g for f in found for g in (f if isinstance(f, tuple) else [f])]
    plain = compiled(params, lambda *p: function(*p[:-1]))
    forward = lambda *xs: np.sum(d * plain(*xs).numpy())
    testing.check_numerical_grads(forward, arrays, [g.numpy() for g in found], delta=1e-5, rtol=1e-6, atol=1e-7)


def test_operands_without_a_gradient_are_marked():
    x, i = var("x", (4,)), var("i", (2,), "int64")
    bb = relax.BlockBuilder()
    with bb.function("main", [x, i]):
        with bb.dataflow():
            call = op.take(x, i)
            grads = call.op.get_attr("FPrimalGradient")(bb.emit(call), call, relax.const(np.ones(2, "f")), bb)
            out = bb.emit_output(grads[0])
        bb.emit_func_output(out)
    assert str(grads[1].op) == "relax.grad.no_grad"
    got = bb.get()["main"](np.zeros(4, np.float32), np.array([1, 1]))
    np.testing.assert_array_equal(got.numpy(), [0, 2, 0, 0])


def test_gradients_of_single_operators_by_name():
    x = RNG.normal(size=(1, 1, 4, 4)).astype(np.float32)
    d = np.ones((1, 1, 2, 2), np.float32)
    image, grad = var("x", x.shape), var("d", d.shape)
    window = {"pool_size": (2, 2), "strides": (2, 2)}
    found = run([grad, image], lambda g, v, _: op.grad.max_pool2d_backward(g, v, **window), d, x).numpy()
    blocks = x.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    assert found.sum() == 4 and np.all(x[found == 1] == np.sort(x[found == 1])[np.argsort(np.argsort(x[found == 1]))])
    assert sorted(x[found == 1]) == sorted(blocks.max(1))
    mean = run([grad, image], lambda g, v, _: op.grad.avg_pool2d_backward(g, v, **window), d, x).numpy()
    np.testing.assert_allclose(mean, np.full_like(x, 0.25))

    p, t = var("p", (3, 2)), var("t", (3,), "int64")
    back = lambda p, t, _: op.grad.nll_loss_backward(relax.const(np.float32(1)), p, t)
    got = run([p, t], back, RNG.normal(size=(3, 2)).astype(np.float32), np.array([0, 1, 1])).numpy()
    np.testing.assert_allclose(got, -np.eye(2)[[0, 1, 1]] / 3, rtol=1e-6)
    taken = lambda g, v, _: op.grad.take_backward(g, v, relax.const(np.array([2, 2])), axis=1)
    got = run([var("g", (1, 2)), var("v", (1, 3))], taken, np.ones((1, 2), "f"), np.zeros((1, 3), "f")).numpy()
    np.testing.assert_array_equal(got, [[0, 0, 2]])


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 1), (2, 3), (1, 1)])
def test_collapse_sum_to_undoes_broadcasting(shape):
    x = RNG.normal(size=(4, 2, 3)).astype(np.float32)
    got = run([var("x", x.shape)], lambda v, _: op.collapse_sum_to(v, relax.ShapeExpr(shape)), x).numpy()
    want = x
    while want.ndim > len(shape):
        want = want.sum(0)
    for k, d in enumerate(shape):
        want = want.sum(k, keepdims=True) if d == 1 else want
    np.testing.assert_allclose(got, want, rtol=1e-5)


def layers(weights):
    return [lambda h, w=w: op.tanh(op.matmul(h, w)) for w in weights]


@pytest.mark.parametrize("how", ["checkpoint", "emit", "sequential", "segments"])
def test_checkpoint_helpers_change_the_program_and_not_its_values(how):
    x, ws = var("x", (2, 3)), [var(f"w{k}", (3, 3)) for k in range(3)]
    arrays = [RNG.normal(size=s).astype(np.float32) for s in [(2, 3)] + [(3, 3)] * 3]

    def state(marked):
        bb = relax.BlockBuilder()
        with bb.function("main", [x, *ws]):
            with bb.dataflow():
                h, steps = x, layers(ws)
                if not marked:
                    for f in steps:
                        h = bb.emit(f(h))
                elif how == "sequential":
                    h = checkpoints.emit_checkpoint_sequential(steps, 2, h, checkpoint_last=True)
                elif how == "segments":
                    h = checkpoints.emit_checkpoint_sequential(steps, [0, 1], h)
                else:
                    help_ = checkpoints.checkpoint if how == "checkpoint" else checkpoints.emit_checkpoint
                    both = lambda v: checkpoints.emit(steps[1](checkpoints.emit(steps[0](v))))
                    h = steps[2](help_(both, h))
                out = bb.emit_output(op.sum(h))
            bb.emit_func_output(out)
        return relax.transform.Gradient("main")(bb.get())

    plain, marked = state(False)["main_adjoint"], state(True)["main_adjoint"]
    for a, b in zip(plain(*arrays)[1], marked(*arrays)[1], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
    again = [n for n in marked.graph.nodes if n.name.endswith("_cp")]
    assert again and not [n for n in plain.graph.nodes if n.name.endswith("_cp")]


def states(write):
    bb, x = relax.BlockBuilder(), var("x", (2, 2))
    with bb.function("main", [x]):
        with bb.dataflow():
            out = bb.emit_output(write(x, bb))
        bb.emit_func_output(out)
    return bb.get()


@pytest.mark.parametrize("last", [False, True])
def test_segments_are_of_equal_length_and_one_of_the_rest(last):
    """Five functions in two segments: two, two and one; a call used twice is bound once."""
    start, end = op.grad.start_checkpoint, op.grad.end_checkpoint

    def by_hand(x, bb):
        for size, marked in ((2, True), (2, True), (1, last)):
            x = bb.emit(start(x)) if marked else x
            for _ in range(size):
                x = bb.emit(op.add(x, x))
            x = bb.emit(end(x)) if marked else x
        return x

    doubled = [lambda v: v + v] * 5
    by_helper = lambda x, bb: checkpoints.emit_checkpoint_sequential(doubled, 2, x, checkpoint_last=last)
    tvm.ir.assert_structural_equal(states(by_helper), states(by_hand))
    for wrong in ([0, 3, 3], [1, 2], [0, 9]):
        with pytest.raises(ValueError, match="expected 0 and rising"):
            states(lambda x, bb, w=wrong: checkpoints.emit_checkpoint_sequential(doubled, w, x))


FROM_WHICH_NOTHING_COMES = {  # the call, and which of its operands have no gradient in TVM
    "equal": (lambda x: op.equal(x, x), [0, 1]),
    "ones_like": (lambda x: op.ones_like(x), [0]),
    "full_like": (lambda x: op.full_like(x, relax.const(np.float32(2))), [0]),
    "nll_loss": (lambda x: op.nn.nll_loss(x, relax.const(np.zeros(2, np.int64)), relax.const(np.ones(2))), [1, 2]),
    "ones": (lambda x: op.ones((2, 2), "float32"), []),
}


@pytest.mark.parametrize("name", FROM_WHICH_NOTHING_COMES)
def test_operands_without_a_gradient_are_marked_as_such(name):
    write, wanted = FROM_WHICH_NOTHING_COMES[name]
    places = []

    def stated(x, bb):
        call = write(x)
        out = bb.emit(call)
        d = bb.emit(op.ones(out.struct_info.shape, "float32"))
        found = call.op.get_attr("FPrimalGradient")(out, call, d, bb)
        places.extend(k for k, g in enumerate(found) if getattr(g, "op", "") == tvm.ir.Op.get("relax.grad.no_grad"))
        return out

    states(stated)
    assert places == wanted


def test_the_mean_of_wholly_ignored_rows_is_not_a_number_as_in_tvm():
    p, t = var("p", (2, 3)), var("t", (2,), "int64")
    loss = compiled([p, t], lambda p, t, bb: op.nn.nll_loss(p, t))
    given = np.log(np.full((2, 3), 1 / 3, np.float32))
    assert np.isnan(loss(given, np.array([-100, -100])).numpy())
    np.testing.assert_allclose(loss(given, np.array([-100, 1])).numpy(), np.log(3), rtol=1e-6)


def test_adjoints_begin_with_the_bindings_of_the_function():
    mod = states(lambda x, bb: op.sum(bb.emit(op.multiply(x, x))))
    adjoint = relax.transform.Gradient("main")(mod)["main_adjoint"]
    stated = mod["main"].body.blocks[0].bindings
    tvm.ir.assert_structural_equal(stated, adjoint.body.blocks[0].bindings[: len(stated)], True)
    with pytest.raises(ValueError, match="StructuralEqual"):
        tvm.ir.assert_structural_equal(stated, adjoint.body.blocks[0].bindings[1 : len(stated) + 1], True)


def test_adjoints_have_parameters_of_their_own_and_say_how_they_are_made():
    x = var("x", (3,))
    bb = relax.BlockBuilder()
    with bb.function("main", [x]):
        with bb.dataflow():
            out = bb.emit_output(op.sum(op.multiply(x, x)))
        bb.emit_func_output(out)
    mod = relax.transform.Gradient("main", x)(bb.get())
    assert not mod["main"].params[0].same_as(mod["main_adjoint"].params[0])
    assert mod["main"].body.blocks[0].bindings[0].var.name_hint == "gv"
    assert len(mod["main_adjoint"].body.blocks[0].bindings) == len(mod["main_adjoint"].graph.nodes)


def test_a_target_of_tuple_type_is_refused():
    x = var("x", ())
    bb = relax.BlockBuilder()
    with bb.function("main", [x]):
        with bb.dataflow():
            out = bb.emit_output(relax.Tuple([x, x]))
        bb.emit_func_output(out)
    with pytest.raises(tvm.InternalError, match="must be a float scalar"):
        relax.transform.Gradient("main")(bb.get())


def test_targets_and_closeness():
    assert testing.device_enabled("llvm") and ("llvm", tvm.cpu()) in testing.enabled_targets()
    assert tvm.device_from_target("llvm") == tvm.cpu()
    testing.assert_allclose(tvm.runtime.tensor(np.ones(2)), np.ones(2))
    with pytest.raises(AssertionError):
        testing.assert_allclose(np.ones(2), np.ones(3))

    @testing.parametrize_targets("llvm")
    def test(target, dev): ...

    assert test.pytestmark[0].args == (("target", "dev"), [("llvm", tvm.cpu())])


ABSENT = {
    "from aidgejax.frontends.tvm import te": "relax.op",
    "import aidgejax.frontends.tvm.topi": "out of scope",
    "from aidgejax.frontends.tvm.relax.frontend.torch import from_exported_program": "torch.onnx.export",
    "from aidgejax.frontends.tvm.relax.frontend.nn import Module": "BlockBuilder",
    "from aidgejax.frontends.tvm.relax.transform import FuseOpsByPattern": "XLA",
    "import aidgejax.frontends.tvm.relax.dpl": "passes.pattern",
}


@pytest.mark.parametrize("statement", ABSENT)
def test_what_is_absent_says_what_to_use_instead(statement):
    with pytest.raises(ImportError, match=ABSENT[statement]) as e:
        exec(statement, {})
    assert isinstance(e.value, AidgeJaxError)
    assert not hasattr(tvm, "te") and not hasattr(tvm, "no_such_name")
