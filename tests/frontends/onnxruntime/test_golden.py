"""Losses, gradients and trajectories of ONNX Runtime 1.19.2, by the artifacts in JAX and in plain onnxruntime."""

import numpy as np
import onnx
import pytest

from ._golden import NAMES, Case, first

ort = pytest.importorskip("onnxruntime")
# Its true gradient is 0, and AdamW turns rounding noise into steps: see the README beside the data.
NOISE = "attn.k.bias"
IN_JAX = [n for n in NAMES if n not in ("cnn_ce", "cnn_group", "transformer")]  # these take longer to compile


@pytest.fixture(scope="module", params=NAMES)
def written(request, tmp_path_factory):
    case = Case(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    case.write(folder)
    return case, folder


def feeds_of(session, case, batch=0):
    initial, user = case.initial, dict(zip(case.ort["module_inputs"], case.batch(batch), strict=True))
    feeds = {}
    for i in session.get_inputs():
        parameter = i.name.removesuffix("_grad.accumulation.buffer")
        feeds[i.name] = (user | initial | {"lazy_reset_grad": np.array([True])}).get(i.name)
        if feeds[i.name] is None:
            feeds[i.name] = np.zeros_like(initial[parameter])
    return feeds


def test_inputs_and_outputs_are_named_and_ordered_as_theirs(written):
    case, folder = written
    for model, name in (("training_model", "training"), ("eval_model", "eval")):
        proto = onnx.load(folder / f"{model}.onnx")
        assert [i.name for i in proto.graph.input] == case.ort[name]["inputs"]
        outputs = [o.name for o in proto.graph.output]
        theirs = case.ort[name]["outputs"]
        assert outputs[1 : len(theirs)] == theirs[1:]
        assert all(o.endswith(".updated") for o in outputs[len(theirs) :])


def test_files_are_standard_and_valid(written):
    case, folder = written
    for name in ("training_model", "eval_model", "optimizer_model"):
        proto = onnx.load(folder / f"{name}.onnx")
        onnx.checker.check_model(proto, full_check=True)
        assert {i.domain for i in proto.opset_import} == {""} and not proto.functions
        assert all(
            n.domain == "" and all(a.type != onnx.AttributeProto.GRAPH for a in n.attribute) for n in proto.graph.node
        )
        assert proto.ir_version <= 9 and proto.opset_import[0].version == case.model.opset_import[0].version


@pytest.mark.parametrize("optimized", [True, False])
def test_loss_and_gradients_in_plain_onnxruntime(written, optimized):
    case, folder = written
    options = ort.SessionOptions()
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(folder / "training_model.onnx", options)
    names = [o.name for o in session.get_outputs()]
    found = dict(zip(names, session.run(None, feeds_of(session, case)), strict=True))
    np.testing.assert_allclose(found[names[0]], case.data["step0/loss"], rtol=1e-5)
    for p in case.requires_grad:
        expected, got = case.data[f"grad/{p}"], found[f"{p}_grad.accumulation.out"]
        assert got.dtype == np.float32
        size = max(np.abs(expected).max(), 1e-4 if p == NOISE else 0)
        np.testing.assert_allclose(got / size, expected / size, atol=2e-3 if p == NOISE else 1e-5, err_msg=p)
    for key, expected in case.data.items():
        if key.startswith("step0/output/"):
            np.testing.assert_allclose(found[key.removeprefix("step0/output/")], expected, rtol=1e-5, atol=1e-6)


def check_trajectory(case, folder, optimizer, **keywords):
    state, module, update = case.start(folder, **keywords)
    assert module.input_names() == case.ort["module_inputs"]
    losses = []
    for i in range(10):
        losses.append(first(module(*case.batch(i))))
        update.step()
        module.lazy_reset_grad()
        for key, expected in case.data.items():
            if key.startswith(f"{optimizer}/param_after_{i + 1}/") and not key.endswith(NOISE):
                np.testing.assert_allclose(
                    state.parameters[key.split("/", 2)[2]].data, expected, atol=2e-6, err_msg=key
                )
    np.testing.assert_allclose(losses, np.ravel(case.data[f"{optimizer}/loss"]), rtol=1e-4)
    module.eval()
    np.testing.assert_allclose(
        first(module(*case.batch(0))), case.data[f"{optimizer}/eval_loss_after_10"].ravel()[0], rtol=1e-4
    )
    if optimizer == "adamw":
        module.train()
        module.lazy_reset_grad()
        module(*case.batch(0))
        module(*case.batch(1))
        for key, expected in case.data.items():
            if key.startswith("accum01/grad/"):
                got = state.parameters[key.removeprefix("accum01/grad/")].grad
                np.testing.assert_allclose(got, expected, atol=1e-4 * max(np.abs(expected).max(), 1e-3), err_msg=key)


def test_ten_steps_of_adamw_in_plain_onnxruntime(written):
    check_trajectory(*written, "adamw", backend="onnxruntime")


@pytest.mark.parametrize("name", NAMES)
def test_ten_steps_of_sgd_in_plain_onnxruntime(name, tmp_path):
    case = Case(name)
    case.write(tmp_path, "sgd")
    check_trajectory(case, tmp_path, "sgd", backend="onnxruntime")


@pytest.mark.parametrize("name", IN_JAX)
def test_ten_steps_of_adamw_in_jax(name, tmp_path):
    case = Case(name)
    case.write(tmp_path)
    check_trajectory(case, tmp_path, "adamw")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("name", NAMES)
def test_ten_steps_in_jax(name, optimizer, tmp_path):
    case = Case(name)
    case.write(tmp_path, optimizer)
    check_trajectory(case, tmp_path, optimizer)
