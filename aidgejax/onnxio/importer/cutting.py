"""The part of a model between some of its tensors, taken before anything else is looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import onnx
from onnx import ModelProto, ValueInfoProto, helper

from ...errors import GraphError
from .subgraphs import reads


def cut(
    model: ModelProto, inputs: Iterable[str] | None, outputs: Iterable[str] | None, shapes: Mapping[str, Any]
) -> ModelProto:
    """The model with these inputs and outputs, which may be any tensors of its graph, and the nodes between them.

    Raises GraphError for a name that no tensor has.
    """
    if inputs is None and outputs is None:
        return model
    graph = model.graph
    starts = [inputs] if isinstance(inputs, str) else list(inputs or ())
    ends = (
        [o.name for o in graph.output] if outputs is None else [outputs] if isinstance(outputs, str) else list(outputs)
    )
    written = {o: n for n in graph.node for o in n.output if o}
    known = {*written, *(i.name for i in graph.input), *(t.name for t in graph.initializer)}
    for what, names in (("inputs", starts), ("outputs", ends)):
        if missing := [n for n in names if n not in known]:
            few = list(written)[-12:]
            raise GraphError(
                f"`{what}` names {', '.join(map(repr, missing))}, which no tensor of graph {graph.name!r} is called; "
                f"its last ones are {', '.join(map(repr, few))}"
            )
    needed, stack, kept = set(ends), [e for e in ends if e not in starts], set()
    while stack:
        node = written.get(stack.pop())
        if node is None or id(node) in kept:
            continue
        kept.add(id(node))
        for i in reads(node):
            needed.add(i)
            if i not in starts:
                stack.append(i)
    part = ModelProto()
    part.CopyFrom(model)
    types = _types(model)
    for field, keep in (
        ("node", [n for n in graph.node if id(n) in kept]),
        ("initializer", [t for t in graph.initializer if t.name in needed and t.name not in starts]),
        ("input", _inputs(model, starts, needed, types, shapes)),
        ("output", [types.get(e) or ValueInfoProto(name=e) for e in ends]),
    ):
        del getattr(part.graph, field)[:]
        getattr(part.graph, field).extend(keep)
    return part


def _inputs(
    model: ModelProto, starts: list[str], needed: set[str], types: Mapping[str, Any], shapes: Mapping[str, Any]
) -> list:
    found = [i for i in model.graph.input if i.name in needed and i.name not in starts]
    for name in starts:
        known = types.get(name)
        if known is None:
            if name not in shapes:
                raise GraphError(
                    f"the model does not say the shape of {name!r}, which is to be an input: "
                    f"give it, shapes={{{name!r}: (...)}}"
                )
            known = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shapes[name]))
        found.append(known)
    return found


def _types(model: ModelProto) -> dict[str, ValueInfoProto]:
    """What the file says of its tensors' types, and what onnx finds out about the others."""
    declared = {v.name: v for v in (*model.graph.value_info, *model.graph.input, *model.graph.output)}
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:  # what onnx cannot make anything of; the file's own words are left
        return declared
    return {v.name: v for v in (*inferred.graph.value_info, *model.graph.input, *inferred.graph.output)} | declared
