"""What scripts ask of modules, builders, passes, machines and types beside training."""

import numpy as np
import pytest

from aidgejax.frontends import tvm
from aidgejax.frontends.tvm import relax, tirx
from aidgejax.frontends.tvm.script import ir as I
from aidgejax.frontends.tvm.script import relax as R

N = tirx.Var("n", "int64")


@I.ir_module
class Dense:
    @R.function
    def main(x: R.Tensor(("n", 3), "float32"), w: R.Tensor((3, 2), "float32")):
        with R.dataflow():
            y = R.matmul(x, w)
            z = R.nn.relu(y)
            R.output(z)
        return z


def test_sizes_are_names_numbers_and_formulas():
    kind = relax.TensorType((N, 2, N * 2 + 1), "float32")
    assert list(kind.shape) == list(kind.shape.values) == ["n", 2, "n * 2 + 1"] and kind.shape[0].name == "n"
    assert str(3 - N) == "3 - n" and str((N + 1) // 2) == "(n + 1) // 2" and N.dtype == "int64" and N.same_as(N)
    number = tirx.IntImm("int64", 3)
    assert number == 3 and number.value + 1 == 4 and number.dtype == "int64" and str(number) == "T.int64(3)"
    assert relax.TensorType((number,)).shape == (3,)
    assert kind.is_base_of(relax.TensorType((5, 2, 11))) and not kind.is_base_of(relax.TensorType((5, 3, 11)))
    assert relax.TensorType(ndim=2).is_base_of(kind) is False and relax.TensorType(ndim=3).is_base_of(kind)


def test_two_tensors_of_unknown_shape_need_not_agree():
    @R.function
    def outer(x: R.Tensor("float32", ndim=1), y: R.Tensor("float32", ndim=1)):
        return R.outer(x, y)

    assert "R.Tensor(dtype=" in outer.script()
    assert outer(np.ones(2, np.float32), np.ones(3, np.float32)).shape == (2, 3)


def test_parameters_may_be_declared_at_the_end():
    x, y = (relax.Var(name, relax.TensorType((2,))) for name in "xy")
    bb = relax.BlockBuilder()
    with bb.function("main"):
        difference = bb.emit(relax.op.subtract(y, x))
        assert difference.name == "gv"  # outside of a dataflow block
        bb.emit_func_output(difference, params=[x, y])
    found = bb.get()["main"](np.zeros(2, np.float32), np.ones(2, np.float32))
    np.testing.assert_array_equal(found.numpy(), [1, 1])
    with pytest.raises(ValueError, match="Var y is neither a parameter"):
        with bb.function("other"):
            bb.emit_func_output(bb.emit(relax.op.add(x, y)), params=[x])


def test_bodies_are_walked():
    main = Dense["main"]
    (block,) = main.body.blocks
    assert isinstance(main.body, relax.SeqExpr) and isinstance(block, relax.DataflowBlock | relax.BindingBlock)
    assert all(isinstance(b, relax.VarBinding) for b in block.bindings)
    names = []
    relax.analysis.post_order_visit(main, lambda e: names.append(e.op.name) if isinstance(e, relax.Call) else None)
    assert names == ["relax.matmul", "relax.nn.relu"]
    assert [v.name for v in relax.analysis.bound_vars(main)] == ["x", "w", "y", "z"]
    assert relax.analysis.free_vars(main) == [] and len(relax.analysis.all_vars(main)) == 4


def test_passes_bind_parameters_and_sizes_and_are_made_of_functions():
    w = np.arange(6, dtype=np.float32).reshape(3, 2)
    bound = relax.transform.BindParams("main", {"w": w})(Dense)
    x = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(bound["main"](x).numpy(), Dense["main"](x, w).numpy())
    for wrong in (relax.transform.BindParams("main", {"q": w}), relax.transform.BindSymbolicVars({"q": 3})):
        with pytest.raises(RuntimeError, match="q"):
            wrong(Dense)
    fixed = relax.transform.BindSymbolicVars({"n": 4})(Dense)["main"]
    assert fixed.params[0].ty.shape == (4, 3) and fixed.ret_ty.shape == (4, 2)

    @relax.transform.function_pass(opt_level=1, name="Mark")
    class Mark:
        def __init__(self, value):
            self.value = value

        def transform_function(self, func, mod, ctx):
            return func.with_attr("mark", self.value)

    assert Mark(2)(Dense)["main"].attrs["mark"] == 2 and Mark(2).info.name == "Mark"


def test_modules_and_machines_refuse_as_tvm_does():
    assert tvm.ir.structural_hash(Dense["main"]) == tvm.ir.structural_hash(
        tvm.script.from_source(Dense.script())["main"]
    )
    with pytest.raises(TypeError, match="is a Function"):
        tvm.IRModule({"main": 3})
    vm = relax.VirtualMachine(tvm.compile(Dense), tvm.cpu())
    with pytest.raises(RuntimeError, match="takes 2 arguments"):
        vm["main"](np.ones((4, 3), np.float32))
    with pytest.raises(AttributeError, match="no function 'other'"):
        vm["other"]
    with pytest.raises(ValueError, match="what tvm.compile returns"):
        relax.VirtualMachine(Dense, tvm.cpu())
    with pytest.raises(TypeError, match="integer"):
        bb, k = relax.BlockBuilder(), relax.Var("k", relax.TensorType((2,)))
        with bb.function("main", [k]):
            bb.emit(relax.op.take(k, k))


def test_tensors_are_filled_and_handed_on():
    held = tvm.runtime.empty((2, 3), "float32", tvm.cpu())
    held.copyfrom(np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(np.from_dlpack(held), np.ones((2, 3)))


def test_an_optimizer_of_ones_own_says_what_it_lacks():
    class Mine(relax.training.optimizer.Optimizer):
        def __init__(self):
            super().__init__("Mine")

    mine = Mine().init(relax.Var("x", relax.TensorType((2,))))
    with pytest.raises(RuntimeError, match="call init"):
        mine.get_function()
    mine.state = ()
    with pytest.raises(NotImplementedError, match="Mine has no get_function"):
        mine.get_function()
