"""Models exported with every axis symbolic: sizes at real numbers are those that onnxruntime computes."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from aidgejax import onnxio
from aidgejax.errors import GraphError
from aidgejax.interpreter.abstract_evaluation import number_of

f = np.float32
ort.set_default_logger_severity(3)


def model(nodes, ins, inits, outs=("y",), opset=18):
    shapes = [h.make_tensor_value_info(n, T.FLOAT, s) for n, s in ins.items()]
    outputs = [h.make_empty_tensor_value_info(o) for o in outs]
    for o in outputs:
        o.type.tensor_type.elem_type = T.FLOAT
    tensors = [nh.from_array(np.asarray(v), k) for k, v in inits.items()]
    graph = h.make_graph(
        [h.make_node(*n[:3], **(n[3] if len(n) > 3 else {})) for n in nodes], "g", shapes, outputs, tensors
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=9)


def w(*shape):
    return np.full(shape, 0.1, f)


def i(*numbers):
    return np.array(numbers, np.int64)


NCHW = {"x": ["N", "C", "H", "W"]}
# name: (nodes, inputs, initializers, shapes that x takes, what becomes of the inputs)
VARIANTS = {
    "an MLP": (
        [("Gemm", ["x", "w"], ["y"], {"transB": 1})],
        {"x": ["M", "N"]}, {"w": w(50, 78)}, [(3, 78), (1, 78)], {"x": ("M", 78)}),
    "a CNN": (
        [("Conv", ["x", "w"], ["a"], {"pads": [1] * 4, "strides": [2, 2]}), ("GlobalAveragePool", ["a"], ["b"]),
         ("Flatten", ["b"], ["c"]), ("Gemm", ["c", "v"], ["y"])],
        NCHW, {"w": w(8, 3, 3, 3), "v": w(8, 5)}, [(2, 3, 9, 12)], {"x": ("N", 3, "H", "W")}),
    "BatchNormalization": (
        [("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"])],
        NCHW, {"s": w(100)}, [(2, 100, 4, 5)], {"x": ("N", 100, "H", "W")}),
    "a GRU": (
        [("GRU", ["x", "w", "r"], ["y"], {"hidden_size": 4})],
        {"x": ["T", "N", "I"]}, {"w": w(1, 12, 6), "r": w(1, 12, 4)}, [(7, 2, 6)], {"x": ("T", "N", 6)}),
    "two symbols that must be one": (
        [("MatMul", ["a", "w"], ["p"]), ("Add", ["p", "b"], ["y"])],
        {"a": ["N", "I"], "b": ["M", 3]}, {"w": w(6, 3)}, [((4, 6), (4, 3))], {"a": ("N", 6), "b": ("N", 3)}),
    "a table of positions": (
        [("Shape", ["x"], ["s"], {"start": 1, "end": 2}), ("Slice", ["pos", "zero", "s", "zero"], ["p"]),
         ("Add", ["x", "p"], ["y"])],
        {"x": ["N", "S", 4]}, {"pos": w(12, 4), "zero": i(0)}, [(2, 5, 4), (3, 12, 4)], {"x": ("N", "S", 4)}),
    "three strides": (
        [("Conv", ["x", "w"], ["a"], {"pads": [1] * 4, "strides": [2, 2]}),
         ("Conv", ["a", "w"], ["b"], {"pads": [1] * 4, "strides": [2, 2]}),
         ("Conv", ["b", "w"], ["c"], {"pads": [1] * 4, "strides": [2, 2]}),
         ("ConvTranspose", ["c", "v"], ["d"], {"strides": [8, 8]}), ("Relu", ["d"], ["y"])],
        {"x": ["N", 2, "H", "W"]}, {"w": w(2, 2, 3, 3), "v": w(2, 2, 8, 8)}, [(1, 2, 17, 23), (2, 2, 8, 9)], {}),
    "an odd autoencoder": (
        [("MaxPool", ["x"], ["a"], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
         ("ConvTranspose", ["a", "v"], ["y"], {"strides": [2, 2]})],
        {"x": ["N", 2, "H", "W"]}, {"v": w(2, 2, 2, 2)}, [(1, 2, 17, 23), (2, 2, 8, 9)], {}),
    "a U-Net on odd sizes": (
        [("MaxPool", ["x"], ["a"], {"kernel_shape": [2, 2], "strides": [2, 2]}), ("Shape", ["x"], ["s"]),
         ("Resize", ["a", "", "", "s"], ["b"]), ("Concat", ["x", "b"], ["y"], {"axis": 1})],
        {"x": ["N", 2, "H", "W"]}, {}, [(1, 2, 17, 23)], {}),
    "Concat": (
        [("Concat", ["a", "b"], ["y"], {"axis": 1})],
        {"a": ["N", "S"], "b": ["N", "T"]}, {}, [((2, 3), (2, 5))], {}),
    "Reshape by 0 and -1": (
        [("Reshape", ["x", "t"], ["y"])],
        {"x": ["N", "S", 3, 4]}, {"t": i(0, -1, 4)}, [(2, 5, 3, 4)], {}),
    "Reshape to rows": (
        [("Reshape", ["x", "t"], ["y"])],
        {"x": ["N", "S", 12]}, {"t": i(-1, 4)}, [(2, 5, 12), (3, 1, 12)], {}),
    "windows of 7": (
        [("Shape", ["x"], ["n"], {"start": 0, "end": 1}), ("Shape", ["x"], ["h"], {"start": 1, "end": 2}),
         ("Shape", ["x"], ["v"], {"start": 2, "end": 3}), ("Div", ["h", "seven"], ["hh"]),
         ("Div", ["v", "seven"], ["vv"]),
         ("Concat", ["n", "hh", "seven", "vv", "seven"], ["t"], {"axis": 0}), ("Reshape", ["x", "t"], ["a"]),
         ("Transpose", ["a"], ["b"], {"perm": [0, 1, 3, 2, 4]}), ("Reshape", ["b", "u"], ["y"])],
        {"x": ["N", "H", "W"]}, {"seven": i(7), "u": i(-1, 49)}, [(2, 14, 21)], {}),
    "broadcast to a constant": (
        [("Add", ["x", "c"], ["y"])], {"x": ["N", "S"]}, {"c": w(1, 12)}, [(2, 12)], {"x": ("N", 12)}),
    "two bound at one node": (
        [("LayerNormalization", ["x", "s"], ["y"], {"axis": 1})],
        {"x": ["N", "A", "B"]}, {"s": w(6, 9)}, [(2, 6, 9)], {"x": ("N", 6, 9)}),
    "the first 100": (
        [("Slice", ["x", "zero", "end", "one"], ["y"])],
        {"x": ["N", "S"]}, {"zero": i(0), "end": i(100), "one": i(1)}, [(2, 30), (2, 100), (2, 150)], {}),
    "a declared sum": (
        [("Concat", ["a", "b"], ["c"], {"axis": 1}), ("Add", ["c", "m"], ["y"])],
        {"a": ["N", "P"], "b": ["N", "S"], "m": ["N", "P + S"]}, {}, [((2, 3), (2, 4), (2, 7))], {}),
    "Resize by 1.5": (
        [("Resize", ["x", "", "s"], ["y"])],
        {"x": ["N", 1, "H", "W"]}, {"s": np.array([1, 1, 1.5, 1.5], f)}, [(1, 1, 7, 10), (2, 1, 20, 33)], {}),
    "Resize by 1.3 and 0.7": (
        [("Resize", ["x", "", "s"], ["y"])],
        {"x": ["N", 1, "H", "W"]}, {"s": np.array([1, 1, 1.3, 0.7], f)}, [(1, 1, 7, 10), (2, 1, 20, 30)], None),
    "an unpadded convolution": (
        [("Conv", ["x", "w"], ["a"]), ("AveragePool", ["a"], ["y"], {"kernel_shape": [3, 3], "strides": [3, 3]})],
        {"x": ["N", 3, "H", "W"]}, {"w": w(4, 3, 5, 5)}, [(1, 3, 21, 33), (2, 3, 12, 10)], {}),
    "Pad and Tile": (
        [("Pad", ["x", "p"], ["a"]), ("Tile", ["a", "r"], ["y"])],
        {"x": ["N", "S"]}, {"p": i(0, 1, 0, 2), "r": i(2, 3)}, [(2, 5)], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_sizes_are_onnxruntimes(name):
    nodes, ins, inits, real, bound = VARIANTS[name]
    m = model(nodes, ins, inits)
    graph = onnxio.read(m)
    for k, declared in ins.items():
        wanted = (bound or {}).get(k, tuple(d.replace(" ", "") if isinstance(d, str) else d for d in declared))
        assert tuple(d.replace(" ", "") if isinstance(d, str) else d for d in graph.inputs[k].shape) == wanted
    session = ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"])
    for shapes in real:
        shapes = shapes if isinstance(shapes[0], tuple) else (shapes,)
        (y,) = session.run(None, {k: np.zeros(s, f) for k, s in zip(ins, shapes, strict=True)})
        sizes = {
            d: n for v, s in zip(graph.inputs.values(), shapes, strict=True) for d, n in zip(v.shape, s, strict=True)
        }
        found = graph.value("y").shape
        assert not any("?" in str(d) for d in found)
        if bound is not None:
            assert tuple(number_of(d, sizes) for d in found) == y.shape


def test_a_size_without_one_answer_is_refused_in_the_users_words():
    m = model([("Flatten", ["x"], ["a"]), ("Gemm", ["a", "w"], ["y"])], NCHW, {"w": w(784, 10)})
    with pytest.raises(
        GraphError, match=r"no sizes .*C, H, W were found .* with N = 2, C = 3, H = 5, W = 7: .*shapes="
    ) as e:
        onnxio.read(m)
    assert "C*H*W" in str(e.value) and "9240" not in str(e.value)
    assert onnxio.read(m, shapes={"x": ("N", 1, 28, 28)}).value("y").shape == ("N", 10)


def test_what_was_found_is_said():
    m = model([("Gemm", ["x", "w"], ["y"])], {"x": ["M", "N"]}, {"w": w(78, 5)})
    assert onnxio.read(m).metadata["aidgejax.sizes"] == ("x[1] is 78 (w of node Gemm_0 asks for it)",)


def test_no_message_shows_a_number_of_ours():
    m = model([("MatMul", ["x", "w"], ["a"]), ("MatMul", ["a", "w"], ["y"])], {"x": ["N", "S", 4]}, {"w": w(4, 3)})
    with pytest.raises(GraphError) as e:
        onnxio.read(m)
    assert "[N, S, 3]" in str(e.value) and not any(str(n) in str(e.value) for n in (9240, 6413, 10920))
