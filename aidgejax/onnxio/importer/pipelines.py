"""Operators of ai.onnx.ml that stand around a network in an exported pipeline, in standard ones."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

ML = "ai.onnx.ml"
READ = ("Scaler", "ArrayFeatureExtractor", "ZipMap")


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
            nodes += _scaler(plain, node, attrs)
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
    if all(n.domain in ("", "ai.onnx") for n in graph.node):
        kept = [o for o in plain.opset_import if o.domain != ML]
        del plain.opset_import[:]
        plain.opset_import.extend(kept)
    return plain


def _stored(model: ModelProto, name: str, data: np.ndarray) -> str:
    model.graph.initializer.append(numpy_helper.from_array(data, name))
    return name


def _scaler(model: ModelProto, node: NodeProto, attrs: dict) -> list[NodeProto]:
    """(x - offset) * scale."""
    stem, (x,), (y,) = f"{node.name or node.output[0]}/Scaler", node.input, node.output
    offset = _stored(model, f"{stem}.offset", np.asarray(attrs.get("offset", [0.0]), np.float32))
    scale = _stored(model, f"{stem}.scale", np.asarray(attrs.get("scale", [1.0]), np.float32))
    return [
        helper.make_node("Sub", [x, offset], [f"{stem}.centred"], name=f"{stem}/Sub"),
        helper.make_node("Mul", [f"{stem}.centred", scale], [y], name=stem),
    ]


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
