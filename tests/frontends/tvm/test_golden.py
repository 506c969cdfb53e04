"""Numbers that TVM 0.27 computed: trajectories of Trainer.update, gradients of single operators, initial parameters."""

import numpy as np
import pytest

from aidgejax.frontends import tvm
from aidgejax.frontends.tvm import relax
from aidgejax.frontends.tvm.relax import training

from .programs import arrays, backbone, cases, in_precision, mlp, operator, setup, var

TRAJECTORIES = cases("trainer_index.json")
GRADIENTS = cases("op_gradients_index.json")
# TVM divides by 6 forward and by 9 backward where a window sticks out with ceil_mode: not the derivative.
WRONG_IN_TVM = ("avg_pool2d-3-1",)
TRAINED, DERIVED = arrays("trainer.npz"), arrays("op_gradients.npz")


@pytest.mark.parametrize("case", TRAJECTORIES, ids=lambda c: c["name"])
def test_a_trajectory(case):
    spec, loss = case["spec"], case["loss"]
    read = lambda key: TRAINED[f"{case['name']}/{key}"]
    dtype = spec["inputs"][0][2]
    close = {"rtol": 1e-9, "atol": 1e-12} if dtype == "float64" else {"rtol": 2e-3, "atol": 1e-4}

    prediction = relax.TensorType(read("predict_before").shape, dtype)
    types = [prediction, relax.TensorType(read("y").shape[1:], loss["targets_dtype"])]
    extra = []
    if loss["weights"]:
        extra = [read("weights")]
        types.append(relax.TensorType(extra[0].shape, extra[0].dtype.name))
    optimizer = case["optimizer"]
    mod, trainer = setup(
        backbone(spec),
        getattr(training.loss, loss["cls"])(**loss["kwargs"]),
        getattr(training.optimizer, optimizer["cls"])(*optimizer["args"], **optimizer["kwargs"]),
        types,
    )
    assert sorted(f.name_hint for f in mod.get_global_vars()) == sorted(case["functions"])
    assert [p.name_hint for p in mod["backbone_loss_adjoint"].params] == case["adjoint_params"]
    for key in ("input_num", "param_num", "state_num"):
        assert mod.attrs[key] == case["attrs"][key]
    assert len(mod.attrs["optim_state"]) == case["attrs"]["optim_state_len"]

    trainer.load_params({n: read(f"init/{n}") for n, _, _ in spec["params"]})
    trainer.load_states({n: read(f"state0/{n}") for n, _, _ in spec["states"]})
    inputs = [n for n, _, _ in spec["inputs"]]
    given = [read(f"predict_in/{n}") for n in inputs]
    np.testing.assert_allclose(trainer.predict(*given).numpy(), read("predict_before"), **close)
    for k in range(case["steps"]):
        step_loss = trainer.update([read(f"x/{n}")[k] for n in inputs], [read("y")[k], *extra])
        np.testing.assert_allclose(step_loss.numpy(), read("loss")[k], **close, err_msg=f"loss of step {k}")
        if k == 0:
            for n, a in trainer.export_params().items():
                np.testing.assert_allclose(a.numpy(), read(f"after1/{n}"), **close, err_msg=n)
    for n, a in trainer.export_params().items():
        assert a.dtype == dtype
        np.testing.assert_allclose(a.numpy(), read(f"final/{n}"), **close, err_msg=n)
    for n, a in trainer.export_states().items():
        np.testing.assert_allclose(a.numpy(), read(f"final_state/{n}"), **close, err_msg=n)
    for k, a in enumerate(trainer.export_optim_states().values()):
        expected = read(f"optim_state/{k}")
        assert a.shape == expected.shape and a.dtype == expected.dtype.name
        np.testing.assert_allclose(a.numpy(), expected, **close, err_msg=f"optimizer state {k}")
    np.testing.assert_allclose(trainer.predict(*given).numpy(), read("predict_after"), **close)


def call(case, x):
    """The call of a golden case."""
    op, attrs = case["op"], dict(case["attrs"])
    function = operator(op)
    if op == "concat":
        return function(x, **attrs)
    if op == "split":
        return function(x[0], attrs.get("indices", attrs.get("sections")), axis=attrs["axis"])
    if op == "nn.nll_loss":
        weights = x[2] if attrs.pop("weights", False) else None
        return function(x[0], x[1], weights, attrs["reduction"], attrs["ignore_index"])
    return function(*x, **attrs)


def gradients(case, read, dtype=None):
    """(outputs, gradients) of sum(out * cot), by relax.transform.Gradient."""
    data = {n: read(f"in/{n}") for n in case["inputs"]}
    cots = [read(f"cot/{k}") for k in range(case["n_out"])]
    x = [var(n, a.shape, a.dtype.name) for n, a in data.items()]
    bb = relax.BlockBuilder()
    with bb.function("main", x):
        with bb.dataflow():
            made = bb.emit(call(case, x))
            outs = [made] if case["n_out"] == 1 and case["op"] != "split" else [made[k] for k in range(case["n_out"])]
            total = None
            for out, cot in zip(outs, cots, strict=True):
                part = relax.op.sum(relax.op.multiply(out, relax.const(cot, cot.dtype.name)))
                total = part if total is None else relax.op.add(total, part)
            loss = bb.emit_output(total)
            outs = [bb.emit_output(o) for o in outs]
        bb.emit_func_output([loss, *outs])
    wanted = [v for v in x if v.name_hint in case["grads"]]
    mod = relax.transform.Gradient("main", require_grads=wanted)(bb.get())
    vm = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    (_, *outs), grads = vm["main_adjoint"](*data.values())
    return [o.numpy() for o in outs], [g.numpy() for g in grads]


@pytest.mark.parametrize("case", GRADIENTS, ids=lambda c: c["name"])
def test_the_gradient_of_an_operator(case):
    read = lambda key: DERIVED[f"{case['name']}/{key}"]
    outs, grads = gradients(case, read)
    for k, out in enumerate(outs):
        np.testing.assert_allclose(out, read(f"out/{k}"), rtol=1e-5, atol=1e-5)
    if case["name"] in WRONG_IN_TVM:
        (x, cot, out), (g,) = (read(k) for k in ("in/x0", "cot/0", "out/0")), grads
        np.testing.assert_allclose((cot * out).sum(), (x * g).sum(), rtol=1e-5)  # a linear operator and its transpose
        return
    for n, g in zip(case["grads"], grads, strict=True):
        np.testing.assert_allclose(g, read(f"grad/{n}"), rtol=1e-5, atol=1e-5, err_msg=n)


def test_xaiver_draws_what_tvm_draws():
    stored = arrays("xaiver_init.npz")
    mod, trainer = setup(
        backbone(mlp()),
        training.loss.MSELoss(),
        training.optimizer.SGD(0.1),
        [relax.TensorType((4, 5)), relax.TensorType((4, 5))],
    )
    np.random.seed(int(stored["seed"]))
    trainer.xaiver_uniform_init_params()
    for n, a in trainer.export_params().items():
        np.testing.assert_array_equal(a.numpy(), stored[n], err_msg=n)


def test_float64_inside_enable_x64():
    case = next(c for c in TRAJECTORIES if c["name"].startswith("f64"))
    with in_precision("float64"):
        test_a_trajectory(case)
