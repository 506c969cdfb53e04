"""Models of older opsets: as we read them, they compute what ONNX Runtime or onnx's evaluator makes of them."""

import numpy as np
import onnx.defs
import onnx.reference
import onnxruntime
import pytest
from onnx import numpy_helper

from aidgejax import onnxio, run
from aidgejax.errors import ModelFileError
from aidgejax.onnxio.importer.opset_upgrade import OLDER, OLDER_OF_RANK, RENAMED
from aidgejax.ops import OPERATORS

from ._models import info, model, node

RNG = np.random.default_rng(0)
ROWS = []


def x(*shape):
    return RNG.uniform(-2, 2, shape).astype(np.float32)


class Row:
    """An old node.  inputs: arrays; those named in `stored` are initializers, the others are fed."""

    def __init__(self, op, opset, inputs, *, outputs=1, stored=(), why="", checked_by="runtime", **attributes):
        self.op, self.opset, self.inputs, self.stored, self.checked_by = op, opset, inputs, stored, checked_by
        self.outputs = [f"y{k}" for k in range(outputs)] if isinstance(outputs, int) else outputs
        self.attributes, self.why = attributes, why
        ROWS.append(pytest.param(self, id=f"{op}-{opset} {why or attributes}"))

    def model(self):
        named = {f"x{k}": a for k, a in enumerate(self.inputs)}
        kind = lambda a: onnx.helper.np_dtype_to_tensor_dtype(a.dtype)
        m = model(
            [node(self.op, list(named), self.outputs, "node", **self.attributes)],
            [info(n, a.shape, kind(a)) for k, (n, a) in enumerate(named.items()) if k not in self.stored],
            [onnx.helper.make_empty_tensor_value_info(o) for o in self.outputs if o],
            {n: a for k, (n, a) in enumerate(named.items()) if k in self.stored},
            opset=self.opset,
            ir=10 if self.opset > 18 else 8 if self.opset > 12 else 4,
        )
        types = onnx.shape_inference.infer_shapes(m).graph.output  # what our rows give out, so that they need not say
        del m.graph.output[:]
        m.graph.output.extend(types)
        return m

    def skip_unless_known(self):
        if (name := RENAMED.get(self.op, self.op)) not in OPERATORS:
            pytest.skip(f"aidgejax has no {name}")

    @property
    def feeds(self):
        return {f"x{k}": a for k, a in enumerate(self.inputs) if k not in self.stored}


I64 = np.int64
for opset in (7, 10):
    Row("Clip", opset, [x(3, 4)], min=-1.0, max=0.5)
Row("Clip", 9, [x(3, 4)], why="no bounds")
Row("Clip", 8, [x(3, 4)], max=0.5)
Row("Clip", 12, [x(3, 4), np.float32(-1), np.float32(0.5)], stored=(1, 2), why="inputs")
Row("Slice", 7, [x(5, 6, 4)], axes=[0, 2], starts=[1, -3], ends=[-1, 1000])
Row("Slice", 9, [x(5, 6)], starts=[1, 2], ends=[3, 4])
Row(
    "Slice",
    10,
    [x(5, 6), np.array([4]), np.array([0]), np.array([1]), np.array([-2])],
    stored=(1, 2, 3, 4),
    why="inputs",
)
Row("Pad", 7, [x(3, 4)], pads=[1, 0, 2, 1], value=1.5)
Row("Pad", 10, [x(3, 4)], pads=[1, 0, 2, 1], mode="reflect")
Row("Pad", 9, [x(3, 4)], pads=[1, 0, 2, 1], mode="edge")
Row("Pad", 11, [x(3, 4), np.array([1, 0, 2, 1]), np.float32(3)], stored=(1, 2), why="inputs")
Row("Squeeze", 7, [x(1, 3, 1, 2)], axes=[0, 2])
Row("Squeeze", 11, [x(1, 3, 1, 2)], axes=[-2])
Row("Squeeze", 12, [x(1, 3, 1, 2)], why="all axes of size 1")
Row("Unsqueeze", 7, [x(3, 2)], axes=[0, 3])
Row("Unsqueeze", 12, [x(3, 2)], axes=[-1])
Row("Split", 7, [x(6, 4)], outputs=3, axis=0)
Row("Split", 12, [x(6, 4)], outputs=2, axis=1, split=[1, 3])
Row("Split", 13, [x(6, 4)], outputs=2, axis=-1, why="equal pieces")
Row("Split", 17, [x(6, 4), np.array([2, 4])], outputs=2, stored=(1,), axis=0, why="input")
for op in (
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSumExp",
):
    Row(op, 7, [x(3, 4, 2)], axes=[1], keepdims=0)
    Row(op, 11, [x(3, 4, 2)], axes=[-1, 0])
    Row(op, 12, [x(3, 4, 2)], why="all axes")
    if op != "ReduceSum":
        Row(op, 17, [x(3, 4, 2)], axes=[1, 2], keepdims=1)
Row("ReduceLogSum", 9, [np.abs(x(3, 4)) + 0.1], axes=[1])
Row("ReduceSum", 13, [x(3, 4, 2), np.array([1])], stored=(1,), why="input")
Row("TopK", 7, [x(3, 6)], outputs=2, k=2, axis=1)
Row("TopK", 10, [x(3, 6), np.array([2])], outputs=2, stored=(1,), axis=0, why="input")
Row("TopK", 11, [x(3, 6), np.array([2])], outputs=2, stored=(1,), largest=0, why="input")
Row("Dropout", 7, [x(3, 4)], ratio=0.3)
Row("Dropout", 10, [x(3, 4)], ratio=0.3)
Row("Dropout", 12, [x(3, 4), np.float32(0.3)], stored=(1,), why="input")
for op in ("Softmax", "LogSoftmax", "Hardmax"):
    for opset, axis in ((7, 1), (9, 2), (11, -1), (11, -2), (12, 0)):
        Row(op, opset, [x(2, 3, 4)], axis=axis)
    Row(op, 12, [x(2, 3, 4)], why="axis 1 by default")
    Row(op, 12, [x(2, 5)], why="a matrix")
    Row(op, 13, [x(2, 3, 4)], why="today's", axis=1)
STATISTICS = [x(2, 3, 4, 4), x(3), x(3), x(3), np.abs(x(3)) + 0.5]
Row("BatchNormalization", 7, STATISTICS, stored=(1, 2, 3, 4), epsilon=1e-3, momentum=0.8)
Row("BatchNormalization", 8, STATISTICS, stored=(1, 2, 3, 4), spatial=1)
Row(
    "BatchNormalization",
    8,
    [x(2, 3, 4), x(3, 4), x(3, 4), x(3, 4), np.abs(x(3, 4)) + 0.5],
    stored=(1, 2, 3, 4),
    spatial=0,
)
Row("BatchNormalization", 9, STATISTICS, stored=(1, 2, 3, 4))
Row("BatchNormalization", 14, STATISTICS, stored=(1, 2, 3, 4), why="today's")
Row("GroupNormalization", 18, [x(2, 6, 3), x(2), x(2)], stored=(1, 2), num_groups=2, epsilon=1e-3)
Row("GroupNormalization", 21, [x(2, 6, 3), x(6), x(6)], stored=(1, 2), num_groups=2, epsilon=1e-3)
Row("Scatter", 9, [x(3, 3), np.array([[1, 0, 2]]), x(1, 3)], stored=(1,), axis=0)
Row("ScatterElements", 11, [x(3, 3), np.array([[1, 0, 2]]), x(1, 3)], stored=(1,), axis=1)
Row("Upsample", 7, [x(1, 2, 3, 4)], scales=[1.0, 1.0, 2.0, 3.0])
Row("Upsample", 8, [x(1, 2, 3, 4)], scales=[1.0, 1.0, 2.0, 2.0], mode="linear")
Row("Upsample", 9, [x(1, 2, 3, 4), np.array([1, 1, 2, 2], np.float32)], stored=(1,), mode="linear")
Row("Resize", 10, [x(1, 2, 3, 4), np.array([1, 1, 2, 1.5], np.float32)], stored=(1,), mode="nearest")
Row(
    "Resize",
    11,
    [x(1, 2, 4, 4), np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32)],
    stored=(1, 2),
    mode="linear",
    why="an empty roi",
)
Row(
    "Resize",
    11,
    [x(1, 2, 4, 4), np.zeros(0, np.float32), np.zeros(0, np.float32), np.array([1, 2, 6, 3])],
    stored=(1, 2, 3),
    why="empty scales, sizes",
)
Row(
    "RoiAlign",
    10,
    [x(1, 2, 6, 6), np.array([[0, 0, 4, 4]], np.float32), np.array([0])],
    stored=(1, 2),
    output_height=2,
    output_width=2,
    sampling_ratio=2,
)
Row("GridSample", 16, [x(1, 2, 4, 4), x(1, 3, 3, 2) / 2], mode="bilinear")
Row("DFT", 17, [x(1, 8, 1)], axis=1, checked_by="onnx")

# Nodes that never changed, or only gained something, at the oldest opset.
Row("Add", 7, [x(3, 4), x(4)])
Row("Conv", 7, [x(1, 2, 5, 5), x(3, 2, 3, 3), x(3)], stored=(1, 2), pads=[1, 1, 1, 1], group=1)
Row("Gemm", 7, [x(3, 4), x(5, 4), x(5)], stored=(1, 2), transB=1)
Row("MaxPool", 7, [x(1, 2, 6, 6)], kernel_shape=[2, 2], strides=[2, 2])
Row("AveragePool", 7, [x(1, 2, 6, 6)], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
Row("Flatten", 7, [x(2, 3, 4)], axis=2)
Row("Concat", 7, [x(2, 3), x(2, 1)], axis=1)
Row("Gather", 7, [x(5, 3), np.array([4, 0])], stored=(1,), axis=0)
Row("Cast", 7, [x(3)], to=7)
Row("ConstantOfShape", 9, [np.array([2, 3])], stored=(0,), value=numpy_helper.from_array(np.array([2.5], np.float32)))
Row("LayerNormalization", 17, [x(2, 4), x(4), x(4)], stored=(1, 2))
Row("Gelu", 20, [x(3, 4)], approximate="tanh")


@pytest.mark.parametrize("row", ROWS)
def test_an_old_node_means_what_it_meant(row):
    row.skip_unless_known()
    m = row.model()
    graph = onnxio.read(m)
    if row.checked_by == "runtime":
        want = onnxruntime.InferenceSession(m.SerializeToString()).run(None, row.feeds)
    else:
        want = onnx.reference.ReferenceEvaluator(m).run(None, row.feeds)
    for backend in ("numpy", "jax"):
        for got, w in zip(run(graph, row.feeds, backend), want, strict=True):
            assert got.dtype == w.dtype and got.shape == w.shape
            np.testing.assert_allclose(got, w, rtol=2e-5, atol=1e-5, err_msg=backend)
    assert graph.nodes[-1].name == "node" or row.op == "Dropout"
    assert [o for o in row.outputs if o] == graph.outputs


@pytest.mark.parametrize("row", ROWS)
def test_an_old_node_is_written_in_todays_form(row):
    row.skip_unless_known()
    graph = onnxio.read(row.model())
    written = onnxio.to_model(graph)
    again = onnxio.read(written)
    assert [n.op for n in again.nodes if n.op != "Identity"] != [] and again.outputs == graph.outputs
    for a, b in zip(run(again, row.feeds, "numpy"), run(graph, row.feeds, "numpy"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_every_entry_of_the_table_has_a_row():
    in_control_flow = {"Scan"}  # see test_control_flow.py
    assert set(OLDER) | set(OLDER_OF_RANK) <= {r.values[0].op for r in ROWS} | in_control_flow


# ---- what an old node may also say --------------------------------------------------------------------


def batch_normalization(opset, outputs, **attributes):
    names = ["scale", "bias", "mean", "var"]
    return model(
        [node("BatchNormalization", ["x", *names], outputs, "norm", **attributes)],
        [info("x", [4, 2, 3])],
        [info(o, None) for o in outputs[:3]],
        {n: np.abs(x(2)) for n in names},
        opset=opset,
        ir=4 if opset < 13 else 8,
    )


def test_more_outputs_than_one_mean_training():
    graph = onnxio.read(batch_normalization(9, ["y", "mean_out", "var_out", "saved_mean", "saved_var"]))
    (n,) = graph.nodes
    assert n.attrs["training_mode"] == 1 and n.outputs == ("y", "mean_out", "var_out")
    assert set(graph.buffers) == {"mean", "var"} and set(graph.params) == {"scale", "bias"}


@pytest.mark.parametrize("opset, dtype", [(7, "float32"), (10, "bool"), (12, "bool")])
def test_the_mask_of_a_dropout_that_does_nothing_is_full_of_ones(opset, dtype):
    # onnxruntime says False before opset 12 and True from it on; the specification says True
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    m = model(
        [node("Dropout", "x", "y,mask")], [info("x", [3])], [info("y", [3]), info("mask", [3], kind)], opset=opset, ir=4
    )
    y, mask = run(onnxio.read(m), [np.float32([1, 2, 3])])
    assert y.tolist() == [1, 2, 3] and mask.tolist() == [1, 1, 1] and mask.dtype == dtype


def test_saved_statistics_that_are_read_are_refused():
    m = batch_normalization(9, ["y", "a", "b", "saved_mean", "saved_var"])
    m.graph.node.append(node("Neg", "saved_mean", "z"))
    with pytest.raises(ModelFileError, match="node 'norm' .* its outputs 'saved_mean' .* remove them"):
        onnxio.read(m)


def test_training_with_statistics_per_position_is_refused():
    with pytest.raises(ModelFileError, match="node 'norm' .* spatial=0 with outputs for training"):
        onnxio.read(batch_normalization(8, ["y", "a", "b"], spatial=0))


def test_a_softmax_over_its_last_axis_is_one_node():
    m = model([node("Softmax", "x", "y", "soft", axis=1)], [info("x", ["N", 4])], [info("y", ["N", 4])], opset=9, ir=4)
    (n,) = onnxio.read(m).nodes
    assert (n.op, n.name, n.attrs) == ("Softmax", "soft", {"axis": -1})
    m = model([node("Softmax", "x", "y", "soft", axis=1)], [info("x", ["N", 4, 2])], [info("y", None)], opset=9, ir=4)
    assert [str(n) for n in onnxio.read(m).nodes] == [
        "soft/Flatten = Flatten(x, axis=1)",
        "soft/Softmax = Softmax(soft/Flatten, axis=-1)",
        "y = ReshapeLike(soft/Softmax, x)",
    ]


@pytest.mark.parametrize("opset", range(7, onnx.defs.onnx_opset_version() + 1))
def test_an_opset_number_alone_is_no_reason_to_refuse(opset):
    m = model(
        [node("MatMul", "x,w", "a"), node("Relu", "a", "y")],
        [info("x", ["N", 3])],
        [info("y", ["N", 2])],
        {"w": x(3, 2)},
        opset=opset,
        ir=4,
    )
    assert onnxio.read(m).count() == {"MatMul": 1, "Relu": 1}


def test_an_operator_may_be_newer_than_the_opset():
    m = model([node("Gelu", "x", "y", approximate="tanh")], [info("x", [3])], [info("y", [3])], opset=13)
    (got,) = run(onnxio.read(m), [np.float32([-1, 0, 1])])
    np.testing.assert_allclose(got, [-0.15880801, 0, 0.841192], rtol=1e-5)


def test_a_constant_in_all_its_forms():
    forms = {
        "value": numpy_helper.from_array(np.float32([1, 2])),
        "value_float": 2.5,
        "value_floats": [1.0, 2.0],
        "value_int": 3,
        "value_ints": [4, 5],
    }
    m = model(
        [node("Constant", [], k, **{k: v}) for k, v in forms.items()],
        [],
        [onnx.helper.make_empty_tensor_value_info(k) for k in forms],
        opset=13,
    )
    m = onnx.shape_inference.infer_shapes(m)
    graph = onnxio.read(m)
    assert graph.nodes == [] and not graph.params
    want = {
        "value": np.float32([1, 2]),
        "value_float": np.float32(2.5),
        "value_floats": np.float32([1, 2]),
        "value_int": np.int64(3),
        "value_ints": np.int64([4, 5]),
    }
    for (k, w), got in zip(want.items(), run(graph, {}, "numpy"), strict=True):
        assert got.dtype == w.dtype and got.tolist() == w.tolist(), k
