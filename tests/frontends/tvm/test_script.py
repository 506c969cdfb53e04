"""TVMScript: what is read is what was stated, and what is printed reads back the same."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from aidgejax.errors import AidgeJaxError
from aidgejax.frontends import tvm
from aidgejax.frontends.tvm import relax, script
from aidgejax.frontends.tvm.ir.base import assert_structural_equal
from aidgejax.frontends.tvm.relax import training
from aidgejax.frontends.tvm.script import ir as I
from aidgejax.frontends.tvm.script import relax as R
from aidgejax.frontends.tvm.script import tir as T

from .programs import arrays, backbone, cases, mlp, var
from .test_golden import GRADIENTS, call

TRAJECTORIES = cases("trainer_index.json")
WIDTH = 4


def reads_back(mod):
    text = mod.script()
    found = script.from_source(text)
    assert_structural_equal(found, mod)
    assert tvm.ir.structural_equal(found, mod), tvm.ir.base
    return text


@I.ir_module
class Dense:
    I.module_attrs({"param_num": 2, "state_num": 0})

    @R.function
    def backbone(
        x: R.Tensor(("n", WIDTH), "float32"), w: R.Tensor((WIDTH, 3), "float32"), b: R.Tensor((3,), "float32")
    ) -> R.Tensor(("n", 3), "float32"):
        """Docstrings are not bindings."""
        n = T.int64()
        with R.dataflow():
            lv: R.Tensor((n, 3), "float32") = R.matmul(x, w)
            pair = (lv, R.nn.relu(lv + b))
            gv = R.multiply(pair[1], R.const(2.0, "float32"))
            R.output(gv)
        return gv


def test_a_decorated_class_is_the_module_that_a_builder_states():
    x, w, b = var("a", ("batch", 4)), var("b", (4, 3)), var("c", (3,))
    bb = relax.BlockBuilder()
    with bb.function("backbone", [x, w, b]):
        with bb.dataflow():
            h = bb.emit(relax.op.matmul(x, w))
            out = bb.emit_output(relax.op.multiply(relax.op.nn.relu(relax.op.add(h, b)), relax.const(2.0)))
        bb.emit_func_output(out)
    assert_structural_equal(Dense, bb.get().with_attrs({"param_num": 2, "state_num": 0}))
    rng = np.random.default_rng(0)
    given = [rng.normal(size=s).astype(np.float32) for s in ((2, 4), (4, 3), (3,))]
    want = 2 * np.maximum(given[0] @ given[1] + given[2], 0)
    np.testing.assert_allclose(Dense["backbone"](*given).numpy(), want, rtol=1e-6)
    assert Dense["backbone"].ret_ty.shape == ("n", 3)


def test_a_module_that_was_read_trains():
    types = [relax.TensorType(("n", 3), "float32"), relax.TensorType(("n",), "int64")]
    mod = training.SetupTrainer(training.loss.CrossEntropyLoss(), training.optimizer.SGD(0.5), types)(Dense)
    reads_back(mod)
    again = script.from_source(mod.script())
    vm = relax.VirtualMachine(tvm.compile(again, "llvm"), tvm.cpu())
    trainer = training.Trainer(again, vm, tvm.cpu(), False)
    rng = np.random.default_rng(0)
    trainer.load_params([rng.normal(size=s).astype(np.float32) for s in ((4, 3), (3,))])
    x, y = rng.normal(size=(6, 4)).astype(np.float32), np.arange(6) % 3
    losses = [float(trainer.update(x, y)) for _ in range(5)]
    assert losses[-1] < losses[0]


def test_functions_call_functions_and_large_constants_keep_their_bits():
    table = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)

    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((2, 3), "float32")):
            cls = Module
            big = R.const(table)
            y = cls.double(x)
            return (y, R.sum(big, axis=[0]))

        @R.function(private=True)
        def double(x: R.Tensor((2, 3), "float32")) -> R.Tensor((2, 3), "float32"):
            with R.dataflow():
                y = R.add(x, x)
                R.output(y)
            return y

    text = reads_back(Module)
    assert "cls.double(x)" in text and "@R.function(private=True)" in text
    twice, total = script.from_source(text)["main"](np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(twice.numpy(), np.full((2, 3), 2))
    np.testing.assert_array_equal(total.numpy(), Module["main"](np.ones((2, 3), np.float32))[1].numpy())


def test_a_function_alone_and_its_text():
    @R.function
    def total(x: R.Tensor((3,), "float32"), pair: R.Tuple(R.Tensor((3,), "float32"), R.Tensor((), "float32"))):
        R.func_attr({"answer": 42})
        cast = R.match_cast(x, R.Tensor(("m",), "float32"))
        y = R.add(R.full_like(cast, pair[1]), pair[0])
        s = R.shape([3, 1])
        z = R.reshape(y, s)
        return R.sum(z)

    assert total.attrs["answer"] == 42 and total.blocks == [False]
    again = script.from_source(total.script())
    assert_structural_equal(again, total)
    given = (np.zeros(3, np.float32), (np.ones(3, np.float32), np.float32(2)))
    assert float(again(*given)) == float(total(*given)) == 9.0


@pytest.mark.parametrize("case", TRAJECTORIES, ids=lambda c: c["name"])
def test_every_trained_module_reads_back(case):
    loss, optimizer = case["loss"], case["optimizer"]
    mod = backbone(case["spec"])
    reads_back(mod)
    if not TRAJECTORIES.index(case) % 6 == 0:  # the passes write the same kinds of nodes for all
        return
    read = arrays("trainer.npz")
    types = [relax.TensorType(read[f"{case['name']}/predict_before"].shape, case["spec"]["inputs"][0][2])]
    types.append(relax.TensorType(read[f"{case['name']}/y"].shape[1:], loss["targets_dtype"]))
    if loss["weights"]:
        weights = read[f"{case['name']}/weights"]
        types.append(relax.TensorType(weights.shape, weights.dtype.name))
    setup = training.SetupTrainer(
        getattr(training.loss, loss["cls"])(**loss["kwargs"]),
        getattr(training.optimizer, optimizer["cls"])(*optimizer["args"], **optimizer["kwargs"]),
        types,
        legalize=False,
    )
    reads_back(setup(mod))


@pytest.mark.parametrize("case", GRADIENTS[::2], ids=lambda c: c["name"])
def test_every_operator_reads_back(case):
    read = arrays("op_gradients.npz")
    keys = sorted(k for k in read if k.startswith(f"{case['name']}/in"))
    x = [var(f"x{k}", read[key].shape, read[key].dtype.name) for k, key in enumerate(keys)]
    bb = relax.BlockBuilder()
    with bb.function("main", x):
        with bb.dataflow():
            out = bb.emit_output(call(case, x))
        bb.emit_func_output(out)
    reads_back(bb.get())


def test_a_model_from_onnx_reads_back():
    weight = np.random.default_rng(0).normal(size=(2, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4),
        helper.make_node("HardSwish", ["c"], ["h"]),
        helper.make_node("GlobalAveragePool", ["h"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, 1, 1])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    text = reads_back(relax.from_onnx(model))
    assert 'R.call_pure_packed("aidgejax.HardSwish"' in text
    x = np.random.default_rng(1).normal(size=(2, 1, 4, 4)).astype(np.float32)
    plain = relax.frontend.onnx.from_onnx(model)
    kept = relax.frontend.onnx.from_onnx(model, {"x": (2, 1, 4, 4)}, keep_params_in_input=True)
    kept, values = relax.frontend.detach_params(kept)
    assert_structural_equal(script.from_source(plain.script()), plain)  # the same values, by operators of relax
    np.testing.assert_allclose(
        plain["main"](x).numpy(), script.from_source(kept.script())["main"](x, *values["main"]).numpy(), rtol=1e-6
    )
    assert kept["main"].params[0].struct_info.shape == (2, 1, 4, 4)


# ---- when two programs are the same ------------------------------------------------------------------------


def program(write, shape=(2, 3), name="main"):
    x = var("x", shape)
    bb = relax.BlockBuilder()
    with bb.function(name, [x]):
        with bb.dataflow():
            out = bb.emit_output(write(x))
        bb.emit_func_output(out)
    return bb.get()


ONE = program(lambda x: relax.op.sum(x, axis=1))
OTHERS = {
    "operator": program(lambda x: relax.op.mean(x, axis=1)),
    "setting": program(lambda x: relax.op.sum(x, axis=0)),
    "shape": program(lambda x: relax.op.sum(x, axis=1), shape=(2, 4)),
    "constant": program(lambda x: relax.op.sum(relax.op.add(x, relax.const(0.0)), axis=1)),
    "name of the function": program(lambda x: relax.op.sum(x, axis=1), name="other"),
    "attribute": ONE.with_attr("param_num", 1),
}


@pytest.mark.parametrize("what", OTHERS)
def test_programs_that_differ_are_told_apart(what):
    with pytest.raises(ValueError, match="StructuralEqual check failed"):
        tvm.ir.assert_structural_equal(ONE, OTHERS[what])


def test_what_a_pass_wrote_is_compared_by_its_values():
    @R.function
    def loss(predictions: R.Tensor((2, 3), "float32"), targets: R.Tensor((2, 3), "float32")):
        with R.dataflow():
            d = R.subtract(predictions, targets)
            gv = R.mean(R.multiply(d, d))
            R.output(gv)
        return gv

    type_ = relax.TensorType((2, 3), "float32")
    made = training.loss.MSELoss()(type_, type_).with_attr("global_symbol", "loss")
    assert not tvm.ir.structural_equal(made, loss)
    assert_structural_equal(made, loss)
    with pytest.raises(ValueError, match="StructuralEqual"):
        assert_structural_equal(training.loss.L1Loss()(type_, type_).with_attr("global_symbol", "loss"), loss)


# ---- what is refused ---------------------------------------------------------------------------------------

WRONG = {
    "no such operator": ("y = R.frobnicate(x)\n    return y", r"line 3.*frobnicate"),
    "a name that is not there": ("return y", r"line 3.*'y' is not defined"),
    "control flow": ("for k in x:\n        return x\n    return x", r"line 3: for is not read"),
    "a branch without a result": ("if x:\n        return x\n    return x", r"line 3: both branches of an if end with"),
    "a false annotation": ('y: R.Tensor((4,), "float32") = R.add(x, x)\n    return y', r"line 3.*annotated"),
    "no result": ("y = R.add(x, x)", r"returns nothing"),
    "an output that is not bound": ("with R.dataflow():\n        y = R.exp(x)\n        R.output(z)\n    return x", "z"),
    "a packed function of TVM": (
        'y = R.call_pure_packed("vm.copy", x, R.str("{}"))\n    return y',
        "out of scope",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_read_is_named_with_its_line(what):
    body, message = WRONG[what]
    text = f'@R.function\ndef main(x: R.Tensor((3,), "float32")):\n    {body}\n'
    with pytest.raises(ValueError, match=message) as e:
        script.from_source(text)
    assert isinstance(e.value, AidgeJaxError)


def test_tir_is_out_of_scope():
    with pytest.raises(tvm.error.DiagnosticError, match="out of scope"):
        T.prim_func(lambda: None)


def test_a_shape_as_a_result_is_refused():
    """It came back as an empty tuple, and the module printed so."""
    text = "@R.function\ndef main(x: R.Tensor((3, 4), 'float32')):\n    y: R.Shape = R.shape_of(x)\n    return {}\n"
    for result in ("y", "(x, y)"):
        with pytest.raises(AidgeJaxError, match=r"returns the shape y.*take its \.shape"):
            script.from_source("from tvm.script import relax as R\n" + text.format(result))


def test_text_reaches_nothing_but_what_it_may():
    text = '@R.function\ndef main(x: R.Tensor((3,), "float32")):\n    y = __import__("os")\n    return x\n'
    with pytest.raises(ValueError, match="__import__"):
        script.from_source(text)


def test_printing_keeps_numbers_that_are_not_finite():
    mod = program(lambda x: relax.op.add(x, relax.const(np.array([np.inf, -np.inf, np.nan], np.float32))))
    assert 'float("inf")' in reads_back(mod)


def test_blocks_marks_and_awkward_names_read_back():
    x, w, op = var("x", ("n", 4)), var("w.0", (4, 4)), relax.op
    bb = relax.BlockBuilder()
    with bb.function("main", [x, w], attrs={"note": 'a "quoted"\nline'}):
        with bb.dataflow():
            a = bb.emit_output(x)
        b = bb.emit(op.matmul(a, w), "lambda")
        with bb.dataflow():
            kept = bb.emit(op.grad.end_checkpoint(bb.emit(op.nn.gelu(bb.emit(op.grad.start_checkpoint(b))))))
            dropped = bb.emit(op.nn.dropout(kept, 0.3))
            c = bb.emit_output(op.sum(dropped[0]))
        bb.emit_func_output([c, (b, a)])
    text = reads_back(bb.get())
    assert text.count("with R.dataflow():") == 2 and "return (gv_1, (vlambda, gv))" in text


def test_the_mlp_prints_as_relax():
    text = backbone(mlp()).script()
    assert "@I.ir_module" in text and "with R.dataflow():" in text and "R.matmul(x, w0, out_dtype=None)" in text
    assert '"param_num": 4' in text


# ---- what is there beside it -------------------------------------------------------------------------------


def test_modules_are_asked_and_updated_as_in_tvm():
    assert relax.analysis.well_formed(ONE) and relax.analysis.well_formed(ONE["main"])
    assert not relax.analysis.well_formed(3)
    copy = ONE.copy()
    copy.update_func(copy.get_global_var("main"), OTHERS["operator"]["main"])
    assert not tvm.ir.structural_equal(copy, ONE)
    copy.update(ONE)
    assert tvm.ir.structural_equal(copy, ONE) and [v.name_hint for v, _ in copy.functions_items()] == ["main"]


@pytest.mark.parametrize(
    "line",
    [
        "tvm.relax.op.base import call_tir", "tvm.relax.training.utils import register_te_gradient",
        "tvm.relax import PyExprMutator", "tvm.relax.analysis import udchain", "tvm.ir import save_json",
        "tvm import register_func", "tvm import te", "tvm.relax.distributed import DTensor",
    ],
)  # fmt: skip
def test_names_out_of_scope_say_so_on_import(line):
    with pytest.raises(ImportError, match="is not in aidgejax: ") as e:
        exec(f"from aidgejax.frontends.{line}")
    assert isinstance(e.value, AidgeJaxError)


def test_sizes_are_named_by_the_package_of_either_name():
    assert script.tirx.int64(3) == tvm.tirx.IntImm("int64", 3) == T.int64(3) and script.parser.tirx is script.tirx


def test_a_model_from_onnx_prints_as_operators_of_relax():
    """No call of a packed function, so that TVM reads the text too; a bias is an add, Gemm a matmul."""
    rng = np.random.default_rng(0)
    shapes = {"k": (2, 1, 3, 3), "kb": (2,), "g": (2,), "b": (2,), "m": (2,), "v": (2,), "w": (3, 8), "wb": (3,)}
    stored = {k: np.abs(rng.normal(size=s)).astype(np.float32) for k, s in shapes.items()}
    stored |= {"low": np.float32(0), "high": np.float32(6)}
    nodes = [
        helper.make_node("Conv", ["x", "k", "kb"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"]),
        helper.make_node("Clip", ["n", "low", "high"], ["q"]),
        helper.make_node("MaxPool", ["q"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "wb"], ["y"], transB=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, ["n", 1, 4, 4])], [value("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.asarray(a), k) for k, a in stored.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    mod = relax.frontend.onnx.from_onnx(model, keep_params_in_input=True)
    text = mod.script()
    assert "packed" not in text and "R.nn.conv2d(x, k" in text and "R.nn.max_pool2d(" in text
    assert_structural_equal(script.from_source(text), mod)
