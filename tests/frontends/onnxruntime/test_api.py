"""CheckpointState, Module, Optimizer, LinearLRScheduler; artifacts that ONNX Runtime 1.19.2 wrote."""

import numpy as np
import onnx
import pytest

from aidgejax import AidgeJaxError
from aidgejax.frontends.onnxruntime.training import artifacts
from aidgejax.frontends.onnxruntime.training.api import CheckpointState, LinearLRScheduler, Module, Optimizer
from aidgejax.onnxio.artifacts.ort_checkpoint import OrtCheckpoint, from_bytes

from ._golden import FOLDER, Case, first

ort = pytest.importorskip("onnxruntime")
OWN = ("mlp_ce", "two_output", "transformer", "cnn_bn")  # with the artifacts that ONNX Runtime made


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    case, folder = Case("mlp_frozen_l1"), tmp_path_factory.mktemp("small")
    case.write(folder, nominal_checkpoint=True)
    return case, folder


def theirs(name, **keywords):
    folder = FOLDER / name / "ort_artifacts"
    state = CheckpointState.load_checkpoint(folder / "checkpoint")
    module = Module(folder / "training_model.onnx", state, folder / "eval_model.onnx", **keywords)
    return state, module, Optimizer(folder / "optimizer_model.onnx", module)


# ---- artifacts of ONNX Runtime itself -----------------------------------------------------------------


@pytest.mark.parametrize("name", OWN)
def test_their_artifacts_train_here(name):
    check_theirs(name, backend="onnxruntime")


@pytest.mark.parametrize(
    "name",
    ["mlp_ce", pytest.param("cnn_bn", marks=pytest.mark.slow), pytest.param("transformer", marks=pytest.mark.slow)],
)
def test_their_artifacts_train_in_jax(name):
    check_theirs(name)


def check_theirs(name, **keywords):
    case = Case(name)
    state, module, optimizer = theirs(name, **keywords)
    losses = []
    for i in range(10):
        losses.append(first(module(*case.batch(i))))
        optimizer.step()
        module.lazy_reset_grad()
    np.testing.assert_allclose(losses, case.data["adamw/loss"].ravel(), rtol=1e-4)
    for key, expected in case.data.items():
        if key.startswith("adamw/param_after_10/") and "k.bias" not in key:
            np.testing.assert_allclose(state.parameters[key.split("/", 2)[2]].data, expected, atol=2e-6)
    stored = CheckpointState.load_checkpoint(FOLDER / name / "ort_artifacts" / "checkpoint_after_10_with_optimizer")
    for p, moments in stored._optimizer.momentums.items():
        for got, expected in zip(state._optimizer.momentums[p], moments, strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-6)
    assert dict(stored.properties) == {"best": 0.25, "epoch": 3, "name": "golden"}


def test_theirs_without_an_evaluation_model():
    folder = FOLDER / "mlp_ce" / "ort_artifacts"
    with pytest.raises(RuntimeError, match="InPlaceAccumulatorV2.*rebuilt.*give eval_model_uri"):
        Module(folder / "training_model.onnx", CheckpointState.load_checkpoint(folder / "checkpoint"))


def test_a_resumed_optimizer_goes_on_where_it_was(tmp_path, small):
    case, folder = small
    state, module, optimizer = case.start(folder, backend="onnxruntime")
    optimizer.set_learning_rate(0.025)
    for i in range(4):
        if i == 2:
            CheckpointState.save_checkpoint(state, tmp_path / "c", include_optimizer_state=True)
        module(*case.batch(i))
        optimizer.step()
        module.lazy_reset_grad()
    again = CheckpointState.load_checkpoint(tmp_path / "c")
    module = Module(folder / "training_model.onnx", again, backend="onnxruntime")
    optimizer = Optimizer(folder / "optimizer_model.onnx", module=module)
    assert optimizer.get_learning_rate() == pytest.approx(0.025)
    for i in (2, 3):
        module(*case.batch(i))
        optimizer.step()
        module.lazy_reset_grad()
    for name, parameter in again.parameters:
        np.testing.assert_array_equal(parameter.data, state.parameters[name].data)


# ---- the state ----------------------------------------------------------------------------------------


def test_parameters(small):
    case, folder = small
    state = CheckpointState.load_checkpoint(folder / "checkpoint")
    assert [n for n, _ in state.parameters] == sorted(case.requires_grad + case.frozen_params)
    frozen, trained = case.frozen_params[0], case.requires_grad[0]
    assert state.parameters[frozen].grad is None and not state.parameters[frozen].requires_grad
    assert state.parameters[trained].requires_grad and not state.parameters[trained].grad.any()
    with pytest.raises(KeyError, match="Parameter zzz does not exist"):
        state.parameters["zzz"]
    with pytest.raises(RuntimeError, match="got float32"):
        state.parameters[trained].data = np.zeros(99, np.float32)
    before = state.parameters[trained].data
    before[...] = 0.5
    assert (state.parameters[trained].data == 0.5).all()
    assert trained in repr(state.parameters) and trained in repr(state.parameters[trained])


def test_properties_survive(small, tmp_path):
    state = CheckpointState.load_checkpoint(small[1] / "checkpoint")
    state.properties["epoch"], state.properties["best"], state.properties["name"] = 3, 0.25, "golden"
    with pytest.raises(TypeError, match="property 'x' must be an int, a float or a str, got list"):
        state.properties["x"] = []
    with pytest.raises(KeyError, match="Property y does not exist"):
        state.properties["y"]
    CheckpointState.save_checkpoint(state, tmp_path / "c")
    again = CheckpointState.load_checkpoint(tmp_path / "c")
    assert dict(again.properties) == {"best": 0.25, "epoch": 3, "name": "golden"}


def test_a_nominal_state_has_no_numbers(small):
    case, folder = small
    state = CheckpointState.load_checkpoint(folder / "nominal_checkpoint")
    module = Module(folder / "training_model.onnx", state, backend="onnxruntime")
    for call in (lambda: state.parameters[case.requires_grad[0]].data, lambda: module(*case.batch(0))):
        with pytest.raises(RuntimeError, match="nominal checkpoint"):
            call()
    full = Module(folder / "training_model.onnx", CheckpointState.load_checkpoint(folder / "checkpoint"))
    module.copy_buffer_to_parameters(full.get_contiguous_parameters(), trainable_only=False)
    np.testing.assert_allclose(first(module(*case.batch(0))), case.data["step0/loss"].ravel()[0], rtol=1e-5)


@pytest.mark.parametrize("damage", [b"", b"abcd", b"0000ODTC", b"\xff\xff\xff\x7fODTC" + bytes(40)])
def test_a_damaged_checkpoint(tmp_path, damage):
    (tmp_path / "c").write_bytes(damage)
    with pytest.raises(RuntimeError, match="is not a checkpoint|is damaged|version") as caught:
        CheckpointState.load_checkpoint(tmp_path / "c")
    assert isinstance(caught.value, AidgeJaxError)


def test_every_cut_of_a_checkpoint_is_refused_or_read():
    data = (FOLDER / "mlp_ce" / "ort_artifacts" / "checkpoint_after_10_with_optimizer").read_bytes()
    for cut in range(0, len(data), 7):
        try:
            from_bytes(data[:cut])
        except AidgeJaxError:
            pass


def test_no_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError):
        CheckpointState.load_checkpoint(tmp_path / "nothing")


# ---- the module ---------------------------------------------------------------------------------------


def test_modes_names_and_sizes(small):
    case, folder = small
    state, module, _ = case.start(folder, backend="onnxruntime")
    assert module.output_names()[1:] == case.additional_output_names
    assert module.get_parameters_size() == sum(state.parameters[p].data.size for p in case.requires_grad)
    vector = module.get_contiguous_parameters(trainable_only=True)
    module.copy_buffer_to_parameters(vector.numpy() * 0)
    assert not state.parameters[case.requires_grad[0]].data.any()
    with pytest.raises(RuntimeError, match="the buffer holds 3 numbers"):
        module.copy_buffer_to_parameters(np.zeros(3, np.float32))
    with pytest.raises(RuntimeError, match="takes 2 inputs in training mode, 'x', 'target'; got 1"):
        module(case.batch(0)[0])
    lonely = Module(folder / "training_model.onnx", state, backend="onnxruntime").eval()
    with pytest.raises(RuntimeError, match="no evaluation model"):
        lonely(*case.batch(0))


def test_gradients_add_up_until_they_are_reset(small):
    case, folder = small
    state, module, _ = case.start(folder, backend="onnxruntime")
    p = case.requires_grad[0]
    module(*case.batch(0))
    once = state.parameters[p].grad.copy()
    np.testing.assert_allclose(once, case.data[f"grad/{p}"], rtol=1e-4, atol=1e-6)
    module(*case.batch(0))
    np.testing.assert_allclose(state.parameters[p].grad, 2 * once, rtol=1e-6)
    module.lazy_reset_grad()
    np.testing.assert_allclose(state.parameters[p].grad, 2 * once, rtol=1e-6)
    module(*case.batch(0))
    np.testing.assert_array_equal(state.parameters[p].grad, once)


def test_an_exported_model_needs_no_loss(small, tmp_path):
    case, folder = small
    state, module, _ = case.start(folder, backend="onnxruntime")
    module.export_model_for_inferencing(tmp_path / "m.onnx", ["y"])
    session = ort.InferenceSession(tmp_path / "m.onnx")
    assert [i.name for i in session.get_inputs()] == ["x"]
    np.testing.assert_allclose(session.run(None, {"x": case.batch(0)[0]})[0], case.data["step0/output/y"], rtol=1e-5)
    with pytest.raises(RuntimeError, match="computes no 'zzz'"):
        module.export_model_for_inferencing(tmp_path / "n.onnx", ["zzz"])


def test_linear_schedule_with_its_counts_the_right_way_round(small):
    case, folder = small
    _, module, optimizer = case.start(folder, backend="onnxruntime")
    scheduler = LinearLRScheduler(optimizer, 2, 10, 0.1)
    rates = [optimizer.get_learning_rate()]
    for i in range(10):
        module(*case.batch(i))
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.get_learning_rate())
    np.testing.assert_allclose(rates, [0, 0.05, *np.linspace(0.1, 0, 9)], atol=1e-7)


# ---- batch, dropout, batch normalization ---------------------------------------------------------------

ONES = ", ".join(["1"] * 64)
DROPOUT = f"""<ir_version: 8, opset_import: ["": 17]> g (float[N,64] x) => (float[N,64] y)
<float[64] w = {{{ONES}}}, float r = {{0.5}}, bool on = {{1}}> {{ h = Mul(x, w) y, mask = Dropout(h, r, on) }}"""


@pytest.mark.parametrize("backend", ["jax", "onnxruntime"])
def test_dropout_uses_the_mask_of_the_forward_and_is_absent_from_eval(backend, tmp_path):
    artifacts.generate_artifacts(
        onnx.parser.parse_model(DROPOUT),
        ["w"],
        loss=artifacts.LossType.L1Loss,
        artifact_directory=tmp_path,
        additional_output_names=["y"],
    )
    state = CheckpointState.load_checkpoint(tmp_path / "checkpoint")
    module = Module(tmp_path / "training_model.onnx", state, tmp_path / "eval_model.onnx", backend=backend)
    x, target = np.ones((1, 64), np.float32), np.zeros((1, 64), np.float32)
    _, y = module(x, target)
    assert set(np.unique(y)) == {0, 2}
    np.testing.assert_allclose(state.parameters["w"].grad, y[0] / 64)
    loss, y = module.eval()(x, target)
    assert loss == 1 and (y == 1).all()


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_one_file_serves_every_batch(rows):
    case = Case("mlp_ce")
    state, module, _ = theirs("mlp_ce", backend="onnxruntime")
    x = np.repeat(case.batch(0)[0][:1], rows, 0)
    labels = np.repeat(case.batch(0)[1][:1], rows, 0)
    module(x[:1], labels[:1])
    once = state.parameters["fc1.weight"].grad.copy()
    module.lazy_reset_grad()
    module(x, labels)
    np.testing.assert_allclose(state.parameters["fc1.weight"].grad, once, atol=1e-6)


def test_properties_lists_and_nominal_buffers_as_onnxruntime_takes_them(tmp_path):
    """What ONNX Runtime 1.19.2 does with the same calls, run beside it."""
    state = CheckpointState(OrtCheckpoint({"w": np.ones(2, np.float32)}, {}, True, None, {}))
    kept = {"f": np.float32(0.5), "i": np.int64(3), "flag": True, "text": b"abc"}
    for name, value in kept.items():
        state.properties[name] = value
    assert dict(state.properties) == {"f": 0.5, "i": 3, "flag": 1, "text": "abc"}
    with pytest.raises(TypeError, match="64 bits"):
        state.properties["large"] = 2**70
    with pytest.raises(RuntimeError, match="there is no checkpoint"):
        CheckpointState.load_checkpoint(tmp_path / "nothing")
    assert str(artifacts.LossType.MSELoss) == "LossType.MSELoss"
