"""Operators of com.microsoft mean what they mean in onnxruntime, and train."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from aidgejax import onnxio, run
from aidgejax.errors import AidgeJaxError, ModelFileError, UnknownOperator
from aidgejax.execution.program import make_program
from tests.both_passes import both_passes

ort = pytest.importorskip("onnxruntime")
RNG = np.random.default_rng(2)
B, S, HEADS, SIZE = 2, 3, 2, 8  # SIZE: of all heads together
PADDED = np.int32([[1, 1, 1], [1, 1, 0]])


def f(*shape, lo=-1.5, hi=1.5):
    return RNG.uniform(lo, hi, shape).astype(np.float32)


def u8(*shape):
    return RNG.integers(0, 256, shape).astype(np.uint8)


def s(value):
    return np.float32(value)


def z(value):
    return np.uint8(value)


def model_of(op, inputs, outputs=1, weights=(), domain="com.microsoft", batch="batch", **attributes):
    """A model of one node; inputs whose number is in `weights` are initializers, others have a symbolic batch."""
    names = [f"i{k}" if a is not None else "" for k, a in enumerate(inputs)]
    outs = [f"o{k}" if kept else "" for k, kept in enumerate(outputs if isinstance(outputs, tuple) else (1,) * outputs)]
    node = helper.make_node(op, names, outs, name="it", domain=domain, **attributes)
    infos, stored = [], []
    for k, (name, a) in enumerate(zip(names, inputs, strict=True)):
        if a is None:
            continue
        if k in weights:
            stored.append(onnx.numpy_helper.from_array(np.asarray(a), name))
        else:
            shape = [batch, *a.shape[1:]] if a.ndim and a.shape[0] == B else a.shape
            infos.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), shape))
    floats = [helper.make_tensor_value_info(o, _dtype(op, o), None) for o in outs if o]
    graph = helper.make_graph([node], "g", infos, floats, stored)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _dtype(op, name):
    if op == "EmbedLayerNormalization" and name == "o1":
        return TensorProto.INT32
    whole = op.startswith(("QLinear", "QuantizeLinear"))
    return TensorProto.UINT8 if whole else TensorProto.FLOAT


def hidden():
    return f(B, S, SIZE)


ROWS = {
    "Gelu": dict(inputs=(f(B, 4),)),
    "FastGelu": dict(inputs=(f(B, 4), f(4)), weights=(1,)),
    "BiasGelu": dict(inputs=(f(B, 4), f(4)), weights=(1,)),
    "QuickGelu": dict(inputs=(f(B, 4),), alpha=1.3),
    "SkipLayerNormalization": dict(
        inputs=(hidden(), hidden(), f(SIZE), f(SIZE), f(SIZE)), outputs=(1, 0, 0, 1), weights=(2, 3, 4), epsilon=1e-3
    ),
    "SkipSimplifiedLayerNormalization": dict(
        inputs=(hidden(), hidden(), f(SIZE), f(SIZE)), outputs=(1, 0, 0, 1), weights=(2, 3), epsilon=1e-3
    ),
    "SimplifiedLayerNormalization": dict(inputs=(hidden(), f(SIZE)), weights=(1,), domain="", epsilon=1e-3),
    "EmbedLayerNormalization": dict(
        inputs=(
            np.int32([[1, 4, 2], [0, 3, 3]]),
            np.int32([[0, 0, 1], [1, 1, 0]]),
            f(5, SIZE),
            f(4, SIZE),
            f(2, SIZE),
            f(SIZE),
            f(SIZE),
            PADDED,
        ),
        outputs=2,
        weights=(2, 3, 4, 5, 6),
    ),
    "FusedMatMul": dict(inputs=(f(B, 4, 3), f(B, 5, 4)), transA=1, transB=1, alpha=0.5),
    "FusedMatMul plain": dict(inputs=(f(B, 4), f(4, 3)), weights=(1,), alpha=0.5),
    "FusedGemm": dict(
        inputs=(f(B, 4), f(3, 4), f(3)),
        weights=(1, 2),
        transB=1,
        alpha=0.5,
        activation="LeakyRelu",
        activation_alpha=0.2,
    ),
    "FusedConv": dict(
        inputs=(f(B, 2, 4, 4), f(3, 2, 3, 3), f(3)), weights=(1, 2), pads=[1, 1, 1, 1], activation="Relu"
    ),
    "FusedConv clipped": dict(
        inputs=(f(B, 2, 4, 4), f(3, 2, 3, 3), f(3)), weights=(1, 2), activation="Clip", activation_params=[-0.5, 0.8]
    ),
    "Attention": dict(inputs=(hidden(), f(SIZE, 3 * SIZE), f(3 * SIZE), PADDED), weights=(1, 2), num_heads=HEADS),
    "Attention lengths": dict(
        inputs=(hidden(), f(SIZE, 3 * SIZE), f(3 * SIZE), np.int32([3, 2])), weights=(1, 2), num_heads=HEADS, scale=0.3
    ),
    "Attention past": dict(
        inputs=(hidden(), f(SIZE, 3 * SIZE), f(3 * SIZE), None, f(2, B, HEADS, 2, SIZE // HEADS)),
        weights=(1, 2),
        num_heads=HEADS,
        unidirectional=1,
        outputs=2,
        batch=B,
    ),
    "MultiHeadAttention": dict(
        inputs=(hidden(), f(B, 4, SIZE), f(B, 4, SIZE), f(3 * SIZE)), weights=(3,), num_heads=HEADS
    ),
    "MultiHeadAttention heads": dict(
        inputs=(hidden(), f(B, HEADS, 4, 4), f(B, HEADS, 4, 4), None, None, f(1, HEADS, S, 4)),
        num_heads=HEADS,
        weights=(5,),
    ),
    "RotaryEmbedding": dict(inputs=(f(B, S, SIZE), np.int64([[0, 1, 2], [3, 2, 4]]), f(6, 2), f(6, 2)), weights=(2, 3)),
    "RotaryEmbedding offset": dict(
        inputs=(f(B, HEADS, S, 4), np.int64([2]), f(6, 2), f(6, 2)), weights=(1, 2, 3), interleaved=1
    ),
    "QuantizeLinear": dict(inputs=(f(B, 4), s(0.02), z(120)), weights=(1, 2)),
    "DequantizeLinear": dict(inputs=(u8(B, 4), s(0.02), z(120)), weights=(1, 2)),
    "QLinearAdd": dict(
        inputs=(u8(B, 4), s(0.02), z(120), u8(B, 4), s(0.03), z(100), s(0.05), z(128)), weights=(1, 2, 4, 5, 6, 7)
    ),
    "QLinearMul": dict(
        inputs=(u8(B, 4), s(0.02), z(120), u8(B, 4), s(0.03), z(100), s(0.05), z(128)), weights=(1, 2, 4, 5, 6, 7)
    ),
    "QLinearSigmoid": dict(inputs=(u8(B, 4), s(0.02), z(120), s(0.004), z(0)), weights=(1, 2, 3, 4)),
    "QLinearConcat": dict(
        inputs=(s(0.03), z(10), u8(B, 2), s(0.02), z(120), u8(B, 3), s(0.05), z(100)),
        axis=1,
        weights=(0, 1, 3, 4, 6, 7),
    ),
    "DynamicQuantizeMatMul": dict(
        inputs=(f(B, 4), u8(4, 3), np.full(3, 0.02, np.float32), np.full(3, 120, np.uint8), f(3)), weights=(1, 2, 3, 4)
    ),
    "MatMulIntegerToFloat": dict(
        inputs=(u8(B, 4), u8(4, 3), s(0.02), s(0.03), z(120), z(110), f(3)), weights=(1, 2, 3, 4, 5, 6)
    ),
}


def row(name):
    how = dict(ROWS[name])
    inputs = tuple(a if a is None else np.asarray(a) for a in how.pop("inputs"))
    model = model_of(name.split()[0], inputs, **how)
    return model, {i.name: inputs[int(i.name[1:])] for i in model.graph.input}


@pytest.mark.parametrize("name", ROWS)
def test_as_in_onnxruntime(name):
    model, feeds = row(name)
    want = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
    graph = onnxio.read(model)
    assert {n.domain for n in graph.nodes} == {""}
    for backend in ("numpy", "jax"):
        for a, b in zip(run(graph, feeds, backend), want, strict=True):
            assert a.dtype == b.dtype
            one_step = 1 if a.dtype == np.uint8 else 2e-5  # what lies on a half may be rounded either way
            np.testing.assert_allclose(
                a.astype(np.float64), b.astype(np.float64), rtol=1e-5, atol=one_step, err_msg=backend
            )


@pytest.mark.parametrize("name", ["SkipLayerNormalization", "Attention", "EmbedLayerNormalization", "FusedConv"])
def test_every_weight_gets_a_gradient(name):
    model, feeds = row(name)
    program = make_program(onnxio.read(model), seeds=["o0"])
    graph, dy = program.graph, lambda outputs: {"o0": f(*outputs["o0"].shape)}
    _, grads, _ = both_passes(program, graph.params, graph.buffers, feeds, dy)
    assert len(grads) == len(ROWS[name]["weights"])
    assert all(np.any(np.asarray(g) != 0) for g in grads.values())


def test_packed_heads():
    """onnxruntime reads these on a GPU alone."""
    packed = f(B, S, HEADS, 3, SIZE // HEADS)
    parts = [packed[:, :, :, k].reshape(B, S, SIZE) for k in range(3)]
    want = run(onnxio.read(model_of("MultiHeadAttention", parts, num_heads=HEADS)), parts, "numpy")
    got = run(onnxio.read(model_of("MultiHeadAttention", (packed,), num_heads=HEADS)), [packed], "numpy")
    both = (parts[0], np.stack([p.reshape(B, S, HEADS, -1) for p in parts[1:]], axis=3))
    half = run(onnxio.read(model_of("MultiHeadAttention", both, num_heads=HEADS)), both, "numpy")
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    np.testing.assert_allclose(half[0], want[0], rtol=1e-6)


def test_a_mask_behind_a_cast_is_seen():
    """The form of a mask follows from its shape, which has to be found first."""
    model, feeds = row("Attention")
    cast = helper.make_node("Cast", ["i3"], ["m"], to=TensorProto.INT32)
    model.graph.node[0].input[3] = "m"
    model.graph.node.insert(0, cast)
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    feeds["i3"] = feeds["i3"].astype(np.int64)
    want = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
    np.testing.assert_allclose(run(onnxio.read(model), feeds)[0], want[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("Attention", {"do_rotary": 1}, r"node 'it' \(Attention of com.microsoft\) cannot be read: do_rotary"),
        ("FusedGemm", {"activation": "Mish"}, "its activation 'Mish' is none of Clip, LeakyRelu"),
        ("Gelu", {"odd": 1}, "unexpected keyword argument 'odd'"),
    ],
)
def test_what_is_not_read_is_refused(name, change, message):
    ROWS[f"{name} changed"] = ROWS[name] | change
    try:
        model, _ = row(f"{name} changed")
    finally:
        del ROWS[f"{name} changed"]
    with pytest.raises(ModelFileError, match=message):
        onnxio.read(model)


def test_an_unknown_one_is_named():
    with pytest.raises(UnknownOperator, match="com.microsoft::Surprise"):
        onnxio.read(model_of("Surprise", (f(B, 2),)))
    with pytest.raises(AidgeJaxError):
        onnxio.read(model_of("Gelu", (f(B, 2),), domain="ai.other"))


def test_a_rank_is_known_behind_a_reshape_whose_shape_is_stored():
    """Rotary positions and the like ask how many axes their input has, before roles are decided."""
    angles = np.arange(6)[:, None] * [1.0, 0.1]
    tensors = {"shape": np.array([0, 0, 2, 4]), "cos": np.cos(angles).astype("f"), "sin": np.sin(angles).astype("f")}
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("RotaryEmbedding", ["t", "at", "cos", "sin"], ["y"], domain="com.microsoft"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 5, 8]),
            helper.make_tensor_value_info("at", TensorProto.INT64, ["N", 5]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(v, k) for k, v in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    feeds = {"x": np.random.default_rng(0).normal(size=(2, 5, 8)).astype("f"), "at": np.tile(np.arange(5), (2, 1))}
    wanted = ort.InferenceSession(made.SerializeToString()).run(None, feeds)[0]
    np.testing.assert_allclose(run(onnxio.read(made), feeds)[0], wanted, atol=2e-6)


@pytest.mark.parametrize(("op", "cure"), [("MatMulBnb4", "as MatMulNBits"), ("MoE", "without fused experts")])
def test_what_is_not_read_is_named_with_a_cure(op, cure):
    node = helper.make_node(op, ["x", "w"], ["y"], domain="com.microsoft")
    ends = [[helper.make_tensor_value_info(k, TensorProto.FLOAT, ["N", 4])] for k in "xy"]
    graph = helper.make_graph([node], "g", *ends, [onnx.numpy_helper.from_array(np.ones((4, 4), "f"), "w")])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    with pytest.raises(AidgeJaxError, match=f"com.microsoft::{op} .*{cure}"):
        onnxio.read(helper.make_model(graph, opset_imports=opsets, ir_version=8))
