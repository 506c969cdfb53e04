"""Writing into the model that was read: the graph's arrays take the place of its tensors, all else is as it was."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper

from ...graph import Graph
from ..initializer_roles import KEY, note_roles
from ..source import Source, check_unchanged, new_momenta
from ..tensors import to_array
from .editing import NotExpressible, edited


def patched(graph: Graph, source: Source) -> ModelProto:
    """The model that was read with the graph's arrays in it, where they differ; all else is as it was.

    Raises ModelFileError where the file has changed since, NotExpressible where it lacks a tensor of this name.
    """
    model = ModelProto()
    if source.path is not None:
        check_unchanged(source)
        with open(source.path, "rb") as f:
            model.ParseFromString(f.read())
    else:
        model.ParseFromString(source.model or b"")
    if source.edits:
        model = edited(model, source)
    stored = dict(_tensors(model.graph))
    for p in graph.producers.values():
        held = stored.get(p.name)
        if p.name in source.packed:
            continue
        if held is None:
            if p.role != "constant":
                raise NotExpressible(f"it has no tensor {p.name!r}")
            continue
        if held.data_location == TensorProto.EXTERNAL:  # see exporter/beside.py
            continue
        before = to_array(held, f"initializer {p.name!r}")
        now = np.asarray(p.data).astype(before.dtype)
        if now.shape == before.shape and now.tobytes() != before.tobytes():
            name, doc = held.name, held.doc_string
            held.CopyFrom(numpy_helper.from_array(now, name))
            held.doc_string = doc
    _set_momenta(model, new_momenta(graph, source.plain))
    _note(model, graph)
    return model


def _set_momenta(model: ModelProto, momenta: dict[str, float]) -> None:
    """Raises NotExpressible where a normalization is not a node of the file's graph, but of a function of its own."""
    nodes = {o: n for n in model.graph.node for o in n.output}
    for output, momentum in momenta.items():
        node = nodes.get(output)
        if node is None or node.op_type != "BatchNormalization":
            raise NotExpressible(f"the node that writes {output!r}, whose momentum is {momentum:g}, is not one of it")
        held = next((a for a in node.attribute if a.name == "momentum"), None) or node.attribute.add()
        held.CopyFrom(helper.make_attribute("momentum", float(momentum)))


def _tensors(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    for t in graph.initializer:
        yield t.name, t
    for node in graph.node:
        for a in node.attribute:
            if node.op_type == "Constant" and a.type == AttributeProto.TENSOR:
                yield node.output[0], a.t
            elif a.type == AttributeProto.GRAPH:
                yield from _tensors(a.g)


def _note(model: ModelProto, graph: Graph) -> None:
    """The roles, where the structure does not say them, and what passes left in the metadata."""
    before = {p.key: p.value for p in model.metadata_props}
    props = {k: v for k, v in graph.metadata.items() if isinstance(v, str) and k != KEY}
    if noted := note_roles(graph):
        props[KEY] = noted
    if props != before:
        helper.set_model_props(model, props)
