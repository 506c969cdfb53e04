"""Functions, inlined by onnx's inliner after they were checked here: the model's own, and those that ONNX defines.

ONNX says of many operators how they are computed by others.  Where we have no operator of that name, this is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import onnx.inliner
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto

from ...errors import GraphError, ModelFileError
from ...graph import Graph
from ...passes.rewrite import with_shapes
from ..exporter.protos import type_of
from ..schemas import schema_at
from .graph_builder import Checked, build, checked
from .subgraphs import DEEPEST, every_graph, reads, subgraphs
from .validate import check_attribute, domain_of, execution_order, is_known, node_names

MOST_NODES = 100_000
Key = tuple[str, str, str]  # domain, name, overload


def inlined(model: ModelProto, body: Checked, opsets: dict[str, int]) -> ModelProto:
    """The model with every call of a function of its own replaced by the function's nodes.

    Raises ModelFileError naming a function that is malformed, calls itself, or would become too large.
    """
    functions: dict[Key, FunctionProto] = {}
    for f in model.functions:
        if functions.setdefault(_key(f.domain, f.name, f.overload), f) is not f:
            raise ModelFileError(f"function {f.name!r} of the domain {f.domain!r} is defined twice")
    functions = _reached(body.proto.node, functions)
    if not functions:
        return model
    for f in functions.values():
        _check_function(f, opsets)
    _check_calls(body.proto.node, functions)
    sizes: dict[Key, int] = {}
    for key in functions:
        _size(key, functions, sizes, ())
    written = sum(sizes.get(_called(n), 1) for n in _every_node(body.proto.node))
    if written > MOST_NODES:
        raise ModelFileError(f"with its functions inlined it has {written} nodes; expected at most {MOST_NODES}")
    for inner in [body, *body.inner.values()]:
        _check_attributes(inner.proto.node, inner.names, ())
    try:
        flat = onnx.inliner.inline_local_functions(model)
    except Exception as e:  # onnx raises plain RuntimeErrors
        raise ModelFileError(f"its functions cannot be inlined: {e}") from e
    left = {_called(n) for n in _every_node(flat.graph.node)} & set(functions)
    if left:
        raise ModelFileError(
            f"its function {min(left)[1]!r} cannot be inlined: it is written in another opset than the model"
        )
    return flat


def expanded_by_onnx(model: ModelProto, opsets: dict[str, int]) -> ModelProto:
    """The model with operators that we do not have written as ONNX defines them, where it does; it has been checked.

    A definition may depend on the types of the inputs.  These are found by our own inference, from what can be read
    already; what has been inlined then gives the types of what follows.
    """
    while True:
        missing = [k for k, n in enumerate(model.graph.node) if not is_known(n) and _has_body(n, opsets)]
        if not missing:
            return model
        graph = _readable_part(model, opsets.get("", 0))
        written = {k: nodes for k in missing if (nodes := _definition(model, k, graph, opsets))}
        if not written:
            return model
        if len(model.graph.node) + sum(map(len, written.values())) > MOST_NODES:
            raise ModelFileError(f"written in operators that there are, it has more than {MOST_NODES} nodes")
        copy = ModelProto()
        copy.CopyFrom(model)
        del copy.graph.node[:]
        for k, node in enumerate(model.graph.node):
            copy.graph.node.extend(written.get(k, [node]))
        model = copy


def _has_body(node: NodeProto, opsets: dict[str, int]) -> bool:
    schema: Any = _schema_of(node, opsets)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def _schema_of(node: NodeProto, opsets: dict[str, int]) -> Any:
    return schema_at(domain_of(node.domain), node.op_type, opsets[domain_of(node.domain)])


def _definition(model: ModelProto, at: int, graph: Graph, opsets: dict[str, int]) -> list[NodeProto]:
    """The nodes that a node stands for; none where the types of its inputs are not known."""
    node = NodeProto()
    node.CopyFrom(model.graph.node[at])
    while node.input and not node.input[-1]:
        node.input.pop()
    schema = _schema_of(node, opsets)
    there = {a.name for a in node.attribute}
    node.attribute.extend(
        a.default_value for k, a in schema.attributes.items() if k not in there and a.default_value.name
    )
    alone = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    alone.graph.name = "alone"
    alone.graph.node.append(node)
    for name in dict.fromkeys(filter(None, node.input)):
        if not graph.has(name) or graph.value(name).dtype is None or graph.value(name).shape is None:
            return []
        alone.graph.input.append(type_of(graph, graph.value(name)))
    if "" in node.input and alone.graph.input:  # onnx asks for the type of an absent input too, and does not use it
        alone.graph.value_info.add(type=alone.graph.input[0].type)
    for name in filter(None, node.output):
        alone.graph.output.add(name=name)
    try:
        flat = onnx.inliner.inline_selected_functions(
            alone, [(node.domain, node.op_type)], exclude=False, inline_schema_functions=True
        )
    except Exception:  # onnx does not find a type that its definition depends on: the operator stays unknown
        return []
    if any((n.domain, n.op_type) == (node.domain, node.op_type) for n in flat.graph.node):
        return []
    kept = {"", *node.input, *node.output}
    _rename(flat.graph.node, kept, f"{node_names(model.graph.node)[at]}/")
    return list(flat.graph.node)


def _rename(nodes: Sequence[NodeProto], kept: set[str], prefix: str) -> None:
    """Put a prefix before every name that is not kept, inside subgraphs too."""

    def new(name: str) -> str:
        return name if name in kept else prefix + name

    for node in nodes:
        node.name = prefix + node.name if node.name else ""
        node.input[:] = map(new, node.input)
        node.output[:] = map(new, node.output)
        for _, inner in subgraphs(node):
            for info in (*inner.input, *inner.output, *inner.initializer, *inner.value_info):
                info.name = new(info.name)
            _rename(inner.node, kept, prefix)


def _readable_part(model: ModelProto, opset: int) -> Graph:
    """The nodes that need none of the operators that we do not have; shapes inferred where that is possible."""
    part = ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.output[:], part.graph.value_info[:]
    body = checked(model.graph)
    there = {"", *(i.name for i in model.graph.input), *body.data}
    for k in body.order:
        node = model.graph.node[k]
        if there.issuperset(reads(node)) and all(map(is_known, _every_node([node]))):
            part.graph.node.append(node)
            there.update(node.output)
    graph = build(checked(part.graph), opset)
    for p in graph.producers.values():  # what is trained is decided later
        p.role = "constant"
    try:
        return with_shapes(graph)
    except GraphError:
        return graph


def _key(domain: str, name: str, overload: str) -> Key:
    return domain_of(domain), name, overload


def _called(node: NodeProto) -> Key:
    return _key(node.domain, node.op_type, node.overload)


def _reached(nodes: Sequence[NodeProto], functions: dict[Key, FunctionProto]) -> dict[Key, FunctionProto]:
    """The functions that are called, directly or by others."""
    found: dict[Key, FunctionProto] = {}
    ahead = [nodes]
    while ahead:
        for node in _every_node(ahead.pop()):
            key = _called(node)
            if key in functions and key not in found:
                found[key] = functions[key]
                ahead.append(functions[key].node)
    return found


def _every_node(nodes: Sequence[NodeProto]) -> Iterator[NodeProto]:
    for node in nodes:
        yield node
        for _, inner in subgraphs(node):
            for graph in every_graph(inner):
                yield from graph.node


def _check_function(f: FunctionProto, opsets: dict[str, int]) -> None:
    """Names and order, as of a graph; attributes that it refers to are its own."""
    where = f"function {f.name!r}"
    for what, names in (("input", f.input), ("output", f.output)):
        if len(set(names)) < len(names) or "" in names:
            raise ModelFileError(f"{where} has an {what} without a name, or twice: {', '.join(map(repr, names))}")
    names = node_names(f.node)
    known = set(f.input)
    for node, name in zip(f.node, names, strict=True):
        for o in filter(None, node.output):
            if o in known:
                raise ModelFileError(f"{where}: node {name!r} ({node.op_type}) writes {o!r}, which exists already")
            known.add(o)
    for node, name in zip(f.node, names, strict=True):
        for i in reads(node):
            if i not in known:
                raise ModelFileError(f"{where}: node {name!r} ({node.op_type}) reads {i!r}, which nothing provides")
    for o in f.output:
        if o not in known:
            raise ModelFileError(f"{where}: its output {o!r} is written by no node")
    imported = {domain_of(i.domain): i.version for i in f.opset_import}
    for domain in {domain_of(n.domain) for n in _every_node(f.node)}:
        if domain not in imported:
            raise ModelFileError(f"{where} does not say which opset of the domain {domain or 'ai.onnx'!r} it uses")
        if domain in opsets and imported[domain] != opsets[domain] and domain == "":
            raise ModelFileError(
                f"{where} is written in opset {imported[domain]}, and the model in {opsets[domain]}; "
                f"convert them to one"
            )
    try:
        execution_order(f.node, names)
    except ModelFileError as e:
        raise ModelFileError(f"{where}: {e}") from None
    _check_attributes(f.node, names, [*f.attribute, *(a.name for a in f.attribute_proto)])


def _check_attributes(nodes: Sequence[NodeProto], names: Sequence[str], own: Sequence[str]) -> None:
    for node, name in zip(nodes, names, strict=True):
        for a in node.attribute:
            if not a.ref_attr_name:
                check_attribute(a, f"node {name!r} ({node.op_type})", None)
            elif a.ref_attr_name not in own:
                raise ModelFileError(
                    f"node {name!r} ({node.op_type}): attribute {a.name!r} refers to an attribute "
                    f"{a.ref_attr_name!r}, which its function does not have"
                )
            elif a.type not in AttributeProto.AttributeType.values():
                raise ModelFileError(f"node {name!r} ({node.op_type}): attribute {a.name!r} is of no type of ONNX's")


def _check_calls(nodes: Sequence[NodeProto], functions: dict[Key, FunctionProto]) -> None:
    for node in _every_node(nodes):
        f = functions.get(_called(node))
        if f is None:
            continue
        if len(node.input) > len(f.input) or len(node.output) > len(f.output):
            raise ModelFileError(
                f"node {node.name!r} ({node.op_type}) has {len(node.input)} inputs and "
                f"{len(node.output)} outputs; its function has {len(f.input)} and {len(f.output)}"
            )
        missing = set(f.attribute) - {a.name for a in node.attribute}
        if missing:
            raise ModelFileError(
                f"node {node.name!r} ({node.op_type}) lacks the attribute "
                f"{', '.join(map(repr, sorted(missing)))} of its function"
            )


def _size(key: Key, functions: dict[Key, FunctionProto], sizes: dict[Key, int], above: tuple[Key, ...]) -> int:
    """How many nodes a call becomes.  above: the functions that are being counted, none of which may be met again."""
    if key in above or len(above) > 4 * DEEPEST:
        raise ModelFileError(f"function {key[1]!r} calls itself, by way of {' -> '.join(k[1] for k in above[-8:])}")
    if key not in sizes:
        _check_calls(functions[key].node, functions)
        sizes[key] = 1 + sum(
            _size(c, functions, sizes, (*above, key)) if (c := _called(n)) in functions else 1
            for n in _every_node(functions[key].node)
        )
    return sizes[key]
