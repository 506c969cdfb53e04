"""Training artifacts: a training and an evaluation model that any ONNX runtime executes; see optimizer_model.py too.

    training_model(base, loss, trainable, frozen)
        user inputs, parameters, <p>_grad.accumulation.buffer, lazy_reset_grad
        -> loss, <p>_grad.accumulation.out, <b>.updated
    evaluation_model(base, loss, trainable, frozen)
        user inputs, parameters -> loss

`base` holds the forward pass and the loss.  The gradient is passes.gradient's, decomposed in standard operators;
BatchNormalization trains in elementary operators, since plain onnxruntime computes its training mode wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ...graph import Builder, Graph, Node, Value
from ...interpreter.shape_inference import infer_shapes
from ...ops import lookup
from ...passes.gradient import grad_name
from ...passes.joint import make_joint
from ...passes.mode import normalized
from ...passes.rewrite import replace_nodes
from ..exporter.decompose import decomposed
from ..exporter.deduplicate import deduplicated
from ..exporter.opset_downgrade import at_opset
from ..external_data import detached
from .bfloat16 import computed_in_float32
from .convolution_gradients import FORMS
from .custom_ops import Foreign
from .label_shapes import read_with_label_shapes

RESET = "lazy_reset_grad"


def buffer_name(parameter: str) -> str:
    return f"{grad_name(parameter)}.accumulation.buffer"


def accumulated_name(parameter: str) -> str:
    return f"{grad_name(parameter)}.accumulation.out"


def updated_name(buffer: str) -> str:
    """The output that holds the next value of a running statistic."""
    return f"{buffer}.updated"


# ---- training and evaluation --------------------------------------------------------------------------


def training_model(
    base: ModelProto,
    loss: str,
    trainable: Sequence[str],
    frozen: Sequence[str] = (),
    extra: Sequence[str] = (),
    *,
    tail: str = "standard",
) -> ModelProto:
    """The model that computes the loss and adds the gradients to what is handed in.

    trainable, frozen: initializers of base that become inputs; what is in neither list stays in the model.
    extra: tensors to output beside the loss.
    tail: "standard", or "onnxruntime-training": gradients and running statistics end in com.microsoft's
        InPlaceAccumulatorV2, which writes into its input; the outputs say only that it is done.
    Raises GraphError or NoGradientRule, each naming the parameter or the node.
    """
    foreign = Foreign(detached(base), (loss, *extra))
    graph = _with_roles(read_with_label_shapes(foreign.rest), trainable, frozen)
    foreign.check_gradient(graph, trainable, loss)
    graph = training_graph(graph, loss, trainable, frozen, foreign.numbers((*extra, *foreign.reads)), tail=tail)
    model = _as_inputs(_plain(graph, opset_of(base)), base, (*trainable, *frozen))
    if tail == "onnxruntime-training":
        model = _with_accumulators(model, trainable)
    elif not foreign.nodes:
        model = computed_in_float32(model)
    return foreign.rejoined(model)


def evaluation_model(
    base: ModelProto, loss: str, trainable: Sequence[str], frozen: Sequence[str] = (), extra: Sequence[str] = ()
) -> ModelProto:
    """The model that computes the loss as inference does: running statistics, no dropout."""
    foreign = Foreign(detached(base), (loss, *extra))
    graph = _with_roles(read_with_label_shapes(foreign.rest), trainable, frozen)
    graph = evaluation_graph(graph, loss, foreign.numbers((*extra, *foreign.reads)))
    model = _as_inputs(_plain(graph, opset_of(base)), base, (*trainable, *frozen))
    model = _in_plain_inference_mode(model)
    return foreign.rejoined(model if foreign.nodes else computed_in_float32(model))


def _in_plain_inference_mode(model: ModelProto) -> ModelProto:
    """Say it where a default would: Dropout's third input is there and empty, training_mode is 0."""
    for node in model.graph.node:
        if node.op_type == "Dropout":
            node.input.extend([""] * (3 - len(node.input)))
        elif node.op_type == "BatchNormalization" and opset_of(model) >= 14:
            if not any(a.name == "training_mode" for a in node.attribute):
                node.attribute.append(helper.make_attribute("training_mode", 0))
    return model


def training_graph(
    graph: Graph,
    loss: str,
    trainable: Sequence[str],
    frozen: Sequence[str] = (),
    extra: Sequence[str] = (),
    *,
    tail: str = "standard",
) -> Graph:
    """The graph with its gradient appended; parameters are still producers of it."""
    whole = _with_outputs(infer_shapes(normalized(_with_batch_statistics(graph))), (loss, *extra))
    statistics = _next_statistics(whole, frozen)
    whole, found = make_joint(whole, loss, trainable)
    if tail == "standard":
        for p in trainable:
            like = whole.value(p)
            whole.input(buffer_name(p), like.shape, like.dtype or "float32")
        whole.input(RESET, (1,), "bool")
    for p, g in found.items():
        whole.output(_accumulated(whole, p, g) if tail == "standard" else g)
    for buffer, value in statistics.items():
        whole.add("Identity", [value], names=[updated_name(buffer)], name=f"{updated_name(buffer)}/Identity")
        whole.output(updated_name(buffer))
    whole.prune()
    return whole


def evaluation_graph(graph: Graph, loss: str, extra: Sequence[str] = ()) -> Graph:
    """The graph as it infers: BatchNormalization with its running statistics, Dropout as the identity."""
    copy = graph.copy()
    readers = graph.readers()
    for k, node in enumerate(graph.nodes):
        if node.op == "BatchNormalization":
            attrs = {a: v for a, v in node.attrs.items() if a != "training_mode"}
            copy.nodes[k] = node.replace(attrs=attrs, outputs=node.outputs[:1])
            _pass_on(copy, node, readers)
        elif node.op == "Dropout":
            unread = len(node.outputs) < 2 or node.outputs[1] not in {*readers, loss, *extra}
            copy.nodes[k] = node.replace(inputs=node.inputs[:2], outputs=node.outputs[: 1 if unread else 2])
    return _with_outputs(copy, (loss, *extra))


def _pass_on(graph: Graph, node: Node, readers: Mapping[str, Any]) -> None:
    """Who reads a statistic that training would have updated gets the one that went in."""
    for value, source in zip(node.outputs[1:3], node.inputs[3:5], strict=False):
        if value in readers or value in graph.outputs:
            at = next(k for k, n in enumerate(graph.nodes) if n.name == node.name)
            graph.nodes.insert(at + 1, Node("Identity", (source,), (value,), {}, f"{node.name}/{value}"))


def _with_roles(graph: Graph, trainable: Sequence[str], frozen: Sequence[str]) -> Graph:
    copy = graph.copy()
    for name, p in copy.producers.items():
        floating = p.value.is_float
        p.role = "parameter" if name in trainable else "buffer" if name in frozen and floating else "constant"
    return copy


def _with_batch_statistics(graph: Graph) -> Graph:
    """BatchNormalization as it trains; Dropout is left as the model says."""
    return graph.map_nodes(
        lambda n: n.replace(attrs={**n.attrs, "training_mode": 1}) if n.op == "BatchNormalization" else n
    )


def _with_outputs(graph: Graph, outputs: Iterable[str]) -> Graph:
    copy = graph.copy()
    copy.outputs = []
    for o in dict.fromkeys(outputs):
        copy.output(o)
    copy.prune()
    return copy


def _next_statistics(graph: Graph, frozen: Sequence[str]) -> dict[str, str]:
    """{running statistic that is handed in: the tensor that is its next value}"""
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.op == "BatchNormalization":
            for i, o in lookup(node.op).updates.items():
                if node.inputs[i] in frozen and (value := node.outputs[o]) is not None:
                    found[node.inputs[i]] = value
    return found


def _accumulated(graph: Graph, parameter: str, gradient: str) -> str:
    """reset ? gradient : buffer + gradient.  Nothing of the buffer gets through a reset, not even NaN."""
    name = accumulated_name(parameter)
    op = Builder(graph, f"{grad_name(parameter)}.accumulation/")
    total = op.Add(buffer_name(parameter), gradient)
    reset = RESET if graph.value(parameter).rank else op.Squeeze(RESET, (0,))
    graph.add("Where", [reset, gradient, total], names=[name], name=f"{name}/Where")
    return name


# ---- from a graph to a model --------------------------------------------------------------------------


def opset_of(model: ModelProto) -> int:
    """The opset of the default domain."""
    return next((i.version for i in model.opset_import if i.domain in ("", "ai.onnx")), 0)


def _plain(graph: Graph, opset: int) -> ModelProto:
    """The graph in standard operators, in this opset where that is possible."""
    copy = infer_shapes(replace_nodes(_as_trained(graph), lambda node: FORMS.get(node.op)))
    copy.prune()
    copy = copy.copy()
    copy.metadata = {}
    return at_opset(copy, opset)[0]


def for_onnxruntime(graph: Graph) -> Graph:
    """A joint graph in standard operators, each in the form that plain onnxruntime computes correctly, and fast."""
    return decomposed(infer_shapes(_as_trained(graph)))


def _as_trained(graph: Graph) -> Graph:
    rectified = {f"{n.name}_Grad/Where" for n in graph.nodes if n.op == "Relu"}
    return replace_nodes(graph, partial(_of_training, rectified))


def _of_training(rectified: Collection[str], node: Node) -> Callable[..., Any] | None:
    """How onnxruntime computes a node correctly, or faster.  rectified: nodes that let a gradient through, or 0."""
    if node.op == "Where" and node.name in rectified:  # a product takes half the time of a choice
        return lambda op, condition, dy, zero: op.Mul(dy, op.CastLike(condition, dy))
    if node.op == "SoftmaxCrossEntropyLossGrad" and _is_plain_mean(node):
        return _cross_entropy_grad
    if node.op != "BatchNormalization" or not node.attrs.get("training_mode"):
        return None
    operator = lookup(node.op)
    decompose = operator.decompose
    if decompose is None:
        return None

    def write(op: Any, *inputs: Any, **attributes: Any) -> Any:
        return decompose(op, *operator.pad_inputs(inputs), **{**operator.attributes, **attributes})

    return write


def _is_plain_mean(node: Node) -> bool:
    return (
        not any(node.inputs[3:])
        and node.attrs.get("ignore_index") is None
        and node.attrs.get("reduction", "mean") == "mean"
    )


def _cross_entropy_grad(op: Any, d_loss: Value, logp: Value, labels: Value, weights: None = None, **how: Any) -> Any:
    """(softmax - onehot(label)) * d_loss / rows, where the number of rows is known: no row is counted."""
    shape, rows = logp.shape, labels.shape
    if shape is None or rows is None or not all(isinstance(d, int) for d in (*shape, *rows)):
        return op.SoftmaxCrossEntropyLossGrad(d_loss, logp, labels, **how)
    classes = np.arange(int(shape[1] or 0), dtype=np.int64).reshape(-1, *[1] * (len(shape) - 2))
    column = op.Unsqueeze(op.Cast(labels, to=TensorProto.INT64), (1,))
    hot = op.CastLike(op.Equal(column, classes), logp)
    share = op.Div(d_loss, float(np.prod([d for d in rows if isinstance(d, int)])))
    return op.Mul(op.Sub(op.Exp(logp), hot), share)


def _as_inputs(model: ModelProto, base: ModelProto, names: Sequence[str]) -> ModelProto:
    """Initializers turned into inputs, after the model's own and before those of the accumulation."""
    deduplicated(model, names)
    del model.metadata_props[:]  # roles of what is an input now
    wanted = [t for t in base.graph.initializer if t.name in set(names)]
    kept = [t for t in model.graph.initializer if t.name not in set(names)]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    inputs = {i.name: i for i in model.graph.input}
    ours = [inputs.pop(n) for n in (*map(buffer_name, (t.name for t in wanted)), RESET) if n in inputs]
    late = [inputs.pop(n) for n in list(inputs) if n.endswith("_grad.accumulation.buffer")]
    mine = {i.name for i in base.graph.input}
    infos = [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in wanted if t.name not in mine]
    inputs = {n: i for n, i in inputs.items() if n in mine or n not in {t.name for t in wanted}}
    reset = [i for i in ours if i.name == RESET]
    ours = [i for i in ours if i.name != RESET]
    del model.graph.input[:]
    model.graph.input.extend([*inputs.values(), *infos, *ours, *late, *reset])
    order = {accumulated_name(i.name): k for k, i in enumerate(model.graph.input)}
    outputs = sorted(
        model.graph.output,
        key=lambda o: order.get(o.name, -1 if o.name not in order and not o.name.endswith(".updated") else len(order)),
    )
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    onnx.checker.check_model(model, full_check=True)
    return model


def _with_accumulators(model: ModelProto, trainable: Sequence[str]) -> ModelProto:
    """The tail of ONNX Runtime's training build."""
    body = model.graph
    inputs = {i.name: i for i in body.input}
    trainable = [n for n in inputs if n in trainable]
    gradients = {grad_name(p): p for p in trainable}
    statistics = [o.name for o in body.output if o.name.removesuffix(".updated") in inputs and o.name not in inputs]
    outputs = [o for o in body.output if o.name not in gradients and o.name not in statistics]
    if statistics:
        body.initializer.append(numpy_helper.from_array(np.array([True]), "statistics.overwrite"))
    for name in statistics:  # in place, as the gradients are
        body.node.append(
            helper.make_node(
                "InPlaceAccumulatorV2",
                [name.removesuffix(".updated"), name, "statistics.overwrite"],
                [f"{name}.done"],
                name=f"{name}/InPlaceAccumulatorV2",
                domain="com.microsoft",
            )
        )
    for p in trainable:
        info = onnx.ValueInfoProto()
        info.CopyFrom(inputs[p])
        info.name = buffer_name(p)
        body.input.append(info)
    body.input.append(helper.make_tensor_value_info(RESET, TensorProto.BOOL, [1]))
    for k, p in enumerate(trainable, start=len(outputs)):
        body.node.append(
            helper.make_node(
                "InPlaceAccumulatorV2",
                [buffer_name(p), grad_name(p), RESET],
                [accumulated_name(p)],
                name=f"GradientAccumulator{k}",
                domain="com.microsoft",
            )
        )
        outputs.append(helper.make_tensor_value_info(accumulated_name(p), TensorProto.BOOL, [1]))
    del body.output[:]
    body.output.extend(outputs)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model
