"""Targets: which operators, in which form, a runtime or a compiler takes.

A target is a table {operator: None, or a check}.  A check is a function of (node, graph) that returns why the node is
outside all the same, or None.  To write one for a device of yours:

    def one_output(node, graph):
        return "has two outputs" if len(node.output_names) > 1 else None

    mine = Target("mine", {"Conv": None, "Relu": None, "MaxPool": one_output, ...})
    onnxio.outside(model, mine)                   # [(node, operator, reason)]
    onnxio.write_step(graph, None, "step.onnx", ..., target=mine)

Sources: ONNX Runtime's js/web/docs/webnn-operators.md and webgpu-operators.md (operators and comments, as published
for ONNX Runtime 1.19 and 1.20), and for "elementary" the list of 22 that onnxsim 0.8.1 keeps its gradients to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from onnx import ModelProto

from ...errors import SettingError
from ...graph import Graph, Node
from ...interpreter.shape_inference import infer_shapes
from ..importer.reader import read

Check = Callable[[Node, Graph], str | None]
Found = list[tuple[str, str, str]]


@dataclass(frozen=True)
class Target:
    """name, for messages; operators: {name: check or None}.

    with_forward: operators of the model's own forward pass are inside as well.
    """

    name: str
    operators: Mapping[str, Check | None]
    with_forward: bool = False


def outside(model: ModelProto | Graph | str | os.PathLike, target: str | Target | Iterable[str]) -> Found:
    """[(node, operator, reason)] of what `target` does not take; empty where all is inside."""
    graph = (
        model
        if isinstance(model, Graph)
        else read(model.SerializeToString() if isinstance(model, ModelProto) else model)
    )
    graph = infer_shapes(graph)
    return outside_graph(graph, target_named(target))


def outside_graph(graph: Graph, target: Target) -> Found:
    """The same of a graph whose shapes are known, and a target that was looked up."""
    found = [(n.name, n.op, reason) for n in graph.nodes if (reason := reason_against(n, graph, target)) is not None]
    for n in graph.nodes:
        for body in (v for v in n.attrs.values() if isinstance(v, Graph)):
            found += outside_graph(body, target)
    return found


def reason_against(node: Node, graph: Graph, target: Target) -> str | None:
    """Why the target does not take the node; None where it does."""
    if node.domain or node.op not in target.operators:
        return f"{target.name} has no {node.domain + '::' if node.domain else ''}{node.op}"
    check = target.operators[node.op]
    return check(node, graph) if check is not None else None


def target_named(
    target: str | Target | Iterable[str] | Mapping[str, Check | None], forward: Graph | None = None
) -> Target:
    """A Target of a name, a table, or a set of operators' names.

    forward: the graph whose own operators a target `with_forward` takes as well.
    """
    if isinstance(target, str):
        if target not in TARGETS:
            raise SettingError(f"target is {target!r}; expected one of {', '.join(map(repr, TARGETS))}, or a table")
        target = TARGETS[target]
    if isinstance(target, Mapping):
        target = Target("given", dict(target))
    if not isinstance(target, Target):
        target = Target("given", dict.fromkeys(target))
    if target.with_forward and forward is not None:
        own = {n.op: None for n in forward.nodes if "_Grad/" not in n.name}
        target = Target(target.name, {**own, **target.operators})
    return target


# ---- checks -------------------------------------------------------------------------------------------


def _rank(node: Node, graph: Graph, at: int = 0) -> int | None:
    operand = node.inputs[at] if at < len(node.inputs) else None
    return graph.value(operand).rank if isinstance(operand, str) else None


def one_output(node: Node, graph: Graph) -> str | None:
    return f"has {len(node.output_names)} outputs, and 1 is taken" if len(node.output_names) > 1 else None


def image_of_two_axes(node: Node, graph: Graph) -> str | None:
    rank = _rank(node, graph)
    return None if rank in (4, None) else f"its input has {rank} axes, and 4 are taken"


def image_of_few_axes(node: Node, graph: Graph) -> str | None:
    rank = _rank(node, graph)
    return None if rank in (3, 4, None) else f"its input has {rank} axes, and 3 or 4 are taken"


def inference_form(node: Node, graph: Graph) -> str | None:
    return "is in training mode" if node.attrs.get("training_mode") else one_output(node, graph)


def pool(node: Node, graph: Graph) -> str | None:
    if node.attrs.get("count_include_pad") or node.attrs.get("storage_order"):
        return "count_include_pad and storage_order must be 0"
    return one_output(node, graph) or image_of_two_axes(node, graph)


def known_input(at: int) -> Check:
    """The input at this place must be a constant."""

    def check(node: Node, graph: Graph) -> str | None:
        operand = node.inputs[at] if at < len(node.inputs) else None
        if isinstance(operand, str) and operand not in graph.constants:
            return f"its input {operand!r} must be a constant, and is computed"
        return None

    return check


def slices_by_one(node: Node, graph: Graph) -> str | None:
    for at in range(1, 5):
        if reason := known_input(at)(node, graph):
            return reason
    steps = _numbers(node.inputs[4], graph) if len(node.inputs) > 4 else None
    return None if steps is None or set(steps) == {1} else f"its steps are {list(steps)}, and only 1 is taken"


def shape_without_zero(node: Node, graph: Graph) -> str | None:
    if reason := known_input(1)(node, graph):
        return reason
    sizes = _numbers(node.inputs[1], graph)
    return "a 0 in its shape is not taken" if sizes is not None and 0 in sizes else None


def vector_as_c(node: Node, graph: Graph) -> str | None:
    rank = _rank(node, graph, 2)
    return None if rank in (1, None) else f"its C has {rank} axes, and 1 is taken"


def _numbers(operand: Any, graph: Graph) -> tuple[int, ...] | None:
    if isinstance(operand, tuple):
        return operand
    data = graph.constants.get(operand) if isinstance(operand, str) else None
    return None if data is None else tuple(int(k) for k in data.reshape(-1))


# ---- tables -------------------------------------------------------------------------------------------

_EVERYWHERE = """Abs Add ArgMax ArgMin Cast Ceil Clip Concat Cos Div Elu Equal Erf Exp Flatten Floor Gather Greater
GreaterOrEqual LeakyRelu Less LessOrEqual Log MatMul Mul Neg Not Pow Reciprocal ReduceL1 ReduceL2 ReduceLogSum
ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Sigmoid Sin Softmax Split Sqrt
Squeeze Sub Tan Tanh Transpose Unsqueeze Where""".split()
_WEBNN = """Gelu HardSigmoid HardSwish Identity InstanceNormalization Max Min Pad PRelu Shape Softplus Softsign
Trilu""".split()
_WEBGPU = """Acos Acosh Asin Asinh Atan Atanh Cosh Einsum Expand GatherElements Gemm GlobalAveragePool GlobalMaxPool If
InstanceNormalization Pad Range Reshape Resize Shape Sinh Slice ThresholdedRelu Tile""".split()

TARGETS = {
    "webnn": Target(
        "webnn",
        {
            **dict.fromkeys((*_EVERYWHERE, *_WEBNN)),
            "AveragePool": pool,
            "BatchNormalization": inference_form,
            "Conv": image_of_few_axes,
            "ConvTranspose": image_of_few_axes,
            "Dropout": one_output,
            "Expand": known_input(1),
            "Gemm": vector_as_c,
            "GlobalAveragePool": image_of_two_axes,
            "GlobalMaxPool": image_of_two_axes,
            "LayerNormalization": one_output,
            "MaxPool": pool,
            "Reshape": shape_without_zero,
            "Slice": slices_by_one,
        },
    ),
    "webgpu": Target(
        "webgpu",
        {
            **dict.fromkeys((*_EVERYWHERE, *_WEBGPU)),
            "AveragePool": image_of_few_axes,
            "BatchNormalization": inference_form,
            "Conv": image_of_few_axes,
            "ConvTranspose": image_of_few_axes,
            "LayerNormalization": one_output,
            "MaxPool": one_output,
        },
    ),
    "elementary": Target(
        "elementary",
        dict.fromkeys(
            """Abs Add Cast Clip Div Exp Gather Greater Identity Less MatMul Mul Neg Pow ReduceMean ReduceSum Reshape
            Sigmoid Sign Sqrt Sub Transpose""".split()
        ),
        with_forward=True,
    ),
}
