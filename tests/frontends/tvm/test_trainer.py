"""What a user of Trainer sees beyond TVM's own numbers."""

import jax
import numpy as np
import pytest

from aidgejax import onnxio
from aidgejax.execution.numpy_program import NumpyProgram
from aidgejax.execution.program import make_program
from aidgejax.execution.run import run
from aidgejax.frontends import tvm
from aidgejax.frontends.tvm import relax
from aidgejax.frontends.tvm.relax import training
from aidgejax.frontends.tvm.relax.training import loss as losses
from aidgejax.frontends.tvm.relax.training import optimizer as optimizers
from aidgejax.interpreter.shape_inference import infer_shapes
from aidgejax.ops import OPERATORS
from aidgejax.passes.loss import with_loss
from aidgejax.reference._definition import DEFINITIONS
from aidgejax.tools import zoo
from aidgejax.training import optim, schedule
from aidgejax.training.loop import make_epoch, make_step, start

from .programs import backbone, cases, mlp, setup, var

T = relax.TensorType
RNG = np.random.default_rng(7)


def draw(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def trainer(optimizer=None, loss=None, spec=None, **how):
    loss_args = [T((4, 5)), T((4,), "int64")] if loss is None else [T((4, 5)), T((4, 5))]
    mod, t = setup(
        backbone(spec or mlp()), loss or losses.CrossEntropyLoss(), optimizer or optimizers.Adam(0.01), loss_args, **how
    )
    np.random.seed(3)
    t.xavier_uniform_init_params()
    return mod, t


def test_the_module_is_four_printable_graphs():
    mod, _ = trainer()
    assert sorted(mod.functions) == ["backbone", "backbone_loss", "backbone_loss_adjoint", "optimizer"]
    assert "Relu(lv1, slope_at_zero=1.0)" in str(mod["backbone"])
    assert "SoftmaxCrossEntropyLoss(" in str(mod["backbone_loss"])
    assert "w0_grad:float32[6, 8] = MatMul(" in str(mod["backbone_loss_adjoint"])
    assert "w0_new:float32[6, 8] = Sub(w0, " in str(mod["optimizer"])
    assert mod.attrs["optim_states"] is mod.attrs["optim_state"] and len(mod.attrs["optim_state"]) == 11


@pytest.mark.parametrize("name", ["bn-ce_mean-adam", "mlp-l1_mean-nest"])
def test_legalized_or_not_the_numbers_are_the_same(name):
    case = next(c for c in cases("trainer_index.json") if c["name"] == name)
    n = case["spec"]["inputs"][0][1][0]
    shape = T((n, 5))
    loss = getattr(losses, case["loss"]["cls"])()
    targets = T((n,), "int64") if case["loss"]["target"] == "class" else shape
    y = np.arange(n) % 5 if case["loss"]["target"] == "class" else draw(n, 5)
    x, seen = draw(n, 6), []
    for legalize in (True, False):
        mod, t = setup(backbone(case["spec"]), loss, optimizers.Adam(0.01), [shape, targets], legalize=legalize)
        np.random.seed(1)
        t.xaiver_uniform_init_params()
        seen.append([t.update(x, y).numpy() for _ in range(3)])
        if legalize:
            met = {node.op for f in mod.functions.values() for node in f.graph.nodes}
            assert met <= {*OPERATORS} & {*DEFINITIONS}
        else:
            assert any(word in str(mod["backbone_loss"]) for word in ("BatchNormalization(", "MeanAbsoluteError("))
    assert seen[0] == seen[1]


def test_each_function_computes_the_same_in_numpy():
    mod, t = trainer(optimizers.MomentumSGD(0.1, 0.9, nesterov=True))
    x, y = draw(4, 6), np.arange(4)
    function = mod["backbone_loss_adjoint"]
    feeds = [x, *(a.numpy() for a in t.export_params().values()), y]
    for a, b in zip(run(function.graph, feeds), run(function.graph, feeds, "numpy"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_one_trace_and_one_program_per_step():
    _, t = trainer()
    x, y = draw(4, 6), np.arange(4)
    step_losses = [t.update(x, y), t.update([x], [y]), t.update((x,), (y,))]
    assert t._step._jitted._cache_size() == 1
    step_losses.append(t.update(jax.numpy.asarray(x), y))
    assert [float(a) for a in step_losses] == sorted((float(a) for a in step_losses), reverse=True)


def test_exported_parameters_survive_the_next_update():
    _, t = trainer()
    before = t.export_params()
    kept = before["w0"].numpy().copy()
    t.update(draw(4, 6), np.arange(4))
    np.testing.assert_array_equal(before["w0"].numpy(), kept)
    assert np.abs(t.export_params()["w0"].numpy() - kept).max() > 0
    assert list(before) == ["w0", "b0", "w1", "b1"]


def test_the_optimizers_state_goes_out_and_in():
    mod, t = trainer()
    x, y = draw(3, 4, 6), np.tile(np.arange(4), (3, 1))
    t.update(x[0], y[0])
    params, state = t.export_params(), t.export_optim_states()
    assert list(state)[:4] == ["num_steps", "beta1_product", "beta2_product", "w0.m"]
    assert state["num_steps"].dtype == "int64"
    t.update(x[1], y[1])
    second = training.Trainer(mod, t.vm, tvm.cpu())
    second.load_params(params)
    second.load_optim_states(state)
    second.update(x[1], y[1])
    for a, b in zip(t.export_params().values(), second.export_params().values(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    with pytest.raises(ValueError, match="Optimizer state nothing is not found"):
        t.load_optim_states({"nothing": 0})


@pytest.mark.parametrize(
    "rate",
    [
        schedule.warmup(schedule.step_lr(0.1, 2), 3),
        schedule.cosine(0.1, 5),
        schedule.polynomial(0.1, 6, 2.0),
        schedule.exponential(0.1, 2, 0.5, True),
    ],
    ids=["warm-up", "cosine", "polynomial", "exponential"],
)
def test_the_learning_rate_can_be_a_schedule(rate):
    v = var("p", (1,))
    update = optimizers.SGD(rate).init(v).get_function()
    p, steps = np.zeros(1, np.float32), np.zeros((), np.int64)
    for k in range(8):
        (new,), (steps,) = update((p,), (np.ones(1, np.float32),), (steps,))
        np.testing.assert_allclose(p - new.numpy(), [float(rate(k))], rtol=1e-4, atol=1e-7)
        p = new.numpy()
    assert steps.numpy() == 8


def test_an_optimizer_by_itself_in_a_module():
    x, y = var("x", (3, 3)), var("y", (3,))
    opt = optimizers.MomentumSGD(0.1, 0.9, 0.1, 0.01).init([x, y])
    mod = tvm.IRModule.from_expr(opt.get_function().with_attr("global_symbol", "main"))
    vm = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    params, grads = [draw(3, 3), draw(3)], [draw(3, 3), draw(3)]
    new, state = vm["main"](params, grads, [s.numpy() for s in opt.state])
    for p, g, n, v in zip(params, grads, new, state[1:], strict=True):
        expected = 0.9 * (g + 0.01 * p)
        np.testing.assert_allclose(v.numpy(), expected, rtol=1e-5)
        np.testing.assert_allclose(n.numpy(), p - 0.1 * expected, rtol=1e-5, atol=1e-6)


def test_any_batch_size():
    mod, t = setup(
        backbone(mlp(batch="n")), losses.CrossEntropyLoss(), optimizers.SGD(0.1), [T(("n", 5)), T(("n",), "int64")]
    )
    t.xaiver_uniform_init_params()
    for n in (3, 4):
        assert t.update(draw(n, 6), np.zeros(n, np.int64)).shape == ()
        assert t.predict(draw(n, 6)).shape == (n, 5)
    with pytest.raises(ValueError, match="got 3, expected 4"):
        t.update(draw(4, 6), np.zeros(3, np.int64))


def test_symbolic_parameters_are_named():
    spec = mlp()
    spec["params"][0][1], spec["inputs"][0][1] = ["k", 8], [4, "k"]
    args = backbone(spec), losses.MSELoss(), optimizers.SGD(0.1), [T((4, 5)), T((4, 5))]
    with pytest.raises(ValueError, match=r"w0 has type R.Tensor\(\(k, 8\).*zero_init_param_state=False"):
        setup(*args)
    _, t = setup(*args, zero=False)
    for init in (t.zero_init_params, t.xaiver_uniform_init_params):
        with pytest.raises(ValueError, match="w0 has type"):
            init()
    t.load_params([np.ones(s, np.float32) for s in ((7, 8), (8,), (8, 5), (5,))])
    assert float(t.update(np.ones((4, 7), np.float32), np.ones((4, 5), np.float32))) == 4096.0
    with pytest.raises(ValueError, match="parameter w0 has type"):
        setup(args[0], losses.MSELoss(), optimizers.Adam(0.1), args[3])


def test_class_weights_are_a_target_and_two_inputs_are_a_list():
    a, b, w = var("a", (3, 2)), var("b", (3, 2)), var("w", (2, 4))
    bb = relax.BlockBuilder()
    with bb.function("backbone", [a, b, w]):
        with bb.dataflow():
            out = bb.emit_output(relax.op.matmul((a + b) * 0.5, w))
        bb.emit_func_output(out)
    mod = bb.get().with_attrs({"param_num": 1, "state_num": 0})
    weights = np.array([1, 2, 3, 4], np.float32)
    _, t = setup(mod, losses.CrossEntropyLoss(), optimizers.SGD(0.1), [T((3, 4)), T((3,), "int64"), T((4,))])
    assert np.isclose(float(t.update([draw(3, 2), draw(3, 2)], (np.array([0, 1, 3]), weights))), np.log(4))
    with pytest.raises(TypeError, match="got 1, expected 2"):
        t.update([draw(3, 2), draw(3, 2)], np.array([0, 1, 3]))


def test_negative_ignore_index_is_left_out_of_the_gradient():
    _, kept = trainer(loss=None)
    x, y = draw(4, 6), np.array([0, 1, -100, -100])
    kept.update(x, y)
    mod, short = setup(
        backbone(mlp(batch=2)), losses.CrossEntropyLoss(), optimizers.Adam(0.01), [T((2, 5)), T((2,), "int64")]
    )
    np.random.seed(3)
    short.xaiver_uniform_init_params()
    short.update(x[:2], y[:2])
    for a, b in zip(kept.export_params().values(), short.export_params().values(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 2, 2)])
def test_classes_are_on_axis_1(shape):
    p, t = draw(*shape), RNG.integers(0, 3, (shape[0], *shape[2:]))
    log = p - np.log(np.exp(p).sum(1, keepdims=True))
    expected = -np.take_along_axis(log, t[:, None], 1).mean()
    loss = losses.CrossEntropyLoss()(T(shape), T(t.shape, "int64"))
    np.testing.assert_allclose(loss(p, t).numpy(), expected, rtol=1e-5)
    hot = np.moveaxis(np.eye(3, dtype=np.int64)[t], -1, 1)
    loss = losses.CategoricalCrossEntropyLoss()(T(shape), T(shape, "int64"))
    np.testing.assert_allclose(loss(p, hot).numpy(), expected / 3, rtol=1e-5)
    weights = np.array([1, 2, 3], np.float32)
    loss = losses.CategoricalCrossEntropyLoss("sum", ignore_index=1)(T(shape), T(shape, "int64"), T((3,)))
    expected = -(np.take_along_axis(log, t[:, None], 1)[:, 0] * weights[t] * (t != 1)).sum()
    np.testing.assert_allclose(loss(p, hot, weights).numpy(), expected, rtol=1e-5)


# ---- short cuts in, and the way out -------------------------------------------------------------------


def small_images(graph, batch=4):
    mod = relax.from_onnx(onnxio.to_model(graph), batch=batch)
    return training.SetupTrainer(
        losses.CrossEntropyLoss(), optimizers.MomentumSGD(0.05, 0.9), [T((batch, 10)), T((batch,), "int64")]
    )(mod)


def test_a_resnet_from_onnx_trains_as_aidgejax_train_does():
    graph = zoo.resnet8(size=8)
    mod = small_images(graph)
    vm = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    t = training.Trainer(mod, vm, tvm.cpu())
    t.load_params(mod.initial_params)
    t.load_states(mod.initial_states)
    x, y = draw(2, 4, 3, 8, 8), RNG.integers(0, 10, (2, 4))
    step_losses = [float(t.update(x[k], y[k])) for k in range(2)]

    program = make_program(with_loss(infer_shapes(graph), "cross_entropy"), training=True)
    rule = optim.sgd(0.9, first="dampened")
    state = start(program, rule, jax.random.key(0))
    step = jax.jit(make_step(program, rule, schedule.constant(0.05)))
    for k in range(2):
        state, record = step(state, {"x": x[k], "target": y[k]})
        np.testing.assert_allclose(step_losses[k], float(record["loss"]), rtol=1e-5)
    for n, a in {**t.export_params(), **t.export_states()}.items():
        np.testing.assert_allclose(a.numpy(), {**state.params, **state.buffers}[n], rtol=1e-4, atol=1e-5, err_msg=n)
    assert np.abs(t.export_states()["stem.norm.mean"].numpy()).max() > 0

    predicted = t.predict(x[0]).numpy()
    model = onnxio.read(onnxio.to_model(t.graph()))
    np.testing.assert_allclose(run(model, [x[0]])[0], predicted, rtol=1e-4, atol=1e-5)


def test_many_updates_as_one_program():
    x, y = draw(5, 4, 6), RNG.integers(0, 5, (5, 4))
    _, one = trainer()
    _, many = trainer()
    expected = [float(one.update(x[k], y[k])) for k in range(5)]
    np.testing.assert_allclose(many.update_many(x, y).numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(many.predict(x[0]).numpy(), one.predict(x[0]).numpy(), rtol=1e-4, atol=1e-6)


def test_the_trained_module_goes_on():
    case = next(c for c in cases("trainer_index.json") if c["name"].startswith("bn"))
    mod, t = setup(
        backbone(case["spec"]), losses.CrossEntropyLoss(), optimizers.SGD(0.1), [T((6, 5)), T((6,), "int64")]
    )
    np.random.seed(0)
    t.xaiver_uniform_init_params()
    x, y = draw(3, 6, 6), RNG.integers(0, 5, (3, 6))
    program = make_program(t.graph(loss=True))
    state = start(program, optim.sgd(), jax.random.key(0))
    state, history = make_epoch(make_step(program, optim.sgd(), schedule.constant(0.1)))(state, {"x": x, "targets": y})
    step_losses = [float(t.update(x[k], y[k])) for k in range(3)]
    np.testing.assert_allclose(history["loss"], step_losses, rtol=1e-5)
    np.testing.assert_allclose(state.buffers["rm"], t.export_states()["rm"].numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run(t.graph(), [x[0]], "numpy")[0], t.predict(x[0]).numpy(), rtol=1e-4, atol=1e-5)
    outputs, _, _ = NumpyProgram(program).forward(
        program.graph.params, program.graph.buffers, {"x": x[0], "targets": y[0]}
    )
    np.testing.assert_allclose(outputs["loss"], step_losses[0], rtol=1e-5)
    for name, function in mod.functions.items():
        assert onnxio.read(onnxio.to_model(function.graph)).inputs.keys() == function.graph.inputs.keys(), name


def test_dropout_draws_anew_in_every_update_and_never_in_predict():
    x, w = var("x", (4, 50)), var("w", (50,))
    bb = relax.BlockBuilder()
    with bb.function("backbone", [x, w]):
        with bb.dataflow():
            out = bb.emit_output(bb.emit(relax.op.nn.dropout(relax.op.multiply(x, w), 0.5))[0])
        bb.emit_func_output(out)
    mod = bb.get().with_attrs({"param_num": 1, "state_num": 0})
    _, t = setup(mod, losses.MSELoss("sum"), optimizers.SGD(0.0), [T((4, 50)), T((4, 50))])
    t.load_params([np.ones(50, np.float32)])
    one, zero = np.ones((4, 50), np.float32), np.zeros((4, 50), np.float32)
    assert len({float(t.update(one, zero)) for _ in range(4)}) > 1
    np.testing.assert_array_equal(t.predict(one).numpy(), one)
