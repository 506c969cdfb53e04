"""TVM's refusals: ours are of the same kind and say the same, unless TVM's is a bug that the front end lists."""

import builtins
from dataclasses import replace

import numpy as np
import pytest

from aidgejax.errors import AidgeJaxError
from aidgejax.frontends import tvm
from aidgejax.frontends.tvm import relax
from aidgejax.frontends.tvm.relax import training
from aidgejax.frontends.tvm.relax.training import loss as losses
from aidgejax.frontends.tvm.relax.training import optimizer as optimizers
from aidgejax.ops import OPERATORS

from .programs import cases, setup, var

RECORDED = {c["case"]: c for c in cases("errors.json")}
T = relax.TensorType
SGD = lambda: optimizers.SGD(0.1)


def dense(dtype="float32", dataflow=True, attrs=None, outputs=1, state=False):
    """x (2, 3) @ w (3, 4) + b (4), with a second output, or a state s (1) that counts."""
    x, w, b = var("x", (2, 3), dtype), var("w", (3, 4), dtype), var("b", (4,), dtype)
    s = var("s", (1,))
    bb = relax.BlockBuilder()
    with bb.function("backbone", [x, w, b, *([s] if state else [])]):
        if dataflow:
            with bb.dataflow():
                y = bb.emit(relax.op.matmul(x, w))
                found = [bb.emit_output(relax.op.add(y, b))]
                if outputs > 1:
                    found.append(bb.emit_output(relax.op.exp(y)))
                if state:
                    found.append(bb.emit_output(relax.op.add(s, relax.const(1.0, "float32"))))
        else:
            found = [bb.emit(relax.op.add(bb.emit(relax.op.matmul(x, w)), b))]
        bb.emit_func_output(found if len(found) > 1 else found[0])
    return bb.get().with_attrs({"param_num": 2, "state_num": int(state)} if attrs is None else attrs)


def mse(n=4):
    return training.SetupTrainer(losses.MSELoss(), SGD(), [T((2, n)), T((2, n))])


def cross_entropy(targets, *weights):
    return training.SetupTrainer(losses.CrossEntropyLoss(), SGD(), [T((2, 4)), targets, *weights])


def trainer(zero=True, **how):
    return setup(dense(**how), losses.MSELoss(), SGD(), [T((2, 4)), T((2, 4))], zero=zero)[1]


def loss_function(reduction="mean", dataflow=True, params=1):
    vs = [var("predictions", (2, 4)), var("targets", (2, 4))][:params]
    bb = relax.BlockBuilder()
    with bb.function("loss", vs):
        if dataflow:
            with bb.dataflow():
                out = bb.emit_output(relax.op.exp(vs[0]) if reduction == "none" else relax.op.sum(vs[0]))
        else:
            out = bb.emit(relax.op.sum(vs[0]))
        bb.emit_func_output(out)
    return bb.get()["loss"]


def scalar(params=None):
    x, w = params or (var("x", (2, 3)), var("w", (3, 4)))
    bb = relax.BlockBuilder()
    with bb.function("main", [x, w]):
        with bb.dataflow():
            out = bb.emit_output(relax.op.sum(relax.op.matmul(x, w)))
        bb.emit_func_output(out)
    return bb.get(), x, w


def gradient_of(twice=False, index=0):
    mod, x, w = scalar()
    return relax.transform.Gradient("main", require_grads=[w, w] if twice else w, target_index=index)(mod)


X, Y = np.ones((2, 3), np.float32), np.ones((2, 4), np.float32)

REFUSED = {
    "setup: no attrs": lambda: mse()(dense(attrs={})),
    "setup: state_num missing": lambda: mse()(dense(attrs={"param_num": 2})),
    "setup: param_num too large": lambda: mse()(dense(attrs={"param_num": 9, "state_num": 0})),
    "setup: not dataflow": lambda: mse()(dense(dataflow=False)),
    "setup: loss args type mismatch": lambda: mse(5)(dense()),
    "setup: params int dtype": lambda: training.SetupTrainer(
        losses.MSELoss(), SGD(), [T((2, 4)), T((2, 4))])(integers()),
    "setup: CE targets wrong dtype": lambda: cross_entropy(T((2,), "float32"))(dense()),
    "setup: CE weights wrong shape": lambda: cross_entropy(T((2,), "int64"), T((5,)))(dense()),
    "loss: param not Var/Type": lambda: losses.MSELoss()(int, T((2, 4))),
    "loss: base call": lambda: losses.Loss("l", 1)(T((2, 4))),
    "opt: not init": lambda: SGD().get_function(),
    "opt: int dtype": lambda: SGD().init(var("x", (3,), "int32")),
    "opt: duplicate": lambda: SGD().init([v := var("x", (3,)), v]),
    "opt: base get_function": lambda: optimizers.Optimizer("base").init(var("x", (3,))).get_function(),
    "opt: MomentumSGD requires momentum": lambda: optimizers.MomentumSGD(0.1),
    "trainer: predict uninitialised": lambda: trainer(zero=False).predict(X),
    "trainer: states uninitialised": lambda: states_uninitialised().predict(X),
    "trainer: load_params tuple": lambda: trainer().load_params((Y, Y)),
    "trainer: load_states None": lambda: trainer().load_states(None),
    "trainer: predict wrong input count": lambda: trainer().predict(X, X),
    "trainer: predict after wrong shape": lambda: trainer().load_params({"b": np.ones(5, np.float32)}),
    "trainer: predict after wrong dtype": lambda: trainer().load_params({"b": np.ones(4, np.float64)}),
    "trainer: predict float64 input": lambda: trainer().predict(X.astype(np.float64)),
    "append: not dataflow backbone": lambda: training.AppendLoss("backbone", loss_function())(dense(dataflow=False)),
    "append: non-scalar loss": lambda: training.AppendLoss("backbone", loss_function("none"))(dense()),
    "append: num_backbone_outputs > loss params": lambda: training.AppendLoss(
        "backbone", loss_function(), 2)(dense(outputs=2)),
    "append: loss no dataflow": lambda: training.AppendLoss("backbone", loss_function(dataflow=False))(dense()),
    "grad: duplicate var": lambda: gradient_of(twice=True),
    "grad: target_index out of range single": lambda: gradient_of(index=1),
}  # fmt: skip


def integers():
    """A backbone whose parameters are integers and whose result is not."""
    x, w = var("x", (2, 4)), var("w", (3, 4), "int32")
    bb = relax.BlockBuilder()
    with bb.function("backbone", [x, w]):
        with bb.dataflow():
            out = bb.emit_output(relax.op.exp(x))
        bb.emit_func_output(out)
    return bb.get().with_attrs({"param_num": 1, "state_num": 0})


def states_uninitialised():
    t = trainer(zero=False, state=True)
    t.zero_init_params()
    return t


def essence(message):
    """TVM's own words: without the C++ expression before and the place."""
    message = message.split(" is false: ")[-1].split(") : ")[-1].split(" : Var")[0]
    return message.replace("T.float32", "float32").replace("T.int64(4)", "4").replace("T.int64(5)", "5")


OTHER_WORDS = (
    "trainer: predict after wrong shape",
    "trainer: predict after wrong dtype",
    "trainer: predict float64 input",
    "loss: param not Var/Type",
    "grad: duplicate var",
)


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal(case):
    recorded = RECORDED[case]
    kinds = {"InternalError": tvm.InternalError}
    kind = kinds.get(recorded["type"]) or getattr(builtins, recorded["type"])
    with pytest.raises(kind) as raised:
        REFUSED[case]()
    if case not in ("loss: base call", "opt: MomentumSGD requires momentum"):
        assert isinstance(raised.value, AidgeJaxError)
    if case not in OTHER_WORDS:
        assert essence(recorded["message"]) in str(raised.value)


@pytest.mark.parametrize("case", [c for c in RECORDED if c.startswith("noreg")])
def test_an_operator_without_a_gradient_in_tvm_has_one(case):
    name = case.split(": ")[1]
    x, g = var("x", (3, 4)), var("g", (4,))
    function = relax.op
    for part in name.split("."):
        function = getattr(function, part)
    more = {
        "nn.layer_norm": lambda: function(x, g, g, axes=[-1]),
        "clip": lambda: function(x, -1.0, 1.0),
        "stack": lambda: function([x, x], axis=1),
        "squeeze": lambda: function(x),
        "gather_elements": lambda: function(x, relax.const(np.zeros((2, 4), np.int64)), axis=0),
    }
    bb = relax.BlockBuilder()
    with bb.function("main", [x, g]):
        with bb.dataflow():
            out = bb.emit_output(relax.op.sum(more.get(name, lambda: function(x))()))
        bb.emit_func_output(out)
    mod = relax.transform.Gradient("main", require_grads=[x])(bb.get())
    vm = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    _, (dx,) = vm["main_adjoint"](np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4), np.ones(4, np.float32))
    assert dx.shape == (3, 4) and np.isfinite(dx.numpy()).all()


def test_what_is_allowed_gives_what_tvm_gives():
    mod = mse()(dense())
    assert [f.name_hint for f in mod.get_global_vars()] == sorted(mod.functions)
    assert str(sorted(f.name_hint for f in mod.functions)) == RECORDED["setup: legalize=False functions"]["value"]
    state = optimizers.Adam(0.1).init([var("x", (2,)), var("y", (3,))]).state
    assert str([s.shape for s in state]) == RECORDED["opt: state after init"]["value"]
    t = trainer()
    t.load_params({"b": np.ones(4, np.float32)})
    assert str(t.export_params()["b"].numpy().tolist()) == RECORDED["trainer: load_params partial dict"]["value"]
    one = type(trainer(state=True).predict(X)).__name__
    assert repr(one) == RECORDED["trainer: predict returns w/ states"]["value"]
    two = [type(o).__name__ for o in trainer(outputs=2).predict(X)]
    assert str(two) == RECORDED["trainer: extra output predict type (update keeps first)"]["value"]
    assert str(sorted(mod.attrs.keys())) == RECORDED["trainer: attr names"]["value"]
    added = training.AppendLoss("backbone", loss_function(), new_func_name="foo")(dense())
    assert str([f.name_hint for f in added.get_global_vars()]) == RECORDED["append: new name"]["value"]
    found = training.AppendLoss("backbone", loss_function())(dense(state=True))["backbone_loss"].ret_struct_info
    assert str(found) == 'R.Tuple(R.Tensor((), dtype="float32"), R.Tensor((1,), dtype="float32"))'
    mod, x, w = scalar()
    assert len(relax.transform.Gradient("main")(mod)["main_adjoint"].ret_struct_info.fields[1].fields) == 2


def test_nothing_is_applied_when_anything_is_wrong():
    t = trainer()
    for bad in (
        {"w": np.ones((3, 4), np.float32), "zz": Y},
        {"w": np.ones((3, 4), np.float32), "b": Y},
        [np.ones((3, 4), np.float32), np.ones(4, np.float64)],
        [np.ones((3, 4), np.float32)],
    ):
        with pytest.raises(ValueError):
            t.load_params(bad)
        assert not any(a.numpy().any() for a in t.export_params().values())
    with pytest.raises(ValueError, match="Parameter zz is not found in the model"):
        t.load_params({"zz": Y})
    with pytest.raises(ValueError, match="The length of extern parameters is 1, which does not match .* parameters 2"):
        t.load_params([Y])


def test_states_are_looked_up_among_the_states():
    t = trainer(state=True)
    t.load_states({"s": np.full(1, 7, np.float32)})
    assert t.export_states()["s"].numpy() == 7
    with pytest.raises(ValueError, match="State w is not found"):
        t.load_states({"w": np.ones(1, np.float32)})
    t.update(X, Y)
    assert t.export_states()["s"].numpy() == 8


def test_messages_of_the_optimizers():
    x, y = var("x", (2,)), var("y", (2,), "float64")
    for params, message in (
        ([x, 3], "Parameter 3 is not a Var"),
        ([relax.Var("t", relax.TupleType([T((2,))]))], "only support Tensor parameters, but parameter t has type"),
        ([x, y], "parameter y has dtype float64, which differs from the previous dtype float32"),
    ):
        with pytest.raises(ValueError, match=message):
            SGD().init(params)


def test_other_refusals_of_gradient():
    mod, x, w = scalar()
    with pytest.raises(tvm.InternalError, match="There is no Var named q in the function main"):
        relax.transform.Gradient("main", require_grads=var("q", (2,)))(mod)
    with pytest.raises(tvm.InternalError, match=r"must be a float scalar .* of the given target gv is R.Tensor"):
        relax.transform.Gradient("backbone")(dense())
    with pytest.raises(ValueError, match='Cannot find global var "nope" in the Module\ncandidates are: \\["main"\\]'):
        relax.transform.Gradient("nope")(mod)


def test_an_operator_without_a_rule_is_named(monkeypatch):
    mod, x, w = scalar()
    monkeypatch.setitem(OPERATORS, "MatMul", replace(OPERATORS["MatMul"], vjp=None))
    with pytest.raises(tvm.InternalError, match="no gradient rule for operator 'MatMul'"):
        relax.transform.Gradient("main")(mod)


def test_bad_reductions_and_class_losses():
    with pytest.raises(ValueError, match="Reduction can only be one of these values"):
        losses.L1Loss("median")
    with pytest.raises(ValueError, match="N from predictions is 2 while N from targets is 3"):
        losses.CrossEntropyLoss()(T((2, 4)), T((3,), "int64"))
    with pytest.raises(TypeError, match="Dtype of targets expected to be int/uint.* float32"):
        losses.CategoricalCrossEntropyLoss()(T((2, 4)), T((2, 4)))
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'targets'"):
        losses.MSELoss()(T((2, 4)))


def test_profile_needs_a_machine_that_profiles():
    with pytest.raises(RuntimeError, match="profile=True"):
        trainer().profile_adjoint(X, Y)


def test_a_target_and_a_device_that_differ():
    with pytest.raises(ValueError, match="built for cuda .* the device is cpu:0"):
        relax.VirtualMachine(tvm.compile(dense(), "cuda"), tvm.cpu())
    with pytest.raises(ValueError, match="no target 'riscy'"):
        tvm.compile(dense(), "riscy")


@pytest.mark.parametrize(
    "call",
    [
        lambda: relax.training.SetupTrainer(relax.training.loss.MSELoss(), relax.training.optimizer.SGD(0.1), [])(
            tvm.IRModule()
        ),
        lambda: relax.Var("x", 3),
        lambda: tvm.script.from_source("x ="),
    ],
)
def test_tvms_base_of_errors_catches_them_all(call):
    with pytest.raises(tvm.TVMError):
        call()
