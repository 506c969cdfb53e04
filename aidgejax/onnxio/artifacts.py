"""Training artifacts: a training, an evaluation and an optimizer model that any ONNX runtime executes.

    training_model(base, loss, trainable, frozen)
        user inputs, parameters, <p>_grad.accumulation.buffer, lazy_reset_grad
        -> loss, <p>_grad.accumulation.out, <b>.updated
    evaluation_model(base, loss, trainable, frozen)
        user inputs, parameters -> loss
    optimizer_graph(rule, parameters)
        learning_rate, step, p, p_grad, p_momentum0, p_momentum1 -> p_out, p_momentum0_out, p_momentum1_out, step_out

`base` holds the forward pass and the loss.  The gradient is aidgejax.gradient's, spelled in standard operators;
BatchNormalization trains in elementary operators, since plain onnxruntime computes its training mode wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from ..gradient import grad_name, make_gradient
from ..graph import Builder, Graph, Node, Value
from ..lower import prepare
from ..ops import lookup
from ..walk import infer_shapes
from .foreign import Foreign
from .opset import at_opset
from .rewrite import respell
from .targets import read_with_targets
from .writer import IR_OF_OPSET

RESET = "lazy_reset_grad"
ONES_ARE_STORED = 1 << 10  # a larger loss (reduction "none") gets its ones from a node


def buffer_name(parameter: str) -> str:
    return f"{grad_name(parameter)}.accumulation.buffer"


def accumulated_name(parameter: str) -> str:
    return f"{grad_name(parameter)}.accumulation.out"


def updated_name(buffer: str) -> str:
    """The output that holds the next value of a running statistic."""
    return f"{buffer}.updated"


# ---- training and evaluation --------------------------------------------------------------------------


def training_model(base: ModelProto, loss: str, trainable: Sequence[str], frozen: Sequence[str] = (),
                   extra: Sequence[str] = (), *, tail: str = "standard") -> ModelProto:
    """The model that computes the loss and adds the gradients to what is handed in.

    trainable, frozen: initializers of base that become inputs; what is in neither list stays in the model.
    extra: tensors to output beside the loss.
    tail: "standard", or "onnxruntime-training": gradients end in com.microsoft's InPlaceAccumulatorV2, whose outputs
        say only that it is done, and running statistics stay as they are.
    Raises GraphError or NoGradientRule, each naming the parameter or the node.
    """
    foreign = Foreign(base, (loss, *extra))
    graph = _with_roles(read_with_targets(foreign.rest), trainable, frozen)
    foreign.check_gradient(graph, trainable, loss)
    graph = training_graph(graph, loss, trainable, frozen, (*extra, *foreign.reads), tail=tail)
    model = _as_inputs(_plain(graph, opset_of(base)), base, (*trainable, *frozen))
    if tail == "onnxruntime-training":
        model = _with_accumulators(model, trainable)
    return foreign.rejoined(model)


def evaluation_model(base: ModelProto, loss: str, trainable: Sequence[str], frozen: Sequence[str] = (),
                     extra: Sequence[str] = ()) -> ModelProto:
    """The model that computes the loss as inference does: running statistics, no dropout."""
    foreign = Foreign(base, (loss, *extra))
    graph = _with_roles(read_with_targets(foreign.rest), trainable, frozen)
    graph = evaluation_graph(graph, loss, (*extra, *foreign.reads))
    return foreign.rejoined(_as_inputs(_plain(graph, opset_of(base)), base, (*trainable, *frozen)))


def training_graph(graph: Graph, loss: str, trainable: Sequence[str], frozen: Sequence[str] = (),
                   extra: Sequence[str] = (), *, tail: str = "standard") -> Graph:
    """The graph with its gradient appended; parameters are still producers of it."""
    whole = _with_outputs(infer_shapes(prepare(_with_batch_statistics(graph))), (loss, *extra))
    statistics = _next_statistics(whole, frozen) if tail == "standard" else {}
    gradient = make_gradient(whole, [loss], trainable)
    written = {o for n in whole.nodes for o in n.output_names}
    for p in gradient.producers.values():
        if not whole.has(p.name):
            whole.constant(p.name, p.data)
    _start_of_gradient(whole, whole.value(loss))
    for node in gradient.nodes:
        if not written.intersection(node.output_names):  # metadata that is computed again is the forward's
            whole.nodes.append(node)
            whole.values |= {o: gradient.values[o] for o in node.output_names}
    found = dict(zip(trainable, gradient.outputs, strict=True))
    if tail == "standard":
        for p in trainable:
            like = whole.value(p)
            whole.input(buffer_name(p), like.shape, like.dtype)
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
    twin = graph.copy()
    readers = graph.readers()
    for k, node in enumerate(graph.nodes):
        if node.op == "BatchNormalization":
            attrs = {a: v for a, v in node.attrs.items() if a != "training_mode"}
            twin.nodes[k] = replace(node, attrs=attrs, outputs=node.outputs[:1])
            _pass_on(twin, node, readers)
        elif node.op == "Dropout":
            unread = len(node.outputs) < 2 or node.outputs[1] not in {*readers, loss, *extra}
            twin.nodes[k] = replace(node, inputs=node.inputs[:2], outputs=node.outputs[:1 if unread else 2])
    return _with_outputs(twin, (loss, *extra))


def _pass_on(graph: Graph, node: Node, readers: Mapping[str, Any]) -> None:
    """Who reads a statistic that training would have updated gets the one that went in."""
    for value, source in zip(node.outputs[1:3], node.inputs[3:5], strict=False):
        if value in readers or value in graph.outputs:
            at = next(k for k, n in enumerate(graph.nodes) if n.name == node.name)
            graph.nodes.insert(at + 1, Node("Identity", (source,), (value,), {}, f"{node.name}/{value}"))


def _with_roles(graph: Graph, trainable: Sequence[str], frozen: Sequence[str]) -> Graph:
    twin = graph.copy()
    for name, p in twin.producers.items():
        floating = p.value.is_float
        p.role = "parameter" if name in trainable else "buffer" if name in frozen and floating else "constant"
    return twin


def _with_batch_statistics(graph: Graph) -> Graph:
    """BatchNormalization as it trains; Dropout is left as the model says."""
    twin = graph.copy()
    twin.nodes = [replace(n, attrs={**n.attrs, "training_mode": 1}) if n.op == "BatchNormalization" else n
                  for n in graph.nodes]
    return twin


def _with_outputs(graph: Graph, outputs: Iterable[str]) -> Graph:
    twin = graph.copy()
    twin.outputs = []
    for o in dict.fromkeys(outputs):
        twin.output(o)
    twin.prune()
    return twin


def _next_statistics(graph: Graph, frozen: Sequence[str]) -> dict[str, str]:
    """{running statistic that is handed in: the tensor that is its next value}"""
    found = {}
    for node in graph.nodes:
        if node.op == "BatchNormalization":
            for i, o in lookup(node.op).updates.items():
                if node.inputs[i] in frozen:
                    found[node.inputs[i]] = node.outputs[o]
    return found


def _start_of_gradient(graph: Graph, loss: Value) -> None:
    """d loss / d loss: ones.  A loss of many numbers is differentiated as their sum."""
    seed = grad_name(loss.name)
    if all(isinstance(d, int) for d in loss.shape) and np.prod(loss.shape) <= ONES_ARE_STORED:
        graph.constant(seed, np.ones(loss.shape, loss.dtype))
    else:
        zeros = Builder(graph, f"{seed}/").ZerosLike(loss)
        graph.add("Add", [zeros, 1.0], names=[seed], name=f"{seed}/Add")


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
    graph = respell(graph, _of_training)
    graph = infer_shapes(graph)
    graph.prune()
    twin = graph.copy()
    twin.metadata = {}
    model, lowered = at_opset(twin, opset)
    if not lowered:
        warnings.warn(f"the model's opset is {opset}, and its artifacts are written in opset {opset_of(model)}, the "
                      f"lowest that has every operator of them", UserWarning, stacklevel=4)
    return model


def _of_training(node: Node) -> Callable[..., Any] | None:
    if node.op != "BatchNormalization" or not node.attrs.get("training_mode"):
        return None
    operator = lookup(node.op)

    def spell(op: Any, *inputs: Any, **attributes: Any) -> Any:
        return operator.decompose(op, *operator.pad_inputs(inputs), **{**operator.attributes, **attributes})

    return spell


def _as_inputs(model: ModelProto, base: ModelProto, names: Sequence[str]) -> ModelProto:
    """Initializers turned into inputs, after the model's own and before those of the accumulation."""
    wanted = [t for t in base.graph.initializer if t.name in set(names)]
    kept = [t for t in model.graph.initializer if t.name not in set(names)]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    inputs = {i.name: i for i in model.graph.input}
    ours = [inputs.pop(n) for n in (*map(buffer_name, (t.name for t in wanted)), RESET) if n in inputs]
    late = [inputs.pop(n) for n in list(inputs) if n.endswith("_grad.accumulation.buffer")]
    infos = [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in wanted if t.name not in inputs]
    reset = [i for i in ours if i.name == RESET]
    ours = [i for i in ours if i.name != RESET]
    del model.graph.input[:]
    model.graph.input.extend([*inputs.values(), *infos, *ours, *late, *reset])
    order = {accumulated_name(i.name): k for k, i in enumerate(model.graph.input)}
    outputs = sorted(model.graph.output, key=lambda o: order.get(o.name, -1 if o.name not in order and not
                                                                 o.name.endswith(".updated") else len(order)))
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
    outputs = [o for o in body.output if o.name not in gradients]
    for p in trainable:
        info = onnx.ValueInfoProto()
        info.CopyFrom(inputs[p])
        info.name = buffer_name(p)
        body.input.append(info)
    body.input.append(helper.make_tensor_value_info(RESET, TensorProto.BOOL, [1]))
    for k, p in enumerate(trainable, start=len(outputs)):
        body.node.append(helper.make_node(
            "InPlaceAccumulatorV2", [buffer_name(p), grad_name(p), RESET], [accumulated_name(p)],
            name=f"GradientAccumulator{k}", domain="com.microsoft"))
        outputs.append(helper.make_tensor_value_info(accumulated_name(p), TensorProto.BOOL, [1]))
    del body.output[:]
    body.output.extend(outputs)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


# ---- optimizers ---------------------------------------------------------------------------------------

# rule: (how many moments, the node of ONNX Runtime's training build)
RULES = {"adamw": (2, "AdamWOptimizer"), "sgd": (0, "SGDOptimizerV2")}


def optimizer_graph(rule: str, parameters: Mapping[str, Value], *, max_norm: float | None = None,
                    **settings: Any) -> Graph:
    """One update of all parameters, as aidgejax.optim computes it.

    rule: "sgd", or "adamw" with settings beta1, beta2, epsilon, weight_decay, bias_correction and decay, as
        aidgejax.optim.adamw has them.  max_norm: gradients are first clipped to it, by their common norm.
    Inputs learning_rate f[] and step i64[1] (of this update, from 1; 0 means 1 too); for each parameter p, p_grad,
    p_momentum0 and p_momentum1 (adamw).  Outputs p_out, p_momentum0_out, p_momentum1_out, and at the end step_out.
    """
    graph = Graph("optimizer")
    op = Builder(graph)
    rate = graph.input("learning_rate", ())
    step = op.Max(graph.input("step", (1,), "int64"), np.ones(1, np.int64))
    grads = {}
    for name, like in parameters.items():
        graph.input(name, like.shape, like.dtype)
        grads[name] = graph.input(grad_name(name), like.shape, like.dtype)
        for k in range(RULES[rule][0]):
            graph.input(f"{name}_momentum{k}", like.shape, like.dtype)
    if max_norm is not None:
        grads = _clipped(op, grads, max_norm)
    update = _sgd() if rule == "sgd" else _adamw(op, rate, step, **settings)
    for name in parameters:
        own = Builder(graph, f"{name}/")
        moments = [f"{name}_momentum{k}" for k in range(RULES[rule][0])]
        results = update(own, graph.value(name), grads[name], *map(graph.value, moments), rate)
        for wanted, result in zip((name, *moments), results, strict=True):
            graph.add("Identity", [result], names=[f"{wanted}_out"], name=f"{wanted}_out/Identity")
            graph.output(f"{wanted}_out")
    (out,) = graph.add("Add", [step, np.ones(1, np.int64)], names=["step_out"], name="step_out/Add")
    graph.output(out)
    return infer_shapes(graph)


def _sgd() -> Callable[..., tuple]:
    def update(op: Any, p: Value, g: Value, rate: Value) -> tuple:
        return (op.Sub(p, op.Mul(rate, g)),)

    return update


def _adamw(op: Any, rate: Value, step: Value, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-6,
           weight_decay: float = 0.0, bias_correction: str = "rate", decay: str = "after") -> Callable[..., tuple]:
    speed = rate
    if bias_correction != "none":
        t = op.Squeeze(op.Cast(step, to=int(TensorProto.FLOAT)), (0,))
        first, second = _missing(op, beta1, t), _missing(op, beta2, t)
        speed = op.Div(op.Mul(rate, op.Sqrt(second)), first)

    def update(op: Any, p: Value, g: Value, m: Value, v: Value, rate: Value) -> tuple:
        m = op.Add(op.Mul(m, beta1), op.Mul(g, 1 - beta1))
        v = op.Add(op.Mul(v, beta2), op.Mul(op.Mul(g, g), 1 - beta2))
        root = op.Sqrt(v)
        if bias_correction == "moments":  # epsilon is corrected with them
            root = op.Div(root, op.Sqrt(second))
            move = op.Div(op.Mul(op.Div(rate, first), m), op.Add(root, epsilon))
        else:
            move = op.Div(op.Mul(speed, m), op.Add(root, epsilon))
        kept = op.Sub(1.0, op.Mul(rate, weight_decay)) if weight_decay else None
        if kept is not None and decay == "before":
            p = op.Mul(p, kept)
        p = op.Sub(p, move)
        return op.Mul(p, kept) if kept is not None and decay == "after" else p, m, v

    return update


def _missing(op: Any, beta: float, t: Value) -> Any:
    """1 - beta**t = 2 tanh(u) / (1 + tanh(u)), u = -t log(beta) / 2: keeps its digits when t is small."""
    if beta == 0:
        return op.Add(op.Mul(t, 0.0), 1.0)
    tanh = op.Tanh(op.Mul(t, -float(np.log(beta)) / 2))
    return op.Div(op.Mul(tanh, 2.0), op.Add(tanh, 1.0))


def _clipped(op: Any, grads: Mapping[str, Value], max_norm: float) -> dict[str, Value]:
    squares = [op.ReduceSum(op.Mul(g, g), keepdims=0) for g in grads.values()]
    total = squares[0]
    for s in squares[1:]:
        total = op.Add(total, s)
    factor = op.Min(op.Div(max_norm, op.Add(op.Sqrt(total), 1e-6)), np.ones((), np.float32))
    return {name: op.Mul(g, factor) for name, g in grads.items()}


def optimizer_model(rule: str, parameters: Mapping[str, Value], *, opset: int | None = None, **settings: Any
                    ) -> ModelProto:
    """optimizer_graph as a model of standard operators."""
    return at_opset(optimizer_graph(rule, parameters, **settings), opset or 13)[0]


def ort_optimizer_model(rule: str, opset: int, *, max_norm: float | None = None, beta1: float = 0.9,
                        beta2: float = 0.999, epsilon: float = 1e-6, weight_decay: float = 0.0,
                        bias_correction: str = "rate", decay: str = "after") -> ModelProto:
    """The optimizer in ONNX Runtime's own nodes, over sequences of all parameters."""
    moments, op_type = RULES[rule]
    names = ["params", "gradients", "first_order_moments", "second_order_moments"][:2 + max(moments, 1)]
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    inputs = [helper.make_tensor_value_info("learning_rate", TensorProto.FLOAT, [1]),
              helper.make_tensor_value_info("step", TensorProto.INT64, [1]),
              *(helper.make_value_info(n, sequence) for n in names)]
    nodes, gradients = [], "gradients"
    if max_norm is not None:
        gradients = "clipped_gradients"
        nodes.append(helper.make_node("InplaceClipGradNorm", ["gradients"], [gradients], domain="com.microsoft",
                                      name="InplaceClipGradNorm", max_norm=float(max_norm)))
    attrs: dict[str, Any] = {}
    if rule == "adamw":
        attrs = {"alpha": beta1, "beta": beta2, "epsilon": epsilon, "weight_decay": weight_decay,
                 "correct_bias": int(bias_correction != "none"), "adam_mode": int(decay == "after")}
    operands = ["learning_rate", "params", gradients]
    if rule == "adamw":
        operands = ["learning_rate", "step", "params", gradients, *names[2:]]
    nodes.append(helper.make_node(op_type, operands, ["updated"], domain="com.microsoft", name=op_type, **attrs))
    done = helper.make_tensor_value_info("updated", TensorProto.BOOL, [1] if rule == "adamw" else [])
    body = helper.make_graph(nodes, "optimizer", inputs, [done])
    opset = min(opset, 21)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(body, opset_imports=imports,
                             ir_version=min(10, next(ir for top, ir in IR_OF_OPSET if opset <= top)),
                             producer_name="aidgejax")


def read_ort_optimizer(model: ModelProto) -> tuple[str, dict[str, Any]] | None:
    """(rule, settings) of an optimizer model in ONNX Runtime's own nodes; None where it has none of them."""
    by_type = {n.op_type: {a.name: helper.get_attribute_value(a) for a in n.attribute} for n in model.graph.node
               if n.domain == "com.microsoft"}
    settings: dict[str, Any] = {}
    if (clip := by_type.get("InplaceClipGradNorm")) is not None:
        settings["max_norm"] = round(clip.get("max_norm", 1.0), 7)
    if "SGDOptimizerV2" in by_type:
        return "sgd", settings
    if "AdamWOptimizer" not in by_type:
        return None
    attrs = by_type["AdamWOptimizer"]
    hugging_face = attrs.get("adam_mode", 0) == 1
    settings |= {"beta1": attrs.get("alpha", 0.9), "beta2": attrs.get("beta", 0.999),
                 "epsilon": attrs.get("epsilon", 1e-8), "weight_decay": attrs.get("weight_decay", 0.01),
                 "decay": "after" if hugging_face else "before"}
    corrects = attrs.get("correct_bias", 1)
    settings["bias_correction"] = "none" if not corrects else "rate" if hugging_face else "moments"
    return "adamw", {k: round(v, 9) if isinstance(v, float) else v for k, v in settings.items()}
