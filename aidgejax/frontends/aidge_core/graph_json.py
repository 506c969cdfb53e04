"""A GraphView as JSON, for tools that show graphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...files import whole_file, write_atomically
from .errors import GraphViewError
from .graphview import GraphView
from .node import Node, Port
from .operator import Operator
from .tensor import Tensor

NO_TENSOR = {"dims": None, "data_type": None, "data_format": None}


def gview_to_json(
    gview: GraphView,
    json_path: Any,
    write_trainable_params_embed: bool = False,
    write_trainable_params_ext: bool = False,
    params_file_format: str = "json",
) -> None:
    """Write {"graph": [one entry per node]} to json_path, if it ends in .json, or else to json_path/model.json.

    write_trainable_params_embed: the Producers' data too.  write_trainable_params_ext: beside it, one file per
    Producer, as "json" or "npz".
    """
    if params_file_format not in ("json", "npz"):
        raise GraphViewError(f"gview_to_json: params_file_format is {params_file_format!r}; expected 'json' or 'npz'")
    path = Path(json_path)
    path = path if path.suffix == ".json" else path / "model.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = []
    for node in gview.get_ordered_nodes():
        entry = _entry(node)
        if node.type() == "Producer" and node.get_operator().get_output(0).has_data():
            data = node.get_operator().get_output(0).cell.read()
            if write_trainable_params_embed:
                entry["attributes"]["values"] = data.tolist()
            if write_trainable_params_ext:
                beside = path.with_name(f"{node.name()}.{params_file_format}")
                entry["attributes"]["file"] = beside.name
                if params_file_format == "npz":
                    with whole_file(beside) as f:
                        np.savez(f, data)
                else:
                    write_atomically(json.dumps(data.tolist()).encode(), str(beside))
        entries.append(entry)
    write_atomically(json.dumps({"graph": entries}, indent=2).encode(), str(path))


def _entry(node: Node) -> dict[str, Any]:
    op = node.get_operator()
    return {
        "name": node.name(),
        "optype": node.type(),
        "nb_inputs": node.get_nb_inputs(),
        "nb_outputs": node.get_nb_outputs(),
        "inputs": [_tensor(t) for t in _inputs(node)],
        "outputs": [_tensor(t) for t in op.get_outputs()],
        "parents": [[p.node.name() if p else None, k] for k, p in enumerate(node.sources)],
        "children": [[r.node.name(), k] for k, out in enumerate(node.readers) for r in out],
        "attributes": _attributes(op),
    }


def _inputs(node: Node) -> list[Tensor | None]:
    """What its inputs hold; where nothing does, a tensor of the shape that the graph found for it."""
    found = node.get_operator().get_inputs()
    for k, tensor in enumerate(found):
        shape = next((v.known_shapes[Port(node, k)] for v in node.views if Port(node, k) in v.known_shapes), None)
        if tensor is None and shape is not None:
            found[k] = Tensor(dims=shape)
    return found


def _attributes(op: Operator) -> dict[str, Any]:
    if hasattr(op, "get_micro_graph"):
        return {"micro_graph": [_entry(n) for n in op.get_micro_graph().get_ordered_nodes()]}
    return {k: _plain(v) for k, v in op.attr.dict().items()}


def _tensor(tensor: Tensor | None) -> dict[str, Any]:
    if tensor is None:
        return dict(NO_TENSOR)
    return {"dims": tensor.dims, "data_type": str(tensor.dtype), "data_format": str(tensor.dformat)}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"dims": value.dims, "data_type": str(value.dtype), "tensor_data": np.asarray(value).tolist()}
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value).tolist()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
