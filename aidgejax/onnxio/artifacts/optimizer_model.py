"""Optimizers as models: an optimizer's rule in standard ONNX operators, or in the nodes of ONNX Runtime training.

optimizer_model(rule, parameters)
    learning_rate, step, p, p_grad, p_momentum0, p_momentum1 -> p_out, p_momentum0_out, p_momentum1_out, step_out
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ...passes.optimizer_graph import MASTER, Rule, optimizer_graph
from ..exporter.opset_downgrade import at_opset
from ..exporter.writer import IR_OF_OPSET
from .bfloat16 import computed_in_float32

# rule: (how many moments, the node of ONNX Runtime's training build)
ORT_RULES = {"adamw": (2, "AdamWOptimizer"), "sgd": (0, "SGDOptimizerV2")}


def optimizer_model(
    rule: Rule, parameters: Mapping[str, tuple[tuple[int, ...], Any]], *, opset: int | None = None
) -> ModelProto:
    """One update of all parameters as `rule`, one of training.optim's optimizers, computes it.

    parameters: {name: (shape, dtype)}.  Inputs learning_rate f[] and step i64[1] (of this update, from 1; 0 means 1
    too); for each parameter p, p_grad and p_momentum0, p_momentum1 ... as many as the rule remembers, and p_master,
    the float32 weights of a 16-bit parameter: zeros before the first update.  Outputs p_out, p_momentum0_out ..., and
    at the end step_out.  Raises GraphError where the rule uses what has no form as a node.
    """
    like = {p: np.zeros(shape, dtype) for p, (shape, dtype) in parameters.items()}
    made = optimizer_graph(rule, like, counter="step", counter_type=("int64", True), name_of=_name)
    graph = made.graph
    own = {p: [p, *(s.name for s in made.state if s.parameter == p)] for p in parameters}
    shared = [s.name for s in made.state if s.parameter is None]
    graph.outputs = [f"{n}_out" for n in (*(n for names in own.values() for n in names), *shared, "step")]
    return computed_in_float32(at_opset(graph, opset or 13)[0])


def _name(parameter: str | None, field: str, k: int) -> str:
    if parameter is None:
        return f"optimizer_{field.replace('.', '_')}"
    return f"{parameter}_master" if field == MASTER else f"{parameter}_momentum{k}"


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
    moments, op_type = ORT_RULES[rule]
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
