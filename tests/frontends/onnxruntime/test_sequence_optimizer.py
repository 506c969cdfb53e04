"""An optimizer over sequences of all parameters runs in plain onnxruntime, and serves a module as any other."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from aidgejax.frontends.onnxruntime.training import onnxblock
from aidgejax.frontends.onnxruntime.training.api import CheckpointState, Module, Optimizer

from ._blocks import Regression

RNG = np.random.default_rng(0)
SHAPES = {"w": (3, 2), "b": (2,), "s": ()}


def built(dtype=np.float32):
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [("MatMul", ["x", "w"], "m"), ("Add", ["m", "b"], "a"), ("Mul", ["a", "s"], "y")]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, [out]) for op, inputs, out in nodes],
        "g",
        [helper.make_tensor_value_info("x", code, ["n", 3])],
        [helper.make_tensor_value_info("y", code, ["n", 2])],
        [numpy_helper.from_array(np.asarray(RNG.normal(size=s), dtype), k) for k, s in SHAPES.items()],
    )
    block = Regression()
    for name in SHAPES:
        block.requires_grad(name)
    with onnxblock.base(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)):
        block("y")
    return block


def adamw(p, g, m, v, rate, t, b1=0.8, b2=0.95, eps=1e-6, decay=0.1):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    p = p - rate * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)
    return p - rate * decay * p, m, v


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adamw_over_sequences_in_plain_onnxruntime(dtype):
    ort = pytest.importorskip("onnxruntime")
    clip = onnxblock.optim.ClipGradNorm(0.5) if dtype == np.float32 else None  # the block's numbers are float
    optimizer = onnxblock.optim.AdamW(betas=(0.8, 0.95), weight_decay=0.1, clip_grad=clip)
    parameters = built(dtype).parameters()
    with onnxblock.empty_base():
        optimizer(parameters)
    model = optimizer.to_model_proto()
    assert {n.domain for n in model.graph.node} == {""}
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    drawn = {k: [np.asarray(RNG.normal(size=s), dtype) for s in SHAPES.values()] for k in ("params", "gradients", "m")}
    squares = [np.asarray(np.square(a)) for a in drawn["m"]]
    feeds = {"learning_rate": np.full(1, 0.1, np.float32), "step": np.full(1, 3)}
    feeds |= {"params": drawn["params"], "gradients": drawn["gradients"]}
    feeds |= {"first_order_moments": drawn["m"], "second_order_moments": squares}
    flag, *found = session.run(None, feeds)
    assert flag.tolist() == [True]
    norm = np.sqrt(sum(float(np.sum(g * g)) for g in drawn["gradients"]))
    factor = min(1.0, 0.5 / (norm + 1e-6)) if clip else 1.0
    for k, (p, g, m, v) in enumerate(zip(drawn["params"], drawn["gradients"], drawn["m"], squares, strict=True)):
        wanted = adamw(p, g * factor, m, v, float(np.float32(0.1)), 3)
        for got, want in zip((f[k] for f in found), wanted, strict=True):
            assert got.shape == p.shape and got.dtype == dtype
            np.testing.assert_allclose(got, want, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("kind", [onnxblock.optim.AdamW, onnxblock.optim.SGD])
def test_a_module_is_trained_by_either_form(tmp_path, kind):
    block = built()
    onnx.save(block.to_model_proto()[0], tmp_path / "training.onnx")
    onnxblock.save_checkpoint(block.parameters(), str(tmp_path / "checkpoint"))
    x, target = RNG.normal(size=(4, 3)).astype(np.float32), RNG.normal(size=(4, 2)).astype(np.float32)
    found = []
    for parameters in (block.parameters(), block.parameters()[0]):
        optimizer = kind()
        with onnxblock.empty_base():
            optimizer(parameters)
        onnx.save(optimizer.to_model_proto(), tmp_path / "optimizer.onnx")
        state = CheckpointState.load_checkpoint(tmp_path / "checkpoint")
        module = Module(tmp_path / "training.onnx", state)
        update = Optimizer(tmp_path / "optimizer.onnx", module)
        for _ in range(2):
            module(x, target)
            update.step()
            module.lazy_reset_grad()
        found.append([p.data for _, p in state.parameters])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_no_sequence_holds_is_refused():
    mixed = [numpy_helper.from_array(np.zeros(2, d), n) for d, n in ((np.float32, "a"), (np.float16, "b"))]
    with onnxblock.empty_base(), pytest.raises(RuntimeError, match=r"one dtype.*FLOAT, FLOAT16.*parameters\(\)\[0\]"):
        onnxblock.optim.SGD()((mixed, []))
