"""Quantized and blocked operators of onnxruntime's own mean what they mean there, and their weights can be trained."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import aidgejax as aj
from aidgejax import onnxio, run
from aidgejax.errors import ModelFileError
from aidgejax.passes.float_weights import float_weights
from aidgejax.passes.lora import lora

ort = pytest.importorskip("onnxruntime")
RNG = np.random.default_rng(3)
F, U = TensorProto.FLOAT, TensorProto.UINT8
COS, SIN = (fn(np.outer(np.arange(16), 1 / 10 ** np.linspace(0, 1, 8))).astype("f") for fn in (np.cos, np.sin))


def r(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def u8(*shape):
    return RNG.integers(0, 256, shape).astype(np.uint8)


def i8(*shape):
    return RNG.integers(-127, 128, shape).astype(np.int8)


def s(value):
    return np.float32(value)


def z(value):
    return np.uint8(value)


def model_of(op, inputs, outputs=(F,), stored=(), domain="com.microsoft", **attrs):
    """A model of one node, and what to feed it; inputs whose number is in `stored` are initializers."""
    names = [f"i{k}" if a is not None else "" for k, a in enumerate(inputs)]
    given = [(n, np.asarray(a), k in stored) for k, (n, a) in enumerate(zip(names, inputs, strict=True)) if n]
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a, k in given
        if not k
    ]
    outs = [helper.make_tensor_value_info(f"o{k}", t, None) for k, t in enumerate(outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, [o.name for o in outs], name="it", domain=domain, **attrs)],
        "g",
        infos,
        outs,
        [numpy_helper.from_array(a, n) for n, a, k in given if k],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10), {n: a for n, a, k in given if not k}


def n_bits(bits, rows, columns, block, zero=None, order=False, bias=False):
    blocks = -(-rows // block)
    zeros = {
        None: None,
        "integers": u8(columns * -(-blocks * bits // 8)),
        "floats": RNG.uniform(0, 1 << bits, columns * blocks).astype("f"),
    }
    inputs = (
        r(3, rows),
        u8(columns, blocks, block * bits // 8),
        RNG.uniform(0.05, 0.2, columns * blocks).astype("f"),
        zeros[zero],
        RNG.permutation(np.arange(rows) // block).astype(np.int32) if order else None,
        r(columns) if bias else None,
    )
    return dict(inputs=inputs, stored=range(1, 6), K=rows, N=columns, bits=bits, block_size=block)


def attended(rows=2, past=0, packed=False, rotary=True, **more):
    length = np.full(rows, past + 4, np.int32)
    qkv = (r(rows, 5, 8 * 16), None, None) if packed else (r(rows, 5, 4 * 16), r(rows, 5, 2 * 16), r(rows, 5, 2 * 16))
    before = (r(rows, 2, past, 16), r(rows, 2, past, 16)) if past else (None, None)
    caches = (COS, SIN) if rotary else ()
    inputs = (*qkv, *before, length, np.array(past + 5, np.int32), *caches)
    return (
        dict(inputs=inputs, outputs=(F, F, F), stored=(7, 8), num_heads=4, kv_num_heads=2, do_rotary=int(rotary)) | more
    )


SCALES = (s(0.02), z(120), s(0.01), z(100))
BIAS = np.arange(4, dtype=np.int32) * 99
LSTM_SCALES = (np.full((2, 16), 0.003, "f"), np.zeros((2, 16), np.int8)) * 2
ROWS = {
    "MatMulNBits": n_bits(4, 40, 5, 16, bias=True),
    "MatMulNBits zero points": n_bits(4, 48, 5, 16, "integers"),
    "MatMulNBits zero points of floats": n_bits(4, 64, 6, 16, "floats"),
    "MatMulNBits rows in another order": n_bits(4, 64, 6, 16, order=True),
    "MatMulNBits of 8": n_bits(8, 64, 6, 32, "integers"),
    "MatMulNBits of 2": n_bits(2, 64, 6, 16, "integers"),
    "GatherBlockQuantized": dict(
        inputs=(u8(6, 16), np.int64([[1, 3], [0, 5]]), np.abs(r(6, 2)), u8(6, 1)), stored=(0, 2, 3), block_size=16
    ),
    "GroupQueryAttention": attended(),
    "GroupQueryAttention packed": attended(packed=True, rotary_interleaved=1),
    "GroupQueryAttention after others": attended(1, past=3),
    "GroupQueryAttention in a window": attended(rotary=False, local_window_size=2, softcap=3.0, scale=0.3),
    "QGemm": dict(
        inputs=(u8(3, 6), s(0.02), z(120), i8(4, 6), np.abs(r(4)) / 20, np.zeros(4, np.int8), BIAS, s(0.1), z(128)),
        outputs=(U,), stored=range(1, 9), transB=1,
    ),
    "QGemm to floats": dict(
        inputs=(u8(3, 6), s(0.02), z(120), u8(6, 4), s(0.01), z(100), BIAS),
        stored=range(1, 7), alpha=0.5,
    ),
    "QLinearGlobalAveragePool": dict(
        inputs=(u8(2, 4, 4, 3), *SCALES), outputs=(U,), stored=range(1, 5), channels_last=1
    ),
    "QLinearAveragePool": dict(
        inputs=(u8(2, 3, 6, 6), *SCALES), outputs=(U,), stored=range(1, 5), kernel_shape=[3, 3], pads=[1, 1, 1, 1]
    ),
    "QLinearSoftmax": dict(
        inputs=(u8(2, 3, 6), s(0.02), z(120), s(1 / 256), z(0)), outputs=(U,), stored=range(1, 5), axis=1, opset=12
    ),
    "QLinearWhere": dict(
        inputs=(np.array([[True, False, True]]), u8(2, 3), s(0.02), z(120), u8(2, 3), s(0.01), z(100), s(0.03), z(110)),
        outputs=(U,), stored=(2, 3, 5, 6, 7, 8),
    ),
    "QLinearConv": dict(
        inputs=(u8(2, 6, 6, 3), s(0.02), z(120), u8(4, 3, 3, 3), s(0.01), z(100), s(0.1), z(110), BIAS),
        outputs=(U,), stored=range(1, 9), channels_last=1,
    ),
    "NhwcMaxPool": dict(inputs=(u8(2, 6, 6, 3),), outputs=(U,), kernel_shape=[2, 2], strides=[2, 2]),
    "QAttention": dict(
        inputs=(u8(2, 3, 8), u8(8, 24), r(24), s(0.02), s(0.01), np.int32([[1, 1, 1], [1, 1, 0]]), z(120), z(100)),
        stored=(1, 2, 3, 4, 6, 7), num_heads=2,
    ),
    "QEmbedLayerNormalization": dict(
        inputs=(np.int32([[1, 4, 2]]), np.int32([[0, 0, 1]]), u8(5, 8), u8(4, 8), u8(2, 8), u8(8), u8(8),
                np.int32([[1, 1, 0]]), *[s(0.01)] * 5, *[z(120)] * 5),
        outputs=(F, TensorProto.INT32), stored=(2, 3, 4, 5, 6, *range(8, 18)),
    ),
    "DynamicQuantizeLSTM": dict(
        inputs=(r(5, 2, 6), i8(2, 6, 16), i8(2, 4, 16), r(2, 32), None, None, None, None, *LSTM_SCALES),
        outputs=(F, F, F), stored=(1, 2, 3, 8, 9, 10, 11), hidden_size=4, direction="bidirectional",
    ),
    "Trilu": dict(inputs=(r(2, 3, 3),)),
    "GridSample": dict(inputs=(r(1, 2, 4, 4), RNG.uniform(-1, 1, (1, 3, 3, 2)).astype("f"))),
    "CDist": dict(inputs=(r(3, 4), r(5, 4)), metric="euclidean"),
}  # fmt: skip
CLOSE = {"DynamicQuantizeLSTM": 2e-2}  # there the inputs are rounded, too


def expected(model, feeds, plainly=False):
    """plainly: without the optimizations, one of which rounds a MatMul's input to 8 bits where its weights are 4."""
    options = ort.SessionOptions()
    if plainly:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"]).run(None, feeds)


@pytest.mark.parametrize("name", ROWS)
def test_as_in_onnxruntime(name):
    model, feeds = model_of(name.split()[0], **ROWS[name])
    graph = onnxio.read(model)
    assert {n.domain for n in graph.nodes} == {""}
    for a, b in zip(run(graph, feeds, "numpy"), expected(model, feeds), strict=True):
        assert a.dtype == b.dtype
        close = 1 if a.dtype == np.uint8 else CLOSE.get(name, 2e-5)
        np.testing.assert_allclose(a.astype(np.float64), b.astype(np.float64), rtol=1e-4, atol=close)


def test_zero_points_of_rows_in_another_order():
    """By the documentation; onnxruntime's CPU kernel takes every zero point for 8 where g_idx is given."""
    model, feeds = model_of("MatMulNBits", **n_bits(4, 32, 2, 16, "integers", order=True))
    held = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    q = np.stack([held["i1"] & 15, held["i1"] >> 4], -1).reshape(2, 32)
    zero = np.stack([held["i3"] & 15, held["i3"] >> 4], -1)
    w = (q - zero[:, held["i4"]].astype(float)) * held["i2"].reshape(2, 2)[:, held["i4"]]
    np.testing.assert_allclose(run(onnxio.read(model), feeds)[0], feeds["i0"] @ w.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["MatMulNBits", "MatMulNBits zero points", "MatMulNBits rows in another order"])
def test_blocks_are_weights_behind_scales(name, tmp_path):
    model, feeds = model_of("MatMulNBits", **ROWS[name])
    graph = onnxio.read(model)
    assert graph.producers["i1"].kind == "quantized weight" and "i2" not in graph.params
    assert onnxio.to_model(graph) == model  # untrained, it is the file that came
    trained = float_weights(graph, ["i1"])
    assert "i1" in trained.params and "i2" not in trained.params
    np.testing.assert_array_equal(run(trained, feeds, "numpy")[0], run(graph, feeds, "numpy")[0])
    np.testing.assert_allclose(
        expected(onnxio.to_model(trained), feeds)[0], expected(model, feeds)[0], rtol=1e-4, atol=1e-5
    )
    assert set(lora(graph, 2).params) == {"i1.lora_A", "i1.lora_B"}


def test_a_model_of_4_bits_is_read_trained_and_written_with_adapters(tmp_path):
    model, feeds = model_of("MatMulNBits", **n_bits(4, 32, 4, 16))
    graph = aj.with_loss(lora(onnxio.read(model, batch="N"), 2), "mse", reduction="rows")
    data = aj.Dataset({"i0": r(64, 32), "target": r(64, 4)})
    program = aj.make_program(graph, training=True)
    state, history = aj.fit(program, aj.optim.adam(), aj.schedule.constant(0.03), data, epochs=4, batch_size=16)
    assert history[-1]["loss"] < history[0]["loss"]
    path = tmp_path / "m.onnx"
    onnxio.write(lora(onnxio.read(model), 2), state.params, path)
    want = run(lora(onnxio.read(model), 2).with_params(state.params), feeds, "numpy")[0]
    np.testing.assert_allclose(expected(onnx.load(path), feeds, plainly=True)[0], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"bits": 5}, "integers of 5 bits; 2, 4 and 8 are read"),
        ({"weight_prepacked": 1}, "in the form of a GPU's kernels"),
        (
            {"K": 64},
            r"its weights are uint8\[5, 3, 8\]; 64 x 5 integers of 4 bits in blocks of 16 are uint8\[5, 4, 8\]",
        ),
        ({"stored": (2, 3)}, "'i1' is not stored in the file"),
    ],
)
def test_what_cannot_be_unpacked_is_refused(change, message):
    model, _ = model_of("MatMulNBits", **(ROWS["MatMulNBits"] | change))
    with pytest.raises(ModelFileError, match=message):
        onnxio.read(model)


def test_a_key_value_cache_of_integers_is_refused():
    model, _ = model_of("GroupQueryAttention", **attended(k_quant_type="PER_TENSOR"))
    with pytest.raises(ModelFileError, match="k_quant_type=.*PER_TENSOR.* are not read"):
        onnxio.read(model)


# ---- whole files -------------------------------------------------------------------------------------


def cnn(channels, more):
    def node(op, inputs, output, **attrs):
        return helper.make_node(op, inputs, [output], **attrs)

    nodes = [
        node("Conv", ["x", "w1", "b1"], "c1", pads=[1] * 4),
        node("Relu", ["c1"], "r1"),
        node("MaxPool", ["r1"], "p1", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["p1", "w2", "b2"], "c2", pads=[1] * 4),
        node("Sigmoid", ["c2"], "r2"),
        node("Conv", ["r2", "w3"], "c3", pads=[1] * 4),
        node("Add", ["c3", "r2"], "a3"),
        node("Conv", ["a3", "w4"], "c4", group=more),
        node("Resize", ["c4", "", "twice"], "u", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        node("AveragePool", ["u"], "ap", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["ap"], "g"),
        node("Flatten", ["g"], "fl"),
        node("Gemm", ["fl", "w5", "b5"], "y"),
    ]
    arrays = {"w1": r(channels, 3, 3, 3), "b1": r(channels), "w2": r(more, channels, 3, 3) / 5, "b2": r(more)}
    arrays |= {"w3": r(more, more, 3, 3) / 5, "w4": r(more, 1, 1, 1), "w5": r(more, 5), "b5": r(5)}
    stored = [numpy_helper.from_array(a, n) for n, a in {**arrays, "twice": np.array([1, 1, 2, 2], "f")}.items()]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [info("x", F, ["N", 3, 8, 8])], [info("y", F, ["N", 5])], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def optimized(model, path, level):
    options = ort.SessionOptions()
    options.graph_optimization_level, options.optimized_model_filepath = level, str(path)
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(path)


@pytest.mark.parametrize("channels, more", [(16, 32), (16, 20)])
def test_a_file_in_blocks_of_channels(tmp_path, channels, more):
    """What onnxruntime saves with all optimizations, for the kernels of this machine."""
    level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    model = optimized(cnn(channels, more), tmp_path / "all.onnx", level)
    assert "com.microsoft.nchwc" in {n.domain for n in model.graph.node}
    graph, x = onnxio.read(model), r(2, 3, 8, 8)
    np.testing.assert_allclose(run(graph, {"x": x}, "numpy")[0], expected(model, {"x": x})[0], rtol=1e-4, atol=1e-5)
    assert onnxio.to_model(graph) == model
    # Trained, it is written in NCHW, which every machine reads.
    changed = graph.with_params({k: v * 1.5 for k, v in graph.params.items()})
    written = onnxio.to_model(changed)
    assert {n.domain for n in written.graph.node} == {""}
    np.testing.assert_allclose(expected(written, {"x": x})[0], run(changed, {"x": x}, "numpy")[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["QOperator", "QDQ"])
def test_what_quantize_static_writes_is_trained_in_floats(tmp_path, kind):
    """Per channel, and what onnxruntime's optimizer makes of it: only weights and biases train, not scales."""
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Data(quantization.CalibrationDataReader):
        rows = iter([{"x": r(1, 3, 8, 8)} for _ in range(4)])

        def get_next(self):
            return next(self.rows, None)

    onnx.save(cnn(4, 6), tmp_path / "f.onnx")
    how = {"quant_format": quantization.QuantFormat[kind], "per_channel": True}
    quantization.quantize_static(tmp_path / "f.onnx", tmp_path / "q.onnx", Data(), **how)
    x = r(2, 3, 8, 8)
    for model in (
        onnx.load(tmp_path / "q.onnx"),
        optimized(onnx.load(tmp_path / "q.onnx"), tmp_path / "all.onnx", ort.GraphOptimizationLevel.ORT_ENABLE_ALL),
    ):
        graph = onnxio.read(model)
        assert not graph.params, graph.roles()
        trained = float_weights(graph)
        assert len(trained.params) == 8 and not [k for k in trained.params if "scale" in k]
        np.testing.assert_allclose(
            run(trained, {"x": x}, "numpy")[0], expected(model, {"x": x})[0], rtol=1e-4, atol=1e-4
        )
        np.testing.assert_allclose(
            expected(onnxio.to_model(trained), {"x": x})[0], expected(model, {"x": x})[0], rtol=1e-4, atol=1e-4
        )
