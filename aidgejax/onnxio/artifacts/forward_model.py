"""The forward model that artifacts are made of: loaded, in operators and an opset that the gradient is written for."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import onnx
from onnx import AttributeProto, ModelProto, TensorProto, ValueInfoProto, helper

from ...errors import GraphError, SettingError
from ...passes.control_flow import is_dynamic
from ..exporter.opset_downgrade import at_opset
from ..exporter.writer import LARGEST_MODEL, OLDEST_OPSET
from ..external_data import bring_inside, bytes_of, is_outside
from ..importer.contrib_ops import is_contrib
from ..importer.reader import read
from ..importer.subgraphs import reads
from ..importer.validate import domain_of
from ..tensors import check_external
from .training_model import opset_of

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def load(path: str) -> ModelProto:
    """The model; of more than 2 GiB, with its initializers left in their second file."""
    model = onnx.load(path, load_external_data=False)
    check_external(model)
    if sum(bytes_of(t) for t in model.graph.initializer if is_outside(t)) > LARGEST_MODEL:
        return model
    return onnx.load(path)


def prepared(
    model: ModelProto, parameters: Collection[str], shapes: Mapping[str, Any] | None = None, batch: str | None = None
) -> ModelProto:
    """The model as losses and gradients are written on it: opset 13 or later, ONNX's own operators, and parameters
    that stand in Constant nodes as initializers.

    shapes, batch: as of `read`.  A model for which they are given, one that says what it computes in operators of ONNX
    Runtime's optimizer or in functions, and one whose loops and branches its sizes decide, is read as onnxio.read reads
    it, and written anew; tensors keep their names.
    """
    model = _with_constants_hoisted(model, parameters)
    opset = opset_of(model)
    asked = bool(shapes) or batch is not None
    if opset >= OLDEST_OPSET and not asked and not _has_contrib(model) and not _has_bodies(model):
        return model
    graph = read(model, shapes=shapes, batch=batch)
    if is_dynamic(graph) and not asked:
        return model
    plain = at_opset(graph, max(opset, OLDEST_OPSET))[0]
    del plain.metadata_props[:]
    return plain


def _has_contrib(model: ModelProto) -> bool:
    return any(is_contrib(domain_of(n.domain), n.op_type) for n in model.graph.node)


def _has_bodies(model: ModelProto) -> bool:
    """Are there functions, or graphs inside of nodes?"""
    bodies = any(a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for n in model.graph.node for a in n.attribute)
    return bodies or bool(model.functions)


def _with_constants_hoisted(model: ModelProto, parameters: Collection[str]) -> ModelProto:
    """Constant nodes that write a parameter become initializers."""
    stored = {t.name for t in model.graph.initializer}
    found = {
        n.output[0]: n
        for n in model.graph.node
        if n.op_type == "Constant" and n.output[0] in parameters and n.output[0] not in stored
    }
    if not found:
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    kept = [n for n in copy.graph.node if not (n.op_type == "Constant" and n.output[0] in found)]
    del copy.graph.node[:]
    copy.graph.node.extend(kept)
    for name, node in found.items():
        tensor = TensorProto()
        attribute = node.attribute[0]
        value = helper.get_attribute_value(attribute)
        if isinstance(value, TensorProto):
            tensor.CopyFrom(value)
        else:
            several = isinstance(value, Sequence)
            code = TensorProto.FLOAT if attribute.name.startswith("value_float") else TensorProto.INT64
            tensor = helper.make_tensor(name, code, [len(value)] if several else [], value if several else [value])
        tensor.name = name
        copy.graph.initializer.append(tensor)
    return copy


def with_constants_inside(base: ModelProto, parameters: Collection[str], path: str | None) -> None:
    """Bring in the numbers of what stays in the models, in place; what becomes an input is not needed there.

    Raises SettingError where they are more than a model holds.
    """
    stay = [t for t in base.graph.initializer if is_outside(t) and t.name not in parameters]
    if sum(map(bytes_of, stay)) > LARGEST_MODEL:
        raise SettingError(
            f"the artifacts would hold more than 2 GiB of constants, {stay[0].name!r} among them; name "
            f"them in frozen_params: then they go to the checkpoint"
        )
    for t in stay:
        bring_inside(t, os.path.dirname(os.path.abspath(path or "")))


def check_parameters(model: ModelProto, trainable: Sequence[str], frozen: Sequence[str]) -> None:
    """Raise GraphError for names that are no parameters of the model; an input may require a gradient."""
    both = set(trainable) & set(frozen)
    if both:
        raise GraphError(f"A parameter cannot be frozen and require gradient computation at the same time {both}")
    graph = model.graph
    stored = {t.name: t for t in graph.initializer}
    inputs = {i.name for i in graph.input}
    read_by_nodes = {i for n in graph.node for i in reads(n)}
    for name in trainable:
        if name not in stored and name not in inputs:
            raise GraphError(
                f"Node arg {name} is not found in the graph: requires_grad names it, and {_near(name, stored)}"
            )
        if name in stored and stored[name].data_type not in FLOATS:
            raise GraphError(
                f"{name} cannot require a gradient: it holds "
                f"{TensorProto.DataType.Name(stored[name].data_type)}, not floating-point numbers"
            )
        if name not in read_by_nodes:
            raise GraphError(
                f"{name} couldn't find the consumer node: no node reads this parameter, so it has no "
                f"gradient; take it out of requires_grad"
            )
    statistics = [name for name in trainable if name in _statistics(model)]
    if statistics:
        raise GraphError(
            f"{', '.join(map(repr, statistics))} of requires_grad: a running statistic of BatchNormalization is "
            f"moved by training and takes no gradient; name it in frozen_params"
        )
    for name in frozen:
        if name not in stored:
            raise GraphError(
                f"Node arg {name} is not found in the graph: frozen_params names it, and {_near(name, stored)}"
            )


def _statistics(model: ModelProto) -> set[str]:
    return {i for n in model.graph.node if n.op_type == "BatchNormalization" for i in n.input[3:5]}


def _near(name: str, stored: Collection[str]) -> str:
    """The initializers that there are, those of a similar name first."""
    first = difflib.get_close_matches(name, stored, 3)
    names = list(dict.fromkeys([*first, *stored]))
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"the initializers are {', '.join(names[:20]) or 'none'}{more}"


def check_is_number(info: ValueInfoProto) -> None:
    """Raise GraphError unless a tensor, taken for the loss, is a single number."""
    dims = info.type.tensor_type.shape.dim
    if any(not d.HasField("dim_value") or d.dim_value != 1 for d in dims):
        shape = [d.dim_param or (d.dim_value if d.HasField("dim_value") else "?") for d in dims]
        raise GraphError(
            f"without a loss the first output is taken for the loss, and {info.name!r} has the shape "
            f"{shape}: expected a single number. Give a loss"
        )
