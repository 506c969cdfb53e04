"""What ported scripts do: optimizer blocks by hand, OrtValues, strings, nominal checkpoints, evaluation models."""

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import aidgejax.frontends.onnxruntime.training.onnxblock as onnxblock
from aidgejax.errors import BackendError
from aidgejax.frontends.onnxruntime.training import artifacts
from aidgejax.frontends.onnxruntime.training.api import CheckpointState, Module

from ._blocks import Regression


@pytest.mark.parametrize("kind", [onnxblock.optim.AdamW, onnxblock.optim.SGD])
def test_an_optimizer_takes_the_pair_and_gives_its_model(kind):
    w = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [w],
    )
    block = Regression()
    block.requires_grad("w")
    with onnxblock.base(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)):
        block("y")
    optimizer = kind()
    with pytest.raises(RuntimeError, match="build the optimizer model first"):
        optimizer.to_model_proto()
    with onnxblock.empty_base():
        optimizer(block.parameters())
    inputs = [i.name for i in optimizer.to_model_proto().graph.input]
    assert inputs[:4] == ["learning_rate", "step", "params", "gradients"]
    with onnxblock.empty_base():
        optimizer(block.parameters()[0])  # a list: an input per parameter
    assert "w_out" in [o.name for o in optimizer.to_model_proto().graph.output]


@pytest.mark.parametrize(("kind", "moments"), [("AdamW", 2), ("SGD", 1)])
def test_by_hand_for_the_old_training_build(kind, moments):
    """What test_peer.py trains in ONNX Runtime 1.19.2 itself: one node over sequences of all parameters."""
    block = Regression()
    block.requires_grad("w")
    with onnxblock.base(linear(), runtime="onnxruntime-training"):
        block("y")
    assert "InPlaceAccumulatorV2" in {n.op_type for n in block.to_model_proto()[0].graph.node}
    optimizer = getattr(onnxblock.optim, kind)(clip_grad=onnxblock.optim.ClipGradNorm(2.5))
    with onnxblock.empty_base(runtime="onnxruntime-training"):
        optimizer(block.parameters())
    graph = optimizer.to_model_proto().graph
    assert [n.op_type for n in graph.node] == ["InplaceClipGradNorm", graph.node[1].op_type]
    assert graph.node[1].op_type.startswith(kind)
    sequences = [i.name for i in graph.input if i.type.HasField("sequence_type")]
    orders = ["first_order_moments", "second_order_moments"]
    assert sequences == ["params", "gradients", *orders[:moments]]
    with (
        pytest.raises(RuntimeError, match="runtime is 'other'; expected one of"),
        onnxblock.empty_base(runtime="other"),
    ):
        pass


def test_a_sequence_of_gradients_is_clipped():
    model = onnx.ModelProto(ir_version=8)
    model.graph.name = "clip"
    model.opset_import.append(helper.make_opsetid("", 17))
    model.graph.input.append(helper.make_tensor_sequence_value_info("gradients", TensorProto.FLOAT, None))

    class Clip(onnxblock.ForwardBlock):
        def build(self, name):
            return onnxblock.optim.ClipGradNorm(2.5)(name)

    block = Clip()
    with onnxblock.base(model):
        block("gradients")
    session = onnxruntime.InferenceSession(block.to_model_proto().SerializeToString())
    gradients = [np.full((2, 3), 4.0, np.float32), np.full(5, -3.0, np.float32)]
    (clipped,) = session.run(None, {"gradients": gradients})
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    for g, c in zip(gradients, clipped, strict=True):
        np.testing.assert_allclose(c, g * 2.5 / norm, rtol=1e-5)


class Words(onnxblock.TrainingBlock):
    def __init__(self):
        super().__init__()
        self.encoder = onnxblock.blocks.LabelEncoder(default_int64=4, keys_strings=["a", "b"], values_int64s=[1, 2])

    def build(self, words):
        numbers = onnxblock.blocks.Cast(to=TensorProto.FLOAT)(self.encoder(words))
        return onnxblock.loss.MSELoss()(onnxblock.blocks.Mul()(numbers, "w"))


@pytest.mark.parametrize("backend", ["jax", "onnxruntime"])
def test_strings_are_looked_up(tmp_path, backend):
    model = onnx.ModelProto(ir_version=8)
    model.graph.name = "words"
    model.opset_import.append(helper.make_opsetid("", 17))
    model.graph.input.append(helper.make_tensor_value_info("words", TensorProto.STRING, ["n", 1]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([2.0], np.float32), "w"))
    block = Words()
    block.requires_grad("w")
    with onnxblock.base(model):
        block("words")
    training, evaluation = block.to_model_proto()
    onnx.save(training, tmp_path / "training.onnx")
    onnx.save(evaluation, tmp_path / "eval.onnx")
    onnxblock.save_checkpoint(block.parameters(), str(tmp_path / "checkpoint"))
    state = CheckpointState.load_checkpoint(tmp_path / "checkpoint")
    module = Module(tmp_path / "training.onnx", state, tmp_path / "eval.onnx", backend=backend)
    loss = module(np.array([["a"], ["b"], ["z"]], object), np.ones((3, 1), np.float32))
    np.testing.assert_allclose(loss, ((np.array([2.0, 4.0, 8.0]) - 1) ** 2).mean(), rtol=1e-6)


def test_a_label_encoder_has_one_kind_of_keys():
    with pytest.raises(RuntimeError, match="one of keys_floats, keys_int64s, keys_strings"):
        onnxblock.blocks.LabelEncoder(keys_int64s=[1], keys_strings=["a"], values_int64s=[1])


def linear(dims=("n", 3), out=("n", 2)):
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(np.ones((3, 2), np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def module_of(folder, model, name="checkpoint"):
    artifacts.generate_artifacts(
        model, requires_grad=["w"], loss=artifacts.LossType.MSELoss, artifact_directory=folder, nominal_checkpoint=True
    )
    state = CheckpointState.load_checkpoint(folder / name)
    return Module(folder / "training_model.onnx", state, folder / "eval_model.onnx"), state


@pytest.mark.parametrize("out", [("a", "b"), ("m", 2)])
def test_every_axis_may_be_symbolic(tmp_path, out):
    module, _ = module_of(tmp_path, linear(("rows", "columns"), out))
    x, t = np.arange(12, dtype=np.float32).reshape(4, 3), np.ones((4, 2), np.float32)
    np.testing.assert_allclose(module(x, t), ((x @ np.ones((3, 2)) - t) ** 2).mean(), rtol=1e-6)


def test_ortvalues_go_in_and_come_out(tmp_path):
    module, state = module_of(tmp_path, linear())
    given = [onnxruntime.OrtValue.ortvalue_from_numpy(np.ones(s, np.float32)) for s in ((2, 3), (2, 2))]
    loss = module(*given)
    assert isinstance(loss, onnxruntime.OrtValue)
    np.testing.assert_allclose(loss.numpy(), 4)
    vector = module.get_contiguous_parameters()
    assert (vector.device_name(), vector.shape()) == ("cpu", [6])
    module.copy_buffer_to_parameters(onnxruntime.OrtValue.ortvalue_from_numpy(vector.numpy() * 2))
    assert (state.parameters["w"].data == 2).all()


def test_a_device_that_is_not_there(tmp_path):
    module, state = module_of(tmp_path, linear())
    if jax.default_backend() == "cpu":
        with pytest.raises(BackendError, match="device is 'cuda:0': there is no device 'cuda' here; .*cuda13") as e:
            Module(tmp_path / "training_model.onnx", state, device="cuda:0")
        assert isinstance(e.value, RuntimeError)
    assert module(np.ones((2, 3), np.float32), np.ones((2, 2), np.float32)) == 4


def test_a_nominal_state_gives_no_parameter_before_it_is_loaded(tmp_path):
    module, state = module_of(tmp_path, linear(), "nominal_checkpoint")
    with pytest.raises(RuntimeError, match="Please load the parameter states first.*nominal checkpoint"):
        state.parameters["w"]
    with pytest.raises(RuntimeError, match="Please load all the parameter states first"):
        state.parameters["w"] = np.ones((3, 2), np.float32)
    with pytest.raises(RuntimeError, match="Please load the model parameters first"):
        module.get_contiguous_parameters()
    module.copy_buffer_to_parameters(np.arange(6, dtype=np.float32), trainable_only=False)
    assert state.parameters["w"].data[1, 1] == 3


def test_an_evaluation_model_says_that_it_infers(tmp_path):
    values = {n: numpy_helper.from_array(np.ones(2, np.float32), n) for n in ("s", "b", "m", "v")}
    graph = helper.make_graph(
        [
            helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["h"]),
            helper.make_node("Dropout", ["h", "", "on"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [*values.values(), numpy_helper.from_array(np.array(True), "on")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    artifacts.generate_artifacts(
        model,
        requires_grad=["s", "b"],
        frozen_params=["m", "v"],
        loss=artifacts.LossType.MSELoss,
        artifact_directory=tmp_path,
    )
    nodes = {n.op_type: n for n in onnx.load(tmp_path / "eval_model.onnx").graph.node}
    assert len(nodes["Dropout"].input) == 3
    assert nodes["Dropout"].input[2] == ""
    attributes = {a.name: a.i for a in nodes["BatchNormalization"].attribute}
    assert attributes["training_mode"] == 0
