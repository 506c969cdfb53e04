"""Saving a GraphView and reading it back: a zip of tensors.safetensors, node_info.json and graph_info.json.

Aidge's own archives hold a pickle besides, which is neither written nor read here: files are data, never programs.
"""

from __future__ import annotations

import enum
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ModelFileError
from ...files import Archive, open_regular, write_atomically
from .dtypes import dtype
from .enums import ENUMS as ATTRIBUTE_ENUMS
from .errors import AidgeError, GraphViewError
from .generic import GenericOperatorOp
from .graphview import GraphView
from .meta import MetaOperatorOp
from .node import Node, Port
from .operator import InputCategory, Operator
from .operators import CLASSES, TYPES
from .operators.producer import ProducerOp
from .operators.recurrent import leaky_reset
from .safetensors import pack, unpack
from .tensor import Tensor

MEMBERS = ("tensors.safetensors", "node_info.json", "graph_info.json")
ENUMS: dict[str, type[enum.Enum]] = {"dtype": dtype, "leaky_reset": leaky_reset, **ATTRIBUTE_ENUMS}
WHAT = "saved Aidge model"


class SavedModelError(ModelFileError, AidgeError):
    """A file that is no saved model, or a damaged one."""


# ---- writing ----------------------------------------------------------------------------------------------


def save_model(graph: GraphView, file_name: Any) -> None:
    """Write the graph to one file, whole or not at all."""
    write_atomically(save_model_to_bytes(graph), str(file_name))


def save_model_to_bytes(graph: GraphView) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in _members(graph).items():
            archive.writestr(name, data)
    return out.getvalue()


def save_model_folder(graph: GraphView, folder: Any) -> None:
    """The same as files in a folder, which is made."""
    members = _members(graph)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, data in members.items():
        write_atomically(data, str(Path(folder) / name))


def _members(graph: GraphView) -> dict[str, bytes]:
    tensors: dict[str, np.ndarray] = {}
    nodes, info = _described(graph, tensors)
    texts = {"node_info.json": json.dumps(nodes, indent=1), "graph_info.json": json.dumps(info, indent=1)}
    return {"tensors.safetensors": pack(tensors), **{k: v.encode() for k, v in texts.items()}}


def _described(graph: GraphView, tensors: dict[str, np.ndarray]) -> tuple[list[Any], dict[str, Any]]:
    """(one entry per node, what the graph itself knows); the Producers' data goes to `tensors`."""
    order = graph.execution_order()
    at = {n: k for k, n in enumerate(order)}
    entries = []
    for node in order:
        op = node.get_operator()
        entry: dict[str, Any] = {
            "name": node.name(),
            "type": node.type(),
            "attributes": {k: _written(v, f"{node.name()!r}, {k}") for k, v in op.attr.dict().items()},
            "annotations": {k: v for k, v in node.annotations().dict().items() if _is_plain(v)},
            "sources": [[at[p.node], p.index] if p and p.node in at else None for p in node.sources],
        }
        if isinstance(op, ProducerOp):
            tensor = op.get_output(0)
            entry["dims"], entry["dtype"] = tensor.dims, tensor.cell.dtype.name
            if tensor.has_data():
                entry["tensor"] = key = f"tensor_{len(tensors)}"
                tensors[key] = tensor.cell.read()
        elif isinstance(op, MetaOperatorOp):
            inner, about = _described(op.micro_graph, tensors)
            entry["micro_graph"] = {"nodes": inner, "graph": about}
            entry["categories"] = [c.value for c in op.input_category()]
        elif isinstance(op, GenericOperatorOp):
            entry["generic"] = {"categories": [c.value for c in op.input_category()], "outputs": op.nb_outputs()}
        elif TYPES.get(op.type()) is not op.kind:
            raise GraphViewError(
                f"node {node.name()!r} ({op.type()}) comes from an ONNX file and cannot be saved this way; write the "
                f"graph with aidge_onnx.export_onnx"
            )
        if op.kind.variadic:
            entry["nb_inputs"] = op.nb_inputs()
        if op.type() == "Split":
            entry["nb_outputs"] = op.nb_outputs()
        entries.append(entry)
    ports = {
        "inputs": [[at[p.node], p.index] for p in graph.get_ordered_inputs()],
        "outputs": [[at[p.node], p.index] for p in graph.get_ordered_outputs()],
    }
    return entries, {"format": 1, "name": graph.name(), **ports}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_plain(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _written(value: Any, where: str) -> Any:
    if isinstance(value, enum.Enum) and type(value).__name__ in ENUMS:
        return {"enum": [type(value).__name__, value.name]}
    if isinstance(value, Tensor | np.ndarray | np.generic):
        array = np.asarray(value.cell.read() if isinstance(value, Tensor) else value)
        return {"array": array.tolist(), "dtype": array.dtype.name}
    if isinstance(value, list | tuple):
        return [_written(v, where) for v in value]
    if _is_plain(value):
        return value
    raise GraphViewError(f"save_model: attribute {where} is {type(value).__name__}, which a file does not hold")


# ---- reading ----------------------------------------------------------------------------------------------


def load_model(file_name: Any) -> GraphView:
    """The graph that save_model wrote.  Raises SavedModelError (a RuntimeError) for anything else."""
    with Archive(file_name, SavedModelError, WHAT) as archive:
        return _graph({name: bytes(archive.read(name)) for name in MEMBERS}, str(file_name))


def load_model_from_bytes(data: bytes) -> GraphView:
    with Archive(bytes(data), SavedModelError, WHAT) as archive:
        return _graph({name: bytes(archive.read(name)) for name in MEMBERS}, "bytes")


def load_model_folder(folder: Any) -> GraphView:
    members = {}
    for name in MEMBERS:
        with open_regular(str(Path(folder) / name), SavedModelError, WHAT) as f:
            members[name] = f.read()
    return _graph(members, str(folder))


def _graph(members: dict[str, bytes], where: str) -> GraphView:
    try:
        nodes, info = (json.loads(members[name]) for name in MEMBERS[1:])
        return _built(nodes, info, unpack(members[MEMBERS[0]]))
    except AidgeError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as e:
        raise SavedModelError(f"{where} is no {WHAT}, or it is damaged: {e}") from None


def _built(entries: list[Any], info: dict[str, Any], tensors: dict[str, np.ndarray]) -> GraphView:
    nodes: list[Node] = []
    for entry in entries:
        node = Node(_operator(entry, tensors), str(entry["name"]))
        for key, value in entry["annotations"].items():
            if key != "name":
                node.annotations().set_attr(key, value)
        for k, source in enumerate(entry["sources"]):
            if source is not None:
                at, out = source
                if not 0 <= at < len(nodes):
                    raise SavedModelError(f"node {node.name()!r} reads a node that is not before it")
                nodes[at].add_child(node, out, k)
        nodes.append(node)
    graph = GraphView(str(info["name"]))
    graph.add(nodes)
    graph.set_ordered_inputs([Port(nodes[at], k) for at, k in info["inputs"]])
    graph.set_ordered_outputs([Port(nodes[at], k) for at, k in info["outputs"]])
    return graph


def _operator(entry: dict[str, Any], tensors: dict[str, np.ndarray]) -> Operator:
    kind, attributes = entry["type"], {k: _read(v) for k, v in entry["attributes"].items()}
    if kind == "Producer":
        if "tensor" in entry:
            return ProducerOp(Tensor(tensors[entry["tensor"]]), attributes["constant"])
        return ProducerOp(Tensor(dims=entry["dims"], kind=entry["dtype"]), attributes["constant"])
    if "micro_graph" in entry:
        inside = _built(entry["micro_graph"]["nodes"], entry["micro_graph"]["graph"], tensors)
        return MetaOperatorOp(str(kind), inside, [InputCategory(c) for c in entry["categories"]])
    if "generic" in entry:
        generic = entry["generic"]
        categories = [InputCategory(c) for c in generic["categories"]]
        return GenericOperatorOp(str(kind), categories, int(generic["outputs"]), **attributes)
    if kind not in CLASSES:
        raise SavedModelError(f"node {entry['name']!r} is of type {kind!r}, which is not known")
    counts = {k: entry[k] for k in ("nb_inputs", "nb_outputs") if k in entry}
    return CLASSES[kind](**counts, **attributes)


def _read(value: Any) -> Any:
    if isinstance(value, dict) and "enum" in value:
        kind, name = value["enum"]
        return ENUMS[kind][name]
    if isinstance(value, dict) and "array" in value:
        return np.asarray(value["array"], value["dtype"])
    return [_read(v) for v in value] if isinstance(value, list) else value
