"""The core's Graph <-> GraphView.  Reading and writing of files is aidgejax.onnxio's."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from ... import onnxio
from ...errors import AidgeJaxError, ModelFileError
from ...files import write_atomically
from ...graph import Graph, Node
from ...ops import lookup
from ..aidge_core.errors import AidgeError, GraphViewError
from ..aidge_core.graphview import GraphView
from ..aidge_core.lowering import lower
from ..aidge_core.node import Node as AidgeNode
from ..aidge_core.node import Port, Producer
from ..aidge_core.operator import Attr, Data, OperatorTensor, OperatorType, OptionalData, Param
from ..aidge_core.operators import TYPES, make_operator
from ..aidge_core.operators.elementwise import ONE_INPUT
from ..aidge_core.tensor import Tensor
from .generic_nodes import generic_node, read_with_generic_nodes
from .own_operators import own_operator

AIDGE_TYPE = {v: k for k, v in ONE_INPUT.items()} | {
    "LeakyRelu": "LeakyReLU",
    "PRelu": "PReLU",
    "Elu": "ELU",
    "Gelu": "GeLU",
    "Swish": "SiLU",
    "Gemm": "FC",
    "InstanceNormalization": "InstanceNorm",
    "LayerNormalization": "LayerNorm",
    "GroupNormalization": "GroupNorm",
    "ScatterElements": "Scatter",
    "GlobalAveragePool": "GlobalAveragePooling",
}
WINDOWED = {
    "Conv": "Conv",
    "ConvTranspose": "ConvTranspose",
    "MaxPool": "MaxPooling",
    "AveragePool": "AvgPooling",
    "BatchNormalization": "BatchNorm",
}
PARAMETRISED = (
    "Conv",
    "ConvTranspose",
    "Gemm",
    "BatchNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "PRelu",
)


class MissingFile(FileNotFoundError, ModelFileError, AidgeError):
    """There is no such file."""


# ---- reading ----------------------------------------------------------------------------------------------


def load_onnx(filename: Any) -> GraphView:
    """Read an ONNX file.  Raises FileNotFoundError where there is none, ModelFileError for what is no model.

    A node whose operator aidgejax does not have becomes a GenericOperator, and a warning in the log.
    """
    if not os.path.exists(filename):
        raise MissingFile(f"there is no file {os.fspath(filename)!r}")
    return view_of(*read_with_generic_nodes(filename))


def convert_onnx_to_aidge(
    model: onnx.ModelProto, remove_unused_init: bool = True, missing_external_data: bool = False
) -> GraphView:
    """The same of a model in memory."""
    return view_of(*read_with_generic_nodes(model))


def view_of(graph: Graph, unknown: Sequence[onnx.NodeProto] = (), unnamed: Collection[str] = frozenset()) -> GraphView:
    """A core graph as a GraphView: one node per node, one Producer per tensor that the graph brings along.

    unknown: nodes of the model that are not in the graph, whose outputs are inputs of it: GenericOperators.
    unnamed: the first outputs of nodes to which the file gives no name.
    """
    made: dict[str, tuple[AidgeNode, int]] = {}
    for p in graph.producers.values():
        made[p.name] = (Producer(Tensor(np.array(p.data)), aidge_name(p.name), constant=p.role == "constant"), 0)
    view = GraphView(graph.name)
    ports: dict[str, list[tuple[AidgeNode, int]]] = {}

    def connect(written: AidgeNode, inputs: Sequence[Any]) -> None:
        for k, i in enumerate(inputs):
            if isinstance(i, str) and i in made:
                made[i][0].add_child(written, made[i][1], k)
            elif isinstance(i, str) and i:
                ports.setdefault(i, []).append((written, k))
        view.add(written)

    generic = [generic_node(n, graph) for n in unknown]
    for proto, written in zip(unknown, generic, strict=True):
        made |= {o: (written, k) for k, o in enumerate(proto.output) if o}
    for node in graph.nodes:
        written = _node_of(graph, node, unnamed)
        connect(written, node.inputs)
        made |= {o: (written, k) for k, o in enumerate(node.outputs) if o}
    for proto, written in zip(unknown, generic, strict=True):
        connect(written, list(proto.input))
    odd = [k for k, readers in ports.items() if len(readers) > 1]
    for name in odd:  # one input, several readers: an Identity stands for it
        free = aidge_name(name) not in {n.name() for n in view.members}
        entry = AidgeNode(make_operator("Identity"), aidge_name(name) if free else f"{aidge_name(name)}_entry")
        for written, k in ports[name]:
            entry.add_child(written, 0, k)
        ports[name] = [(entry, 0)]
        view.add(entry)
    view.set_ordered_inputs([ports[i][0] for i in graph.inputs if i in ports])
    read = {i for n in unknown for i in n.input}
    ends = [o for o in graph.outputs if o not in read] + [o for n in unknown for o in n.output if _is_an_end(made, o)]
    view.set_ordered_outputs([made[o] for o in ends if o in made])
    view.declared_shapes = {
        Port(*ports[i][0]): v.shape for i, v in graph.inputs.items() if i in ports and v.shape is not None
    }
    return view


def _is_an_end(made: Mapping[str, tuple[AidgeNode, int]], output: str) -> bool:
    """Does no node read this output?"""
    return output in made and not made[output][0].readers[made[output][1]]


def _node_of(graph: Graph, node: Node, unnamed: Collection[str]) -> AidgeNode:
    spec, categories = lookup(node.op), []
    for k, i in enumerate(node.inputs):
        if not isinstance(i, str):
            category = OptionalData
        elif node.op == "BatchNormalization" and k >= 3:
            category = Attr
        else:
            category = Param if k and node.op in PARAMETRISED else Data
        name = spec.inputs[k] if k < len(spec.inputs) else f"data_input_{k}"
        categories.append((name, category))
    kind = _type(graph, node)
    attrs = _shown(graph, kind, node)
    outputs = tuple(
        TYPES[kind].outputs
        if kind in TYPES and len(TYPES[kind].outputs) >= len(node.outputs)
        else [f"data_output_{k}" for k in range(len(node.outputs))]
    )[: len(node.outputs)]
    literals = {k: i for k, i in enumerate(node.inputs) if not isinstance(i, str)}

    def emit(c: Any, *inputs: Any, **now: Any) -> Any:
        given = [literals.get(k) if v is None else v for k, v in enumerate(inputs)]
        if kind == "FC" and c.rank(given[0]) not in (None, 2):  # as a Gemm reads it once a Flatten is removed
            given[0] = c.step("Flatten", given[0], axis=1)
        return c.named(node.op, *given, outputs=len(node.outputs), **_changed(kind, node, now, attrs))

    own = own_operator(graph, node, kind, attrs)
    if own is not None:
        return AidgeNode(own, name_of(node, unnamed))
    row = OperatorType(kind, emit, inputs=tuple(categories), outputs=outputs, defaults=attrs)
    return AidgeNode(OperatorTensor(row, {}), name_of(node, unnamed))


def aidge_name(name: str) -> str:
    """A name of ONNX's as Aidge has it: "/features/0.conv:1" is features_0_conv_1; one that begins with a digit gets
    data_ before it."""
    name = re.sub(r"[/.:]", "_", name)
    name = name.removeprefix("_")
    return f"data_{name}" if name[:1].isdigit() else name


def name_of(node: Node, unnamed: Collection[str]) -> str:
    """The node's name; that of its first output where the file gives it none."""
    first = next(iter(node.output_names), "")
    return aidge_name(first if first in unnamed else node.name)


def _axes(graph: Graph, node: Node) -> int | None:
    """How many spatial axes a windowed operator or a BatchNormalization works on; None where nothing says."""
    if node.op not in WINDOWED:
        return None
    if node.op in ("Conv", "ConvTranspose"):
        shape = graph.value(node.inputs[1]).shape
    elif node.attrs.get("kernel_shape"):
        return len(node.attrs["kernel_shape"])
    else:
        shape = graph.value(node.inputs[0]).shape
    return len(shape) - 2 if shape else None


def _is_fc(node: Node) -> bool:
    """Is a Gemm x W^T + b, which is what Aidge's FC computes?"""
    plain = node.attrs.get("alpha", 1.0) == node.attrs.get("beta", 1.0) == 1.0
    return bool(node.attrs.get("transB")) and not node.attrs.get("transA") and plain


def _type(graph: Graph, node: Node) -> str:
    if node.op in WINDOWED:
        axes = _axes(graph, node)
        kind = WINDOWED[node.op]
        if node.op == "Conv" and node.attrs.get("group", 1) > 1:
            shape = graph.value(node.inputs[1]).shape
            kind = "ConvDepthWise" if shape and shape[1] == 1 else kind
        padded = any(node.attrs.get("pads") or ()) or node.attrs.get("auto_pad", "NOTSET").startswith("SAME")
        return f"{'Padded' if padded else ''}{kind}{2 if axes is None else axes}D"
    if node.op == "Gemm" and not _is_fc(node):
        return "Gemm"
    return AIDGE_TYPE.get(node.op, node.op)


def _names(kind: str) -> dict[str, str]:
    """{ONNX's name of an attribute: Aidge's}, where they differ."""
    names = {
        "kernel_shape": "kernel_dims",
        "strides": "stride_dims",
        "pads": "padding_dims",
        "dilations": "dilations" if "Pooling" in kind else "dilation_dims",
        "keepdims": "keep_dims",
        "perm": "output_dims_order",
    }
    return names | ({"alpha": "negative_slope"} if kind == "LeakyReLU" else {})


def _shown(graph: Graph, kind: str, node: Node) -> dict[str, Any]:
    """The attributes under Aidge's names; ONNX's values for those of Aidge's that the file leaves out."""
    names = _names(kind)
    known = dict(lookup(node.op).attributes)
    axes = _axes(graph, node)
    if axes and "strides" in known:
        known |= {"strides": (1,) * axes, "dilations": (1,) * axes}
    own = TYPES[kind].defaults if kind in TYPES else {}
    found = {names.get(k, k): v for k, v in known.items() if v is not None and names.get(k, k) in own}
    found |= {names.get(k, k): v for k, v in node.attrs.items()}
    if axes and node.op in ("Conv", "ConvTranspose"):
        found.setdefault("kernel_dims", tuple((graph.value(node.inputs[1]).shape or ())[2:]))
    return found


def _changed(kind: str, node: Node, now: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The node's attributes, with what was changed since (BatchNorm's mode, a LeakyReLU's slope ...)."""
    back = {aidge: onnx_name for onnx_name, aidge in _names(kind).items()}
    found = dict(node.attrs)
    for k, v in now.items():
        name = back.get(k, k)
        if name in found or v != before.get(k):
            found[name] = int(v) if isinstance(v, bool) else tuple(v) if isinstance(v, list) else v
    return found


# ---- writing ----------------------------------------------------------------------------------------------


def export_onnx(
    graph_view: GraphView,
    path_to_save: str,
    inputs_dims: Mapping[str, Sequence[Sequence[int]]] | None = None,
    outputs_dims: Mapping[str, Sequence[Sequence[int]]] | None = None,
    enable_custom_op: bool = False,
    opset: int | None = None,
    ir_version: int | None = None,
) -> None:
    """Write an ONNX file.

    inputs_dims: {node name: [shape]} of the graph's inputs; default: those of forward_dims or of the last forward.
    outputs_dims: accepted and not needed: shapes are inferred.  ir_version: default: the lowest that the opset needs.
    Raises GraphViewError for a GenericOperator, enable_custom_op or not: there is nothing that could be written.
    """
    version = _ir_version(ir_version)
    onnxio.write(graph_of(graph_view, inputs_dims), None, path_to_save, opset=opset)
    if version is not None:
        model = onnx.load(path_to_save, load_external_data=False)
        model.ir_version = version
        write_atomically(model.SerializeToString(), path_to_save)


def _ir_version(ir_version: Any) -> int | None:
    newest = int(onnx.IR_VERSION)
    if ir_version is None:
        return None
    if not isinstance(ir_version, int) or not 3 <= ir_version <= newest:
        raise GraphViewError(f"ir_version is {ir_version!r}; expected 3 to {newest}, the newest that onnx here knows")
    return ir_version


def convert_aidge_to_onnx(
    graph_view: GraphView,
    model_name: str,
    inputs_dims: Mapping[str, Sequence[Sequence[int]]] | None = None,
    outputs_dims: Mapping[str, Sequence[Sequence[int]]] | None = None,
    enable_custom_op: bool = False,
    opset: int | None = None,
    ir_version: int | None = None,
) -> onnx.ModelProto:
    """What export_onnx writes, in memory."""
    version = _ir_version(ir_version)
    graph = graph_of(graph_view, inputs_dims)
    graph.name = model_name
    model = onnxio.to_model(graph, opset=opset)
    model.ir_version = version or model.ir_version
    return model


def graph_of(view: GraphView, inputs_dims: Mapping[str, Sequence[Sequence[int]]] | None = None) -> Graph:
    """The core's graph of a GraphView, holding the Producers' data."""
    if not isinstance(view, GraphView):
        raise GraphViewError(f"expected a GraphView, got {type(view).__name__}")
    opaque = sorted(n.name() or n.type() for n in view.get_nodes() if not _is_native(n) or n.get_operator().is_opaque)
    if opaque:
        raise GraphViewError(
            f"the computation of {', '.join(map(repr, opaque))} is Python's or nobody's, which no ONNX file can hold: "
            f"replace it by operators (GraphView.replace) before the graph is exported"
        )
    feeds: dict[Any, Any] = {}
    kinds = {
        t.cell.dtype
        for n in view.members
        if n.type() == "Producer"
        for t in [n.get_operator().get_output(0)]
        if t.cell.dtype.kind == "f"
    }
    for node, k in view.get_ordered_inputs():
        asked = (inputs_dims or {}).get(node.name())
        known = node.operator.given_inputs.get(k)
        read = view.declared_shapes.get(Port(node, k))
        dims = view.known_shapes.get(Port(node, k))
        if asked:
            feeds[node, k] = tuple(asked[0] if isinstance(asked[0], list | tuple) else asked)
        elif known is not None:
            feeds[node, k] = known
        elif dims or read:
            feeds[node, k] = tuple(dims or read or ())
        else:
            raise GraphViewError(
                f"the shape of input {k} of node {node.name()!r} ({node.type()}) is not known; give "
                f"it as inputs_dims={{{node.name()!r}: [[...]]}}, or call forward_dims first"
            )
    low = lower(view, feeds, kinds.pop() if len(kinds) == 1 else None)
    graph = low.graph
    trained = {n for n, p in graph.producers.items() if p.role == "parameter"}
    for name, tensor in {**low.params, **low.buffers}.items():
        if not tensor.has_data():
            raise GraphViewError(f"Producer {name!r} has no data: call set_backend, and fill it")
        graph.producers[name].data = np.array(tensor.cell.read())
        if low.owners[name].get_operator().attr.constant and name in trained:
            graph.producers[name].role = "constant"
    return graph


# ---- coverage ---------------------------------------------------------------------------------------------


def has_native_coverage(graph: GraphView) -> bool:
    """Can every node be computed here?  A GenericOperator that was given no implementation cannot."""
    return all(_is_native(n) for n in graph.get_nodes())


def _is_native(node: AidgeNode) -> bool:
    return bool(node.get_operator().has_formula)


def native_coverage_report(graph: GraphView) -> tuple[dict[str, int], dict[str, int]]:
    """({type: how often} of what is native, the same of GenericOperators), printed as well."""
    found: dict[str, int] = {}
    generic = {n.type() for n in graph.get_nodes() if not _is_native(n)}
    for n in graph.get_ordered_nodes():
        found[n.type()] = found.get(n.type(), 0) + 1
    for kind, count in sorted(found.items()):
        print(f"{kind:24} {count:5} {'generic' if kind in generic else 'native'}")
    native = {k: n for k, n in found.items() if k not in generic}
    return native, {k: n for k, n in found.items() if k in generic}


def check_onnx_validity(onnx_model: Any) -> bool:
    """Does onnx's checker accept it?"""
    try:
        model = onnx.load(onnx_model) if isinstance(onnx_model, str | os.PathLike) else onnx_model
        onnx.checker.check_model(model)
    except (OSError, onnx.checker.ValidationError, AidgeJaxError):
        return False
    return True
