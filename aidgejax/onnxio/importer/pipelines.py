"""Operators of ai.onnx.ml that stand around a network in an exported pipeline, in standard ones."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ...errors import ModelFileError

ML = "ai.onnx.ml"
AFTER = {b"NONE": "", b"SOFTMAX": "Softmax", b"LOGISTIC": "Sigmoid"}
LINEAR = ("LinearRegressor", "LinearClassifier")
READ = ("Scaler", "ArrayFeatureExtractor", "ZipMap", *LINEAR, "Normalizer", "Binarizer", "Imputer")
OPSET = 15  # of the standard operators, in a file that has none


def keeps_weights(model: ModelProto) -> bool:
    """Are its weights tensors, rather than numbers in a node's attributes?"""
    return not any(n.domain == ML and n.op_type in LINEAR for n in model.graph.node)


def plain_pipeline(model: ModelProto) -> ModelProto:
    """The model with these operators decomposed; a ZipMap's maps stay the matrix that they name."""
    if not any(n.domain == ML and n.op_type in READ for n in model.graph.node):
        return model
    plain = ModelProto()
    plain.CopyFrom(model)
    graph, nodes = plain.graph, []
    maps = set()
    for node in model.graph.node:
        attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.domain != ML or node.op_type not in READ:
            nodes.append(node)
        elif node.op_type == "Scaler":
            nodes += _scaler(node, attrs)
        elif node.op_type in LINEAR:
            nodes += _linear(plain, node, attrs)
        elif node.op_type == "Normalizer":
            nodes += _normalizer(plain, node, attrs, nodes)
        elif node.op_type == "Binarizer":
            nodes += _binarizer(plain, node, attrs)
        elif node.op_type == "Imputer":
            nodes += _imputer(plain, node, attrs)
        elif node.op_type == "ZipMap":
            maps.add(node.output[0])
            nodes.append(helper.make_node("Identity", node.input, node.output, name=node.name))
        else:
            nodes += _feature(plain, node)
    del graph.node[:]
    graph.node.extend(nodes)
    for o in graph.output:
        if o.name in maps:
            o.ClearField("type")
    if not any(o.domain in ("", "ai.onnx") for o in plain.opset_import):
        plain.opset_import.append(helper.make_opsetid("", OPSET))
    if all(n.domain in ("", "ai.onnx") for n in graph.node):
        kept = [o for o in plain.opset_import if o.domain != ML]
        del plain.opset_import[:]
        plain.opset_import.extend(kept)
    return plain


def _stored(model: ModelProto, name: str, data: np.ndarray) -> str:
    model.graph.initializer.append(numpy_helper.from_array(data, name))
    return name


def _setting(name: str, data: np.ndarray) -> NodeProto:
    """Numbers that are not trained, wherever they stand: an initializer might be a weight."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(data, name))


def _scaler(node: NodeProto, attrs: dict) -> list[NodeProto]:
    """(x - offset) * scale."""
    stem, (x,), (y,) = f"{node.name or node.output[0]}/Scaler", node.input, node.output
    offset, scale = f"{stem}.offset", f"{stem}.scale"
    return [
        _setting(offset, np.asarray(attrs.get("offset", [0.0]), np.float32)),
        _setting(scale, np.asarray(attrs.get("scale", [1.0]), np.float32)),
        helper.make_node("Sub", [x, offset], [f"{stem}.centred"], name=f"{stem}/Sub"),
        helper.make_node("Mul", [f"{stem}.centred", scale], [y], name=stem),
    ]


def _binarizer(model: ModelProto, node: NodeProto, attrs: dict) -> list[NodeProto]:
    """1 where x is above the threshold, else 0, in x's type."""
    stem, (x,), (y,) = node.name or node.output[0], node.input, node.output
    dtype = _type_of(model, x)
    threshold = np.asarray(attrs.get("threshold", 0.0), helper.tensor_dtype_to_np_dtype(dtype))
    least = f"{stem}.threshold"
    return [
        _setting(least, threshold),
        helper.make_node("Greater", [x, least], [f"{stem}.above"], name=f"{stem}/Greater"),
        helper.make_node("Cast", [f"{stem}.above"], [y], name=stem, to=dtype),
    ]


def _imputer(model: ModelProto, node: NodeProto, attrs: dict) -> list[NodeProto]:
    """What stands for a missing number, NaN or another, replaced by the value of its column."""
    stem, (x,), (y,) = node.name or node.output[0], node.input, node.output
    kind = "int64" if "imputed_value_int64s" in attrs else "float"
    dtype = helper.tensor_dtype_to_np_dtype(_type_of(model, x))
    values = np.asarray(attrs.get(f"imputed_value_{kind}s", [0]), dtype)
    replaced = attrs.get(f"replaced_value_{kind}", 0)
    mark, lacking, value = f"{stem}.mark", f"{stem}.lacking", f"{stem}.values"
    found = [helper.make_node("IsNaN", [x], [lacking], name=f"{stem}/IsNaN")]
    if not np.isnan(replaced):
        mark_node = _setting(mark, np.asarray(replaced, dtype))
        found = [mark_node, helper.make_node("Equal", [x, mark], [lacking], name=f"{stem}/Equal")]
    return [*found, _setting(value, values), helper.make_node("Where", [lacking, value, x], [y], name=stem)]


def _type_of(model: ModelProto, tensor: str) -> int:
    declared = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.value_info)}
    return declared.get(tensor) or TensorProto.FLOAT


def _linear(model: ModelProto, node: NodeProto, attrs: dict) -> list[NodeProto]:
    """Scores x W + b, and of a classifier the label of the largest one: its outputs are the label, then the scores."""
    stem = node.name or node.output[0]
    labels = attrs.get("classlabels_ints")
    rows = len(labels or ()) if node.op_type == "LinearClassifier" else int(attrs.get("targets", 1))
    after = attrs.get("post_transform", b"NONE")
    weights = np.asarray(attrs["coefficients"], np.float32)
    if (
        after not in AFTER
        or not rows
        or weights.size % rows
        or (labels and len(attrs.get("intercepts", labels)) != rows)
    ):
        raise ModelFileError(
            f"node {stem!r} ({node.op_type}) cannot be read: {rows} classes or targets with {weights.size} "
            f"coefficients, post_transform {after.decode()}; read are one row of coefficients for each, and "
            f"{', '.join(a.decode() for a in AFTER)}"
        )
    w = _stored(model, f"{stem}.coefficients", np.ascontiguousarray(weights.reshape(rows, -1).T))
    b = _stored(model, f"{stem}.intercepts", np.asarray(attrs.get("intercepts", [0.0] * rows), np.float32))
    scores, raw = node.output[-1], f"{stem}.scores"
    made = [helper.make_node("Gemm", [node.input[0], w, b], [raw if AFTER[after] else scores], name=f"{stem}/Gemm")]
    if AFTER[after]:
        made.append(helper.make_node(AFTER[after], [raw], [scores], name=f"{stem}/{AFTER[after]}"))
    if labels:
        table = _stored(model, f"{stem}.labels", np.asarray(labels, np.int64))
        best = f"{stem}.best"
        made += [
            helper.make_node("ArgMax", [scores], [best], name=f"{stem}/ArgMax", axis=-1, keepdims=0),
            helper.make_node("Gather", [table, best], [node.output[0]], name=f"{stem}/Label"),
        ]
    return made


def _normalizer(model: ModelProto, node: NodeProto, attrs: dict, before: list[NodeProto]) -> list[NodeProto]:
    """Rows divided by their norm; what Softmax writes has norm 1 already."""
    (x,), (y,), stem = node.input, node.output, node.name or node.output[0]
    kind = attrs.get("norm", b"MAX").decode()
    if kind == "L1" and any(n.op_type == "Softmax" and x in n.output for n in before):
        return [helper.make_node("Identity", [x], [y], name=stem)]
    if kind not in ("L1", "L2"):
        raise ModelFileError(f"node {stem!r} (Normalizer) cannot be read: its norm is {kind}; L1 and L2 are read")
    return [helper.make_node("LpNormalization", [x], [y], name=stem, axis=-1, p=int(kind[1]))]


def _feature(model: ModelProto, node: NodeProto) -> list[NodeProto]:
    """Columns of a matrix, or elements of a list as a row."""
    stem, (x, picked), (y,) = f"{node.name or node.output[0]}/Feature", node.input, node.output
    row = _stored(model, f"{stem}.row", np.array([-1], np.int64))
    rank = {t.name: len(t.dims) for t in model.graph.initializer}.get(x, 2)
    nodes = [
        helper.make_node("Reshape", [picked, row], [f"{stem}.index"], name=f"{stem}/Reshape"),
        helper.make_node("Gather", [x, f"{stem}.index"], [f"{stem}.picked" if rank == 1 else y], name=stem, axis=-1),
    ]
    if rank == 1:
        shape = _stored(model, f"{stem}.shape", np.array([1, -1], np.int64))
        nodes.append(helper.make_node("Reshape", [f"{stem}.picked", shape], [y], name=f"{stem}/Row"))
    return nodes
