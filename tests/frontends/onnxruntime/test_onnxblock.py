"""onnxblock: the documented example, blocks, losses against float64, and what is refused."""

import numpy as np
import onnx
import pytest

import aidgejax.frontends.onnxruntime.training.onnxblock as onnxblock
from aidgejax import AidgeJaxError
from aidgejax.frontends.onnxruntime.training import artifacts

from ._golden import Case

ort = pytest.importorskip("onnxruntime")


# ---- the example of the documentation, as it stands there ---------------------------------------------


class WeightedAverageLoss(onnxblock.Block):
    def __init__(self):
        self._loss1 = onnxblock.loss.MSELoss()
        self._loss2 = onnxblock.loss.MSELoss()
        self._w1 = onnxblock.blocks.Constant(0.4)
        self._w2 = onnxblock.blocks.Constant(0.6)
        self._add = onnxblock.blocks.Add()
        self._mul = onnxblock.blocks.Mul()

    def build(self, loss_input_name1, loss_input_name2):
        # The build method defines how the block should be stacked on top of
        # loss_input_name1 and loss_input_name2

        # Returns weighted average of the two losses
        return self._add(
            self._mul(self._w1(), self._loss1(loss_input_name1, target_name="target1")),
            self._mul(self._w2(), self._loss2(loss_input_name2, target_name="target2")),
        )


class WithSuper(WeightedAverageLoss):
    def __init__(self):
        onnxblock.Block.__init__(self)
        super().__init__()


@pytest.mark.parametrize("loss", [WeightedAverageLoss, WithSuper])
def test_the_documented_custom_loss(loss, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = Case("two_output")
    my_custom_loss = loss()
    artifacts.generate_artifacts(
        case.model,
        requires_grad=case.requires_grad[:4],
        frozen_params=case.requires_grad[4:],
        loss=my_custom_loss,
        optimizer=artifacts.OptimType.AdamW,
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint",
        "eval_model.onnx",
        "optimizer_model.onnx",
        "training_model.onnx",
    ]
    session = ort.InferenceSession(tmp_path / "eval_model.onnx")
    feeds = dict(zip(case.ort["module_inputs"], case.batch(0), strict=True)) | case.initial
    (value,) = session.run(None, feeds)
    np.testing.assert_allclose(value, case.data["step0/loss"], rtol=1e-6)


# ---- blocks -------------------------------------------------------------------------------------------


def linear(opset=17):
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]> g (float[N,4] x) => (float[N,3] y)'
        "<float[4,3] w = {1,2,3,4,5,6,7,8,9,1,2,3}> { y = MatMul(x, w) }"
    )


class Apply(onnxblock.ForwardBlock):
    def __init__(self, *blocks):
        super().__init__()
        self.blocks = blocks

    def build(self, name):
        for block in self.blocks:
            name = block(name)
        return name


B = onnxblock.blocks
UNARY = {
    "Sigmoid": (B.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
    "Log": (B.Log(), np.log),
    "Neg": (B.Neg(), np.negative),
    "Abs": (B.Abs(), np.abs),
    "Pow": (B.Pow(3), lambda x: x**3),
    "Clip": (B.Clip(0.5, 2), lambda x: x.clip(0.5, 2)),
    "Clip above": (B.Clip(clip_max=2), lambda x: np.minimum(x, 2)),
    "PassThrough": (B.PassThrough(), lambda x: x),
    "ReduceMean": (B.ReduceMean(keepdims=False), np.mean),
    "ReduceSum": (B.ReduceSum(), lambda x: x.sum(keepdims=True)),
    "ReduceAllL2": (B.ReduceAllL2(), np.linalg.norm),
    "Cast": (B.Cast(onnx.TensorProto.DOUBLE), np.float64),
}


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("opset", [13, 18])
def test_a_block_of_one_input(name, opset):
    block, expected = UNARY[name]
    forward = Apply(block)
    with onnxblock.base(linear(opset)):
        forward("y")
    session = ort.InferenceSession(forward.to_model_proto().SerializeToString())
    x = np.abs(np.random.default_rng(0).normal(size=(2, 4))).astype("f4") / 20
    y = x @ onnx.numpy_helper.to_array(linear().graph.initializer[0])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected(y), rtol=1e-5)


def test_arguments_are_called_as_in_onnxruntime():
    class Named(onnxblock.ForwardBlock):
        def build(self, name):
            y, x = B.PassThrough()(name, "x")
            total = B.ReduceSum()(input_name=B.Abs()(input_name=y))
            return B.Add()(input_name1=total, input_name2=B.ReduceAllL2()(x))

    block = Named()
    with onnxblock.base(linear()):
        block("y")
    assert [n.op_type for n in block.to_model_proto().graph.node if n.name][-1] == "Add"
    with pytest.raises(RuntimeError, match="nope.so"), onnxblock.custom_op_library(custom_op_library_path="nope.so"):
        pass


def test_blocks_of_two_inputs_linear_and_input_like():
    class Two(onnxblock.ForwardBlock):
        def build(self, name):
            other = B.InputLike("y")("other")
            total = B.Sub()(B.Add()(name, other), B.Mul()(name, other))
            return B.Linear(3, 2)(B.Div()(total, other)), B.SequenceConstruct()(name, other)

    block = Two()
    with onnxblock.base(linear()) as accessor:
        block("y")
        assert [i.name for i in accessor.model.graph.input] == ["x", "other"]
    assert [len(o.name) > 0 for o in block.to_model_proto().graph.output] == [True, True]


LOSSES = [
    ("MSELoss", {}, lambda p, t: (p - t) ** 2),
    ("L1Loss", {}, lambda p, t: np.abs(p - t)),
    (
        "BCEWithLogitsLoss",
        {"weight": [1.0, 2.0, 3.0], "pos_weight": [2.0, 1.0, 0.5]},
        lambda p, t: [1, 2, 3] * ([2, 1, 0.5] * t * np.logaddexp(0, -p) + (1 - t) * np.logaddexp(0, p)),
    ),
]


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name, settings, formula", LOSSES, ids=[r[0] for r in LOSSES])
def test_losses_and_their_gradients(name, settings, formula, reduction, tmp_path):
    loss = getattr(onnxblock.loss, name)(reduction=reduction, **settings)
    artifacts.generate_artifacts(linear(), ["w"], loss=loss, artifact_directory=tmp_path)
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(5, 4)), rng.uniform(size=(5, 3))
    w = rng.normal(size=(4, 3))
    x[0] = 0  # scores of exactly 0, where a formula in pieces would have a kink
    value, grad = loss_and_gradient(tmp_path, x, t, w)
    reduce = {"none": np.asarray, "mean": np.mean, "sum": np.sum}[reduction]
    np.testing.assert_allclose(value, reduce(formula(x @ w, t)), rtol=1e-5)
    total = np.sum if reduction == "none" else reduce
    np.testing.assert_allclose(grad, differences(lambda w: total(formula(x @ w, t)), w), rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_cross_entropy_with_weights_and_ignored_labels(reduction, tmp_path):
    loss = onnxblock.loss.CrossEntropyLoss(weight=np.array([1.0, 2.0, 0.5]), reduction=reduction, ignore_index=-1)
    artifacts.generate_artifacts(linear(), ["w"], loss=loss, artifact_directory=tmp_path)
    rng = np.random.default_rng(1)
    x, w, t = rng.normal(size=(5, 4)), rng.normal(size=(4, 3)), np.array([0, 2, -1, 1, 0])
    weight = np.where(t < 0, 0, np.array([1, 2, 0.5])[t])

    def formula(w):
        logp = x @ w - np.log(np.exp(x @ w).sum(1, keepdims=True))
        each = -weight * logp[np.arange(5), t]
        return each if reduction == "none" else each.sum() / (weight.sum() if reduction == "mean" else 1)

    value, grad = loss_and_gradient(tmp_path, x, t, w)
    np.testing.assert_allclose(value, formula(w), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grad, differences(lambda w: np.sum(formula(w)), w), rtol=2e-4, atol=1e-5)


def loss_and_gradient(folder, x, t, w):
    session = ort.InferenceSession(folder / "training_model.onnx")
    kinds = {i.name: i.type for i in session.get_inputs()}
    target = "labels" if "labels" in kinds else "target"
    w = w.astype("f4")
    return session.run(
        None,
        {
            "x": x.astype("f4"),
            target: t.astype("i8" if target == "labels" else "f4"),
            "w": w,
            "w_grad.accumulation.buffer": np.full_like(w, np.nan),
            "lazy_reset_grad": np.array([True]),
        },
    )


def differences(f, w, h=1e-5):
    grad = np.zeros_like(w)
    for k in np.ndindex(w.shape):
        e = np.zeros_like(w)
        e[k] = h
        grad[k] = (f(w + e) - f(w - e)) / (2 * h)
    return grad


def test_saturated_logits_stay_finite(tmp_path):
    artifacts.generate_artifacts(
        linear(), ["w"], loss=artifacts.LossType.BCEWithLogitsLoss, artifact_directory=tmp_path
    )
    value, grad = loss_and_gradient(tmp_path, np.full((2, 4), 1e4), np.zeros((2, 3)), np.ones((4, 3)))
    assert np.isfinite(value) and np.isfinite(grad).all() and value > 1e4


def test_scores_of_three_axes(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[N,5,4] x) => (float[N,5,3] y)'
        "<float[4,3] w = {1,2,3,4,5,6,7,8,9,1,2,3}> { y = MatMul(x, w) }"
    )
    artifacts.generate_artifacts(model, ["w"], loss=artifacts.LossType.CrossEntropyLoss, artifact_directory=tmp_path)
    x = np.random.default_rng(0).normal(size=(2, 5, 4))
    w, t = np.random.default_rng(1).normal(size=(4, 3)), np.arange(10).reshape(2, 5) % 3
    logp = x @ w - np.log(np.exp(x @ w).sum(-1, keepdims=True))
    value, _ = loss_and_gradient(tmp_path, x, t, w)
    np.testing.assert_allclose(value, -np.take_along_axis(logp, t[..., None], -1).mean(), rtol=1e-5)


# ---- TrainingBlock, ForwardBlock, bases ---------------------------------------------------------------


class MyTrainingBlock(onnxblock.TrainingBlock):
    def __init__(self):
        super().__init__()
        self.loss = onnxblock.loss.CrossEntropyLoss()

    def build(self, loss_input_name):
        return self.loss(loss_input_name)


def test_a_training_block():
    block = MyTrainingBlock()
    for early in (block.to_model_proto, block.parameters):
        with pytest.raises(RuntimeError, match="Please build the training"):
            early()
    block.requires_grad("w")
    with onnxblock.base(linear()):
        block("y")
    training_model, eval_model = block.to_model_proto()
    trainable, frozen = block.parameters()
    assert [t.name for t in trainable] == ["w"] and frozen == []
    assert [o.name for o in training_model.graph.output][1:] == ["w_grad.accumulation.out"]
    assert len(eval_model.graph.output) == 1
    names = {n.name for n in training_model.graph.node}
    assert any(n.startswith("onnx::SoftmaxCrossEntropyLoss::1_Grad/") for n in names)


def test_nothing_requires_a_gradient_until_it_is_said():
    block = MyTrainingBlock()
    with onnxblock.base(linear()):
        block("y")
    assert block.parameters() == ([], [])
    assert len(block.to_model_proto()[0].graph.output) == 1


def test_forward_block_before_build():
    with pytest.raises(RuntimeError, match="Please build the forward model"):
        Apply().to_model_proto()


def test_one_base_at_a_time_and_none_outside():
    with pytest.raises(RuntimeError, match="cannot be None"), onnxblock.base(None):
        pass
    with onnxblock.base(linear()), pytest.raises(RuntimeError, match="Cannot create multiple ModelAccessors"):
        with onnxblock.empty_base():
            pass
    with pytest.raises(AttributeError, match="with onnxblock.base") as caught:
        B.Add()("a", "b")
    assert isinstance(caught.value, AidgeJaxError)


def test_a_block_that_breaks_the_model():
    with onnxblock.base(linear()), pytest.raises(RuntimeError, match="after build the model is not valid"):
        B.Add()("y", "nobody")


def test_shapes_are_inferred_by_path_where_there_is_one(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(linear(), path)
    for where in (None, str(path)):
        with onnxblock.base(linear(), where):
            B.Neg()("y")
            inferred = B.Neg().infer_shapes_on_base()
        assert [v.name for v in inferred.graph.value_info][-1].startswith("onnx::neg_output")


def test_an_optimizer_in_an_empty_base():
    with onnxblock.empty_base() as accessor:
        onnxblock.optim.AdamW(weight_decay=0.1, clip_grad=onnxblock.optim.ClipGradNorm(1.0))(
            list(linear().graph.initializer)
        )
        model = accessor.model
    assert [i.name for i in model.graph.input] == ["learning_rate", "step", "w", "w_grad", "w_momentum0", "w_momentum1"]
    assert [o.name for o in model.graph.output] == ["w_out", "w_momentum0_out", "w_momentum1_out", "step_out"]
    assert {n.domain for n in model.graph.node} == {""}


def test_checkpoints_of_parameters(tmp_path):
    tensors = list(linear().graph.initializer)
    with pytest.raises(RuntimeError, match="No checkpoint parameters"):
        onnxblock.save_checkpoint(None, tmp_path / "c")
    with pytest.raises(RuntimeError, match="'w' is given twice"):
        onnxblock.save_checkpoint((tensors, tensors), tmp_path / "c")
    onnxblock.save_checkpoint((tensors, []), tmp_path / "c")
    model = linear()
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.zeros((4, 3), np.float32), "w"))
    onnxblock.load_checkpoint_to_model(tmp_path / "c", model)
    np.testing.assert_array_equal(
        onnx.numpy_helper.to_array(model.graph.initializer[0]), onnx.numpy_helper.to_array(tensors[0])
    )


# ---- mistakes of somebody who starts ------------------------------------------------------------------


class Stacked(onnxblock.TrainingBlock):
    """Whatever a function makes of the outputs."""

    def __init__(self, function):
        super().__init__()
        self._function = function

    def build(self, *outputs):
        return self._function(self, *outputs)


def by_hand(op_type):
    def function(block, a, b):
        block.base.graph.node.append(onnx.helper.make_node(op_type, [a, b], ["q"], "mine"))
        return "q"

    return function


def two_losses(block, a, b):
    loss = onnxblock.loss.MSELoss()
    return onnxblock.blocks.Add()(loss(a, target_name="t"), loss(b, target_name="t"))


BUILDS = {
    "nothing returned": (lambda block, a, b: None, RuntimeError, "build must return the name of its output.*got None"),
    "a number returned": (lambda block, a, b: 3.0, RuntimeError, "build must return the name.*got 3.0"),
    "a number for a name": (
        lambda block, a, b: onnxblock.blocks.Add()(a, 2.0),
        TypeError,
        r"Add takes names of tensors, got 2.0; .*Constant\(number\)",
    ),
    "no such operator": (by_hand("Subb"), RuntimeError, "after build the model is not valid: No Op registered"),
    "shapes that do not fit": (by_hand("Sub"), RuntimeError, "not valid: .*op_type:Sub, node name: mine.*Incompatible"),
    "one target for two shapes": (two_losses, RuntimeError, "not valid: .*op_type:Sub.*Incompatible dimensions"),
}


@pytest.mark.parametrize("name", BUILDS)
def test_a_build_that_goes_wrong_says_why(name):
    function, kind, message = BUILDS[name]
    block = Stacked(function)
    with onnxblock.base(Case("two_output").model), pytest.raises(kind, match=message) as found:
        block("output1", "output2")
    assert isinstance(found.value, AidgeJaxError)


TENSORS = Case("mlp_ce").model.graph.initializer
CALLS = {
    "text for a constant": (lambda p: onnxblock.blocks.Constant("a"), TypeError, "Constant takes a number, got 'a'"),
    "bounds the wrong way round": (lambda p: onnxblock.blocks.Clip(3, 1), RuntimeError, "clip_min=3 is above clip"),
    "a type by name": (lambda p: onnxblock.blocks.Cast("float"), TypeError, "Cast takes the number of an element type"),
    "no features": (lambda p: onnxblock.blocks.Linear(0, 3), RuntimeError, "in_features=0, out_features=3; expected"),
    "half a class": (lambda p: onnxblock.loss.CrossEntropyLoss(ignore_index=1.5), TypeError, "ignore_index is 1.5"),
    "one beta": (lambda p: onnxblock.optim.AdamW(betas=0.9), RuntimeError, "betas is 0.9; expected two numbers"),
    "names to save": (lambda p: onnxblock.save_checkpoint((["a"], []), p), TypeError, "list of TensorProtos.*Got str"),
    "one list to save": (
        lambda p: onnxblock.save_checkpoint(list(TENSORS), p),
        TypeError,
        r"takes \(trainable, frozen\) parameters, two lists; got list of 4",
    ),
    "a path for a model": (lambda p: onnxblock.load_checkpoint_to_model(p, "m.onnx"), TypeError, "a ModelProto, got"),
    "a list of names": (lambda p: Stacked(two_losses).requires_grad(["a"]), TypeError, "requires_grad takes the name"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_argument_is_named(name, tmp_path):
    call, kind, message = CALLS[name]
    with pytest.raises(kind, match=message) as found:
        call(str(tmp_path / "checkpoint"))
    assert isinstance(found.value, AidgeJaxError)
    assert not list(tmp_path.iterdir())


def test_an_optimizer_is_given_tensors():
    with onnxblock.empty_base(), pytest.raises(TypeError, match="the parameters of SGD must be a list of TensorProtos"):
        onnxblock.optim.SGD()(["fc.weight"])


def test_a_name_that_is_nearly_right_comes_first():
    with pytest.raises(RuntimeError, match="fc2.weihgt is not found in the graph: .* initializers are fc2.weight, "):
        artifacts.generate_artifacts(Case("mlp_ce").model, ["fc2.weihgt"], loss=artifacts.LossType.CrossEntropyLoss)
