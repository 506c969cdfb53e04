"""Which precision a node is to have, noted in its annotations `quantization.ptq`; and what can be quantized."""

from __future__ import annotations

from typing import Any

import jax

from ..aidge_core.dtypes import dtype, dtype_bit_width, is_integer
from ..aidge_core.errors import GraphViewError, OrderError
from ..aidge_core.graphview import GraphView
from ..aidge_core.node import Node
from ..aidge_core.recipes import fuse_batchnorm, remove_flatten
from ..aidge_core.recipes.surgery import bypass, checked
from .graphs import AFFINE

MERGING = frozenset(("Add", "Concat", "Sum"))
TRANSPARENT = frozenset(
    ("ReLU", "Flatten", "Reshape", "Identity", "Dropout", "GlobalAveragePooling", "Squeeze", "Unsqueeze", "Transpose")
) | frozenset(f"{p}{k}Pooling{d}D" for p in ("", "Padded") for k in ("Max", "Avg") for d in (1, 2, 3))
OWN = frozenset(("Producer", "Quantizer", "Dequantizer"))
PATH = "quantization.ptq"


def auto_assign_node_precision(
    graphview: GraphView, act_precision: dtype, weight_precision: dtype, bias_precision: dtype
) -> None:
    """Note these precisions on every node; quantize_network reads them, so this comes before."""
    for kind in (act_precision, weight_precision, bias_precision):
        if not isinstance(kind, dtype) or not is_integer(kind):
            raise GraphViewError(
                f"auto_assign_node_precision: expected an integer dtype such as dtype.int8, got {kind!r}"
            )
    for node in checked(graphview, "auto_assign_node_precision").execution_order():
        if node.type() == "Producer":
            continue
        _note(node, "precision", act_precision)
        if node.type() in AFFINE | MERGING:
            _note(node, "accumulationprecision", bias_precision)
        if node.type() in MERGING:
            _note(node, "isMerging", 0.0)
        for k, source in enumerate(node.sources[1:3], start=1):
            if node.type() in AFFINE and source is not None:
                _note(source.node, "precision", weight_precision if k == 1 else bias_precision)


def clear_all_node_precision(graphview: GraphView) -> None:
    """Take all these notes away."""
    for node in checked(graphview, "clear_all_node_precision").execution_order():
        if node.annotations().has_attr(PATH):
            node.annotations().del_attr(PATH)


def _note(node: Node, key: str, value: Any) -> None:
    node.annotations().set_attr(f"{PATH}.{key}", value)


def precision_of(node: Node) -> int:
    """The bits of a node.  Raises OrderError where none were noted."""
    if not node.annotations().has_attr(f"{PATH}.precision"):
        raise OrderError(
            f"node {node.name()!r} ({node.type()}) has no precision: call auto_assign_node_precision first"
        )
    return dtype_bit_width(node.annotations().get_attr(f"{PATH}.precision"))


def check_precision_tag(graphview: GraphView, verbose: bool = False) -> bool:
    """Has every layer its precision?"""
    missing = [
        n.name()
        for n in checked(graphview, "check_precision_tag").execution_order()
        if n.type() in AFFINE and not n.annotations().has_attr(f"{PATH}.precision")
    ]
    if verbose and missing:
        print(f"no precision: {', '.join(missing)}")
    return not missing


def unsupported(graph: GraphView) -> list[Node]:
    """The nodes whose operator this quantization does not know."""
    known = AFFINE | MERGING | TRANSPARENT | OWN
    return [n for n in graph.execution_order() if n.type() not in known]


def check_architecture(network: GraphView) -> bool:
    """Can quantize_network take this graph, once prepare_network has prepared it?"""
    ends = set(checked(network, "check_architecture").get_ordered_output_nodes())
    return all(n.type().startswith("BatchNorm") or (n.type() == "Softmax" and n in ends) for n in unsupported(network))


def pop_softmax(network: GraphView) -> None:
    """Take Softmaxes at the end out: they do not change which score is the largest."""
    for node in list(checked(network, "pop_softmax").get_ordered_output_nodes()):
        if node.type() == "Softmax" and node.sources[0] is not None:
            bypass(network, node)


def prepare_network(network: GraphView) -> None:
    """BatchNorms into the layers before them, Flattens in front of FCs and Softmaxes at the end away."""
    fuse_batchnorm(checked(network, "prepare_network"))
    remove_flatten(network)
    pop_softmax(network)


def quantizability_report(graphView: GraphView) -> None:  # noqa: N803
    """Print every node's type, and whether quantize_network knows it."""
    odd = set(unsupported(checked(graphView, "quantizability_report")))
    for node in graphView.execution_order():
        if node.type() != "Producer":
            print(f"{node.name():24} {node.type():24} {'not supported' if node in odd else 'supported'}")


def determine_backend(node: Node) -> str:
    """The backend of a node."""
    return node.get_operator().backend()


def is_cuda_available() -> bool:
    """Does JAX see a GPU?"""
    return any(d.platform in ("gpu", "cuda") for d in jax.devices())
