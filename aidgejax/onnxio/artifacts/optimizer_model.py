"""Optimizers as models: aidgejax.optim's rules in standard ONNX operators, or in the nodes of ONNX Runtime training.

optimizer_graph(rule, parameters)
    learning_rate, step, p, p_grad, p_momentum0, p_momentum1 -> p_out, p_momentum0_out, p_momentum1_out, step_out
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ...graph import Builder, Graph, Value
from ...interpreter.shape_inference import infer_shapes
from ...passes.gradient import grad_name
from ..exporter.opset_downgrade import at_opset
from ..exporter.writer import IR_OF_OPSET

# rule: (how many moments, the node of ONNX Runtime's training build)
RULES = {"adamw": (2, "AdamWOptimizer"), "sgd": (0, "SGDOptimizerV2")}


def optimizer_graph(
    rule: str, parameters: Mapping[str, Value], *, max_norm: float | None = None, **settings: Any
) -> Graph:
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


def _adamw(
    op: Any,
    rate: Value,
    step: Value,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-6,
    weight_decay: float = 0.0,
    bias_correction: str = "rate",
    decay: str = "after",
) -> Callable[..., tuple]:
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


def optimizer_model(
    rule: str, parameters: Mapping[str, Value], *, opset: int | None = None, **settings: Any
) -> ModelProto:
    """optimizer_graph as a model of standard operators."""
    return at_opset(optimizer_graph(rule, parameters, **settings), opset or 13)[0]


def ort_optimizer_model(
    rule: str,
    opset: int,
    *,
    max_norm: float | None = None,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-6,
    weight_decay: float = 0.0,
    bias_correction: str = "rate",
    decay: str = "after",
) -> ModelProto:
    """The optimizer in ONNX Runtime's own nodes, over sequences of all parameters."""
    moments, op_type = RULES[rule]
    names = ["params", "gradients", "first_order_moments", "second_order_moments"][: 2 + max(moments, 1)]
    sequence = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    inputs = [
        helper.make_tensor_value_info("learning_rate", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("step", TensorProto.INT64, [1]),
        *(helper.make_value_info(n, sequence) for n in names),
    ]
    nodes, gradients = [], "gradients"
    if max_norm is not None:
        gradients = "clipped_gradients"
        nodes.append(
            helper.make_node(
                "InplaceClipGradNorm",
                ["gradients"],
                [gradients],
                domain="com.microsoft",
                name="InplaceClipGradNorm",
                max_norm=float(max_norm),
            )
        )
    attrs: dict[str, Any] = {}
    if rule == "adamw":
        attrs = {
            "alpha": beta1,
            "beta": beta2,
            "epsilon": epsilon,
            "weight_decay": weight_decay,
            "correct_bias": int(bias_correction != "none"),
            "adam_mode": int(decay == "after"),
        }
    operands = ["learning_rate", "params", gradients]
    if rule == "adamw":
        operands = ["learning_rate", "step", "params", gradients, *names[2:]]
    nodes.append(helper.make_node(op_type, operands, ["updated"], domain="com.microsoft", name=op_type, **attrs))
    done = helper.make_tensor_value_info("updated", TensorProto.BOOL, [1])
    body = helper.make_graph(nodes, "optimizer", inputs, [done])
    opset = min(opset, 21)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(
        body,
        opset_imports=imports,
        ir_version=min(10, next(ir for top, ir in IR_OF_OPSET if opset <= top)),
        producer_name="aidgejax",
    )


def read_ort_optimizer(model: ModelProto) -> tuple[str, dict[str, Any]] | None:
    """(rule, settings) of an optimizer model in ONNX Runtime's own nodes; None where it has none of them."""
    by_type = {
        n.op_type: {a.name: helper.get_attribute_value(a) for a in n.attribute}
        for n in model.graph.node
        if n.domain == "com.microsoft"
    }
    settings: dict[str, Any] = {}
    if (clip := by_type.get("InplaceClipGradNorm")) is not None:
        settings["max_norm"] = round(clip.get("max_norm", 1.0), 7)
    if "SGDOptimizerV2" in by_type:
        return "sgd", settings
    if "AdamWOptimizer" not in by_type:
        return None
    attrs = by_type["AdamWOptimizer"]
    hugging_face = attrs.get("adam_mode", 0) == 1
    settings |= {
        "beta1": attrs.get("alpha", 0.9),
        "beta2": attrs.get("beta", 0.999),
        "epsilon": attrs.get("epsilon", 1e-8),
        "weight_decay": attrs.get("weight_decay", 0.01),
        "decay": "after" if hugging_face else "before",
    }
    corrects = attrs.get("correct_bias", 1)
    settings["bias_correction"] = "none" if not corrects else "rate" if hugging_face else "moments"
    return "adamw", {k: round(v, 9) if isinstance(v, float) else v for k, v in settings.items()}
