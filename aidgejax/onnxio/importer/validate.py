"""What a model must satisfy before anything is built from it.

Files come from anywhere.  These checks are our own, in Python: onnx's C++ code is not asked about a model that has
not passed them.  The order is the reader's; each message names the tensor or the node at fault.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from ...errors import ModelFileError, UnknownOperator
from ...ops import lookup
from ...ops.control_flow import CONTROL_FLOW
from ..schemas import NEWEST_OPSET, OLDEST_OPSET, attribute_type, kind_name, registered, schema_at, schema_of
from ..tensors import dtype_name
from .contrib_ops import is_contrib
from .opset_upgrade import RENAMED
from .subgraphs import every_graph, reads

OLDEST_IR, NEWEST_IR = 3, int(onnx.IR_VERSION)
# Attribute types that are not read: none of ONNX's operators that we have needs one.
MOST_NODES = 150_000  # reading takes a tenth of a millisecond for each
MOST_TENSORS = 10_000  # that one node reads or writes
MOST_IN_A_LIST = 1_000_000  # numbers in one attribute; more belongs into a tensor
NOT_READ = (
    AttributeProto.GRAPHS,
    AttributeProto.SPARSE_TENSOR,
    AttributeProto.SPARSE_TENSORS,
    AttributeProto.TYPE_PROTOS,
)
FIELD_OF_TYPE = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.SPARSE_TENSOR: "sparse_tensor",
    AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors",
    AttributeProto.GRAPHS: "graphs",
    AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTOS: "type_protos",
}


def printed(name: str) -> str:
    """The name of an operator in a message: at most 100 characters, none that breaks the line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name[:100])


def check_count(graph: GraphProto) -> None:
    """Raise ModelFileError for more nodes than are read; before anything looks at each of them."""
    if len(graph.node) > MOST_NODES:
        raise ModelFileError(f"it has {len(graph.node):,} nodes; expected at most {MOST_NODES:,}")


def domain_of(text: str) -> str:
    """ "ai.onnx" is another name of the default domain."""
    return "" if text == "ai.onnx" else text


def check_versions(model: ModelProto) -> dict[str, int]:
    """{domain: opset}, after: there is a graph, and its versions are ones that we read."""
    if not model.HasField("graph"):
        raise ModelFileError("it holds no graph; is it an ONNX model, and is it complete?")
    if not model.graph.output:
        raise ModelFileError(f"its graph {model.graph.name!r} has no output")
    if not OLDEST_IR <= model.ir_version <= NEWEST_IR:
        raise ModelFileError(
            f"IR version {model.ir_version}: expected {OLDEST_IR} to {NEWEST_IR}, the newest that "
            f"the installed onnx {onnx.__version__} knows"
        )
    opsets: dict[str, int] = {}
    for imported in model.opset_import:
        domain, version = domain_of(imported.domain), imported.version
        if opsets.setdefault(domain, version) != version:
            raise ModelFileError(
                f"it imports two opsets of the domain {domain or 'ai.onnx'!r}: {opsets[domain]} and {version}"
            )
    if "" in opsets and not OLDEST_OPSET <= opsets[""] <= NEWEST_OPSET:
        raise ModelFileError(
            f"opset {opsets['']}: expected {OLDEST_OPSET} to {NEWEST_OPSET}, the newest that the "
            f"installed onnx {onnx.__version__} knows"
        )
    nodes = [n for g in every_graph(model.graph) for n in g.node]
    if len(nodes) > MOST_NODES:
        raise ModelFileError(f"it has {len(nodes):,} nodes; expected at most {MOST_NODES:,}")
    for n in nodes:
        if max(len(n.input), len(n.output)) > MOST_TENSORS:
            raise ModelFileError(
                f"node {n.name[:100]!r} ({printed(n.op_type)}) has {len(n.input):,} inputs and {len(n.output):,} "
                f"outputs; expected at most {MOST_TENSORS:,} of each"
            )
    missing = sorted({domain_of(n.domain) for n in nodes} - set(opsets))
    if missing:
        named = next(n for n in nodes if domain_of(n.domain) == missing[0])
        raise ModelFileError(
            f"it does not say which opset of the domain {missing[0] or 'ai.onnx'!r} it uses, which "
            f"node {named.name!r} ({printed(named.op_type)}) needs"
        )
    return opsets


def node_names(nodes: Sequence[NodeProto]) -> list[str]:
    """A name for each node: its own where it has one of its own, else a readable fresh one."""
    taken = {n.name for n in nodes}
    found, seen = [], set()
    for k, node in enumerate(nodes):
        name = node.name
        if not name or name in seen:
            stem = f"{name or node.op_type}_{k}"
            name, again = stem, 0
            while name in taken:
                again += 1
                name = f"{stem}_{again}"
            taken.add(name)
        seen.add(name)
        found.append(name)
    return found


def check_tensor_names(graph: GraphProto, names: Sequence[str], outside: Iterable[str] = ()) -> None:
    """Every tensor has a name and is written once, everything that is read exists, every output too.

    outside: what a subgraph may read beside its own tensors.
    """
    inputs = _distinct([i.name for i in graph.input], "graph input")
    stored = _distinct([t.name for t in graph.initializer], "initializer")
    _distinct([o.name for o in graph.output], "graph output")
    if graph.sparse_initializer:
        raise ModelFileError(
            f"initializer {graph.sparse_initializer[0].values.name!r} is sparse, which is not read; store it dense"
        )
    writer: dict[str, str] = {}
    for node, name in zip(graph.node, names, strict=True):
        for o in filter(None, node.output):
            if o in inputs or o in stored:
                raise ModelFileError(
                    f"node {name!r} ({node.op_type}) writes {o!r}, which is "
                    f"{'a graph input' if o in inputs else 'an initializer'} already"
                )
            if o in writer:
                raise ModelFileError(
                    f"node {name!r} ({node.op_type}) writes {o!r}, which node {writer[o]!r} writes "
                    f"already: every tensor is written once"
                )
            writer[o] = name
    known = {*inputs, *stored, *writer, *outside}
    for node, name in zip(graph.node, names, strict=True):
        for i in reads(node):
            if i not in known:
                raise ModelFileError(
                    f"node {name!r} ({node.op_type}) reads {i!r}, which no input, initializer or node "
                    f"provides; is an initializer missing?"
                )
    for o in graph.output:
        if o.name not in known:
            raise ModelFileError(f"graph output {o.name!r} is written by no node")


def _distinct(names: Iterable[str], what: str) -> set[str]:
    for name, count in Counter(names).items():
        if not name:
            raise ModelFileError(f"a {what} has no name")
        if count > 1:
            raise ModelFileError(f"{what} {name!r} is declared {count} times")
    return set(names)


def execution_order(nodes: Sequence[NodeProto], names: Sequence[str]) -> list[int]:
    """The nodes' indices in an order in which they can be executed: their own as far as that is one."""
    writer = {o: k for k, n in enumerate(nodes) for o in n.output if o}
    needs = [{writer[i] for i in reads(n) if i in writer} for n in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for k, found in enumerate(needs):
        for w in found:
            readers[w].append(k)
    left = [len(found) for found in needs]
    ready = [k for k, n in enumerate(left) if n == 0]
    order = []
    while ready:
        k = heapq.heappop(ready)
        order.append(k)
        for r in readers[k]:
            left[r] -= 1
            if left[r] == 0:
                heapq.heappush(ready, r)
    if len(order) < len(nodes):
        done = set(order)
        k = min(set(range(len(nodes))) - done)
        path: list[int] = []
        while k not in path:
            path.append(k)
            k = min(needs[k] - done)
        cycle = [names[k] for k in path[path.index(k) :]][::-1]
        raise ModelFileError(
            f"nodes {' -> '.join(map(repr, [*cycle, cycle[0]]))} form a cycle: none of them can be executed first"
        )
    return order


# Why there is no operator of ours, where it is not for want of one.
CURES = {
    "ImageDecoder": "decode images before they are fed",
    "com.microsoft::MatMulBnb4": "NF4 and FP4 blocks; quantize the model as MatMulNBits, which is read",
    "com.microsoft::MoE": "experts in one node; export the model without fused experts",
    "com.microsoft::QMoE": "experts in one node; export the model without fused experts",
} | dict.fromkeys(
    ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"),
    "aidgejax computes with numbers; turn strings into numbers before they are fed",
)


def check_operators(graph: GraphProto, names: Sequence[str]) -> None:
    """Raise UnknownOperator that lists every operator which aidgejax does not have, how often and where."""
    unknown: dict[str, list[str]] = {}
    for inner in every_graph(graph):
        for node, name in zip(inner.node, names if inner is graph else node_names(inner.node), strict=True):
            if not is_known(node):
                unknown.setdefault(_full(domain_of(node.domain), node.op_type), []).append(name)
    if unknown:
        listed = "; ".join(
            f"{op} ({len(where)} node{'s' if len(where) > 1 else ''}: "
            f"{', '.join(map(repr, where[:3]))}{', ...' if len(where) > 3 else ''})"
            + (f" ({CURES[op]})" if op in CURES else "")
            for op, where in sorted(unknown.items())
        )
        raise UnknownOperator(
            f"it uses {len(unknown)} operator{'s' if len(unknown) > 1 else ''} that aidgejax does "
            f"not have: {listed}. `python -m aidgejax ops` lists those there are"
        )


def _full(domain: str, op_type: str) -> str:
    return printed(f"{domain}::{op_type}" if domain else op_type)


def is_known(node: NodeProto) -> bool:
    """Does aidgejax have the operator?"""
    domain, op_type = domain_of(node.domain), node.op_type
    if domain == "" and (op_type == "Constant" or op_type in CONTROL_FLOW):
        return True
    renamed = RENAMED.get(op_type, op_type) if domain == "" else op_type
    return registered(domain, renamed) is not None or is_contrib(domain, op_type)


def check_node(node: NodeProto, name: str, opsets: dict[str, int]) -> None:
    """The node's inputs, outputs and attributes are those that its opset gives the operator."""
    domain, where = domain_of(node.domain), f"node {name!r} ({printed(node.op_type)})"
    schema = _schema(domain, node.op_type, opsets[domain])
    seen: set[str] = set()
    for a in node.attribute:
        if a.name in seen:
            raise ModelFileError(f"{where} has the attribute {a.name!r} twice")
        seen.add(a.name)
        check_attribute(a, where, schema)
    if schema is None:
        return
    if not any(node.output):
        raise ModelFileError(f"{where} has no output")
    required = [k for k, a in schema.attributes.items() if a.required and k not in seen]
    if required:
        raise ModelFileError(f"{where} lacks the attribute {', '.join(map(repr, required))}")
    for kind, given, least, most in (
        ("input", node.input, schema.min_input, schema.max_input),
        ("output", node.output, schema.min_output, schema.max_output),
    ):
        if not least <= len(given) <= most:
            raise ModelFileError(
                f"{where} has {len(given)} {kind}s; expected {least}" + (f" to {most}" if most != least else "")
            )
    for k, formal in enumerate(schema.inputs[: schema.min_input]):
        if kind_name(formal.option) == "Single" and not node.input[k]:
            raise ModelFileError(f"{where} lacks its input {formal.name!r}")


def _schema(domain: str, op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    """The operator as the model's opset has it, or else, where an opset is too old for it, as we have it."""
    found = schema_at(domain, op_type, opset)
    if found is None and (name := registered(domain, op_type)):
        found = schema_of(lookup(name))
    return found


def check_attribute(a: AttributeProto, where: str, schema: onnx.defs.OpSchema | None) -> None:
    what = f"{where}: attribute {a.name!r}"
    if a.ref_attr_name:
        raise ModelFileError(f"{what} refers to an attribute {a.ref_attr_name!r} of a function, but stands outside one")
    kind = AttributeProto.AttributeType.Name(a.type) if a.type in AttributeProto.AttributeType.values() else str(a.type)
    if a.type not in FIELD_OF_TYPE:
        raise ModelFileError(f"{what} has type {kind}, which is none of ONNX's")
    if (count := max(len(a.ints), len(a.floats), len(a.strings))) > MOST_IN_A_LIST:
        raise ModelFileError(f"{what} has {count:,} entries; expected at most {MOST_IN_A_LIST:,}")
    if schema is not None and a.name not in schema.attributes:
        raise ModelFileError(
            f"{where} has no attribute {a.name!r}; in opset {schema.since_version} {schema.name} has "
            f"{', '.join(schema.attributes) or 'none'}"
        )
    expected = attribute_type(schema, a.name)
    if expected is not None and a.type != expected:
        raise ModelFileError(f"{what} is of type {kind}; expected {AttributeProto.AttributeType.Name(expected)}")
    if a.type in NOT_READ:
        raise ModelFileError(f"{what} is of type {kind}, which is not read")
    own = FIELD_OF_TYPE[a.type]
    others = [f.name for f, _ in a.ListFields() if f.name in FIELD_OF_TYPE.values() and f.name != own]
    if others:
        raise ModelFileError(f"{what} says that it is of type {kind}, but holds {', '.join(others)}")
    if own in ("t", "g", "tp") and not a.HasField(own):
        raise ModelFileError(f"{what} says that it is of type {kind}, but holds none")
    if own == "g" and not a.g.output:
        raise ModelFileError(f"{what}: its graph {a.g.name!r} has no output")


def check_type(info: onnx.ValueInfoProto, what: str) -> str:
    """The dtype of a graph input or output; "sequence(float32)" and "optional(float32)" are types too."""
    return _type_name(info.type, f"{what} {info.name!r}", 0)


def _type_name(proto: onnx.TypeProto, what: str, deep: int) -> str:
    kind = proto.WhichOneof("value")
    if kind == "tensor_type":
        return dtype_name(proto.tensor_type.elem_type, what)
    if kind in ("sequence_type", "optional_type") and deep < 4:
        return f"{kind[:-5]}({_type_name(getattr(proto, kind).elem_type, what, deep + 1)})"
    raise ModelFileError(
        f"{what} is {'of no type' if kind is None else 'a ' + kind[:-5]}; only tensors, sequences and "
        f"optional values of them are read"
    )


def check_shape(info: onnx.ValueInfoProto, what: str) -> tuple[int | str | None, ...] | None:
    """The shape of a graph input or output: None for a size, or for the whole, that the model leaves open."""
    kind = info.type.tensor_type
    if info.type.WhichOneof("value") != "tensor_type" or not kind.HasField("shape"):
        return None
    shape: list[int | str | None] = []
    for d in kind.shape.dim:
        if d.HasField("dim_value") and d.dim_value < -1:
            raise ModelFileError(f"{what} {info.name!r} has a size of {d.dim_value}: a size cannot be negative")
        shape.append(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or None)
    return tuple(shape)
