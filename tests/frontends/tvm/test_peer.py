"""The same training script through TVM itself: pip install apache-tvm==0.27.0.post1 "numpy<2.3"."""

import numpy as np
import pytest

from aidgejax.frontends import tvm as ours
from aidgejax.frontends.tvm import relax as our_relax
from aidgejax.frontends.tvm.relax import training as our_training

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

RNG = np.random.default_rng(9)
CLASSES = RNG.integers(0, 4, 6)
HOT = np.eye(4, dtype=np.int64)[CLASSES]
DENSE = RNG.normal(size=(6, 4)).astype(np.float32)
WEIGHTS = np.array([0.5, 1, 2, 0.1], np.float32)

# activation, layer_norm, loss, optimizer, targets, class weights
CASES = {
    "weights, an ignored class, dampening": (
        "relu", False, lambda loss: loss.CrossEntropyLoss("mean", ignore_index=int(CLASSES[0])),
        lambda opt: opt.MomentumSGD(0.05, 0.8, 0.2, 0.01, True), CLASSES, WEIGHTS),
    "one-hot, layer_norm, Adam": (
        "silu", True, lambda loss: loss.CategoricalCrossEntropyLoss("sum"),
        lambda opt: opt.Adam(0.02, (0.8, 0.95), 1e-4, 0.02), HOT, WEIGHTS),
    "one-hot and an ignored class": (
        "tanh", True, lambda loss: loss.CategoricalCrossEntropyLoss("mean", ignore_index=2),
        lambda opt: opt.SGD(0.1, 0.1), HOT, WEIGHTS),
    "momentum 0 is dampened too": (
        "abs", False, lambda loss: loss.L1Loss("sum"), lambda opt: opt.MomentumSGD(0.01, 0.0, 0.5), DENSE, None),
}  # fmt: skip


def backbone(relax, types, activation, layer_norm):
    """Two inputs, a parameter that reaches nothing, BatchNormalization's states."""
    op, f32 = relax.op, lambda *shape: types(shape, "float32")
    x, z, w, g, b, w2, unused, mean, var = (
        relax.Var(n, f32(*s))
        for n, s in (
            ("x", (6, 5)),
            ("z", (6, 5)),
            ("w", (5, 7)),
            ("g", (7,)),
            ("b", (7,)),
            ("w2", (7, 4)),
            ("unused", (3,)),
            ("mean", (7,)),
            ("var", (7,)),
        )
    )
    bb = relax.BlockBuilder()
    with bb.function("backbone", [x, z, w, g, b, w2, unused, mean, var]):
        with bb.dataflow():
            h = bb.emit(op.matmul(bb.emit(op.add(x, z)), w))
            norm = bb.emit(op.nn.batch_norm(h, g, b, mean, var, axis=1, epsilon=1e-3, momentum=0.3))
            states = [bb.emit_output(relax.TupleGetItem(norm, k)) for k in (1, 2)]
            h = bb.emit(relax.TupleGetItem(norm, 0))
            h = bb.emit((getattr(op.nn, activation, None) or getattr(op, activation))(h))
            h = bb.emit(op.nn.layer_norm(h, g, b, axes=[-1])) if layer_norm else h
            out = bb.emit_output(op.matmul(h, w2))
        bb.emit_func_output([out, *states])
    return bb.get().with_attrs({"param_num": 5, "state_num": 2})


def trained(tvm, relax, training, types, activation, layer_norm, loss, optimizer, targets, weights):
    given = [targets] if weights is None else [targets, weights]
    args = [types((6, 4), "float32"), *(types(a.shape, a.dtype.name) for a in given)]
    mod = backbone(relax, types, activation, layer_norm)
    mod = training.SetupTrainer(loss(training.loss), optimizer(training.optimizer), args)(mod)
    t = training.Trainer(mod, relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu()), tvm.cpu())
    np.random.seed(2)
    t.xaiver_uniform_init_params()
    t.load_states([np.zeros(7, np.float32), np.ones(7, np.float32)])
    rng = np.random.default_rng(3)
    step_losses = [t.update([rng.normal(size=(6, 5)).astype(np.float32) for _ in range(2)], given) for _ in range(5)]
    ones = np.ones((6, 5), np.float32)
    found = [*step_losses, *t.export_params().values(), *t.export_states().values(), t.predict(ones, ones)]
    return [a.numpy() for a in found]


@pytest.mark.parametrize("name", CASES)
def test_both_train_alike(name):
    tvm = pytest.importorskip("tvm")
    from tvm import relax
    from tvm.relax import training

    types = getattr(relax, "TensorType", None) or relax.TensorStructInfo
    theirs = trained(tvm, relax, training, types, *CASES[name])
    mine = trained(ours, our_relax, our_training, our_relax.TensorType, *CASES[name])
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
