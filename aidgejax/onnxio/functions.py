"""Functions of a model's own: checked here, then inlined by onnx's inliner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx
import onnx.inliner
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto

from ..errors import ModelFileError
from .build import Checked
from .checks import check_attribute, domain_of, execution_order, node_names
from .subgraphs import DEEPEST, every_graph, reads, subgraphs

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
        raise ModelFileError(f"its function {min(left)[1]!r} cannot be inlined: it is written in another opset than "
                             f"the model")
    return flat


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
            raise ModelFileError(f"{where} is written in opset {imported[domain]}, and the model in {opsets[domain]}; "
                                 f"convert them to one")
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
                raise ModelFileError(f"node {name!r} ({node.op_type}): attribute {a.name!r} refers to an attribute "
                                     f"{a.ref_attr_name!r}, which its function does not have")
            elif a.type not in AttributeProto.AttributeType.values():
                raise ModelFileError(f"node {name!r} ({node.op_type}): attribute {a.name!r} is of no type of ONNX's")


def _check_calls(nodes: Sequence[NodeProto], functions: dict[Key, FunctionProto]) -> None:
    for node in _every_node(nodes):
        f = functions.get(_called(node))
        if f is None:
            continue
        if len(node.input) > len(f.input) or len(node.output) > len(f.output):
            raise ModelFileError(f"node {node.name!r} ({node.op_type}) has {len(node.input)} inputs and "
                                 f"{len(node.output)} outputs; its function has {len(f.input)} and {len(f.output)}")
        missing = set(f.attribute) - {a.name for a in node.attribute}
        if missing:
            raise ModelFileError(f"node {node.name!r} ({node.op_type}) lacks the attribute "
                                 f"{', '.join(map(repr, sorted(missing)))} of its function")


def _size(key: Key, functions: dict[Key, FunctionProto], sizes: dict[Key, int], above: tuple[Key, ...]) -> int:
    """How many nodes a call becomes.  above: the functions that are being counted, none of which may be met again."""
    if key in above or len(above) > 4 * DEEPEST:
        raise ModelFileError(f"function {key[1]!r} calls itself, by way of {' -> '.join(k[1] for k in above[-8:])}")
    if key not in sizes:
        _check_calls(functions[key].node, functions)
        sizes[key] = 1 + sum(_size(c, functions, sizes, (*above, key)) if (c := _called(n)) in functions else 1
                             for n in _every_node(functions[key].node))
    return sizes[key]
