"""An optimizer over sequences of all parameters, as ONNX Runtime training lays it out, in standard ONNX operators.

learning_rate f[1], step i64[1], params, gradients, first_order_moments[, second_order_moments]
    -> updated bool[1], updated_params[, updated_first_order_moments, updated_second_order_moments]
ONNX Runtime's own node writes the parameters in place and returns the flag alone; here they are further outputs.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper, numpy_helper

KEY = "aidgejax.optimizer"  # the entry of metadata_props that holds rule and settings
MOMENTS = ("first_order_moments", "second_order_moments")


def sequence_inputs(rule: str, data_type: int) -> list[ValueInfoProto]:
    """The inputs of the model; data_type: ONNX's number of the parameters' dtype."""
    sequences = ["params", "gradients", *MOMENTS[: 2 if rule == "adamw" else 1]]
    return [
        helper.make_tensor_value_info("learning_rate", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("step", TensorProto.INT64, [1]),
        *(helper.make_value_info(n, _sequence(data_type)) for n in sequences),
    ]


def write_sequence_optimizer(
    model: ModelProto, rule: str, settings: dict[str, Any], gradients: str, data_type: int
) -> None:
    """Write nodes and outputs of one update into a model that has sequence_inputs.  gradients: the sequence to use.

    rule, settings: as onnxio.artifacts.optimizer_model.read_ort_optimizer gives them.
    """
    numbers = _Numbers(model, data_type)
    kept = [("params", "p")] + ([("first_order_moments", "m"), ("second_order_moments", "v")] * (rule == "adamw"))
    nodes = [helper.make_node("Cast", ["learning_rate"], ["rate"], to=data_type)]
    if rule == "adamw":
        nodes += _bias_corrected(settings, numbers, data_type)
    inside = [helper.make_node("SequenceAt", [gradients, "i"], ["g"])]
    inside += [helper.make_node("SequenceAt", [name, "i"], [short]) for name, short in kept]
    inside += _adamw(settings, numbers) if rule == "adamw" else _sgd()
    inside += [helper.make_node("SequenceInsert", [f"so_far_{s}", f"{s}_next"], [f"after_{s}"]) for _, s in kept]
    inside.append(helper.make_node("Identity", ["goes"], ["on"]))
    carried = lambda stem: [helper.make_value_info(f"{stem}_{s}", _sequence(data_type)) for _, s in kept]
    scalar = lambda name, kind: helper.make_tensor_value_info(name, kind, [])
    body = helper.make_graph(
        inside,
        "update",
        [scalar("i", TensorProto.INT64), scalar("goes", TensorProto.BOOL), *carried("so_far")],
        [scalar("on", TensorProto.BOOL), *carried("after")],
    )
    nodes += [helper.make_node("SequenceEmpty", [], [f"none_{s}"], dtype=data_type) for _, s in kept]
    nodes.append(helper.make_node("SequenceLength", ["params"], ["count"]))
    updated = [f"updated_{name}" for name, _ in kept]
    nodes.append(helper.make_node("Loop", ["count", "", *(f"none_{s}" for _, s in kept)], updated, body=body))
    done = numpy_helper.from_array(np.array([True]), "done")
    model.graph.initializer.append(done)
    nodes.append(helper.make_node("Identity", ["done"], ["updated"]))
    model.graph.node.extend(nodes)
    model.graph.output.append(helper.make_tensor_value_info("updated", TensorProto.BOOL, [1]))
    model.graph.output.extend(helper.make_value_info(n, _sequence(data_type)) for n in updated)
    model.metadata_props.add(key=KEY, value=json.dumps({"rule": rule, "settings": settings}))


def read_sequence_optimizer(model: ModelProto) -> tuple[str, dict[str, Any]] | None:
    """(rule, settings) of such a model; None for any other."""
    found = next((p.value for p in model.metadata_props if p.key == KEY), None)
    if found is None or "params" not in {i.name for i in model.graph.input}:
        return None
    try:
        held = json.loads(found)
        return str(held["rule"]), dict(held["settings"])
    except (ValueError, KeyError, TypeError):
        return None


class _Numbers:
    """Constants of the model, each under a name of its own."""

    def __init__(self, model: ModelProto, data_type: int) -> None:
        self._model, self._dtype = model, helper.tensor_dtype_to_np_dtype(data_type)

    def __call__(self, name: str, value: float) -> str:
        if name not in {t.name for t in self._model.graph.initializer}:
            self._model.graph.initializer.append(numpy_helper.from_array(np.array(value, self._dtype), name))
        return name


def _sequence(data_type: int) -> TypeProto:
    return helper.make_sequence_type_proto(helper.make_tensor_type_proto(data_type, None))


def _bias_corrected(settings: dict[str, Any], numbers: _Numbers, data_type: int) -> list[NodeProto]:
    """rate * sqrt(1 - beta2^t) / (1 - beta1^t), or the rate itself."""
    if settings["bias_correction"] == "none":
        return [helper.make_node("Identity", ["rate"], ["corrected"])]
    one = numbers("one", 1.0)
    nodes = [helper.make_node("Cast", ["step"], ["t"], to=data_type)]
    for k in (1, 2):
        nodes.append(helper.make_node("Pow", [numbers(f"beta{k}", settings[f"beta{k}"]), "t"], [f"power{k}"]))
        nodes.append(helper.make_node("Sub", [one, f"power{k}"], [f"left{k}"]))
    nodes.append(helper.make_node("Sqrt", ["left2"], ["root"]))
    nodes.append(helper.make_node("Mul", ["rate", "root"], ["scaled_rate"]))
    return [*nodes, helper.make_node("Div", ["scaled_rate", "left1"], ["corrected"])]


def _adamw(settings: dict[str, Any], numbers: _Numbers) -> list[NodeProto]:
    """m, v: running means of g and g^2;  p - corrected * m / (sqrt(v) + eps), then less rate * decay * itself."""
    n = helper.make_node
    nodes = [n("Mul", ["g", "g"], ["gg"])]
    for k, (moment, of) in enumerate((("m", "g"), ("v", "gg")), 1):
        beta = settings[f"beta{k}"]
        nodes.append(n("Mul", [numbers(f"beta{k}", beta), moment], [f"{moment}_kept"]))
        nodes.append(n("Mul", [numbers(f"rest{k}", 1 - beta), of], [f"{moment}_new"]))
        nodes.append(n("Add", [f"{moment}_kept", f"{moment}_new"], [f"{moment}_next"]))
    nodes += [
        n("Sqrt", ["v_next"], ["deviation"]),
        n("Add", ["deviation", numbers("epsilon", settings["epsilon"])], ["divisor"]),
        n("Div", ["m_next", "divisor"], ["direction"]),
        n("Mul", ["corrected", "direction"], ["change"]),
        n("Sub", ["p", "change"], ["moved"]),
        n("Mul", ["rate", numbers("weight_decay", settings["weight_decay"])], ["decay"]),
        n("Mul", ["decay", "moved"], ["decayed"]),
        n("Sub", ["moved", "decayed"], ["p_next_flat"]),
    ]
    return [*nodes, *_of_shape("p_next_flat")]


def _sgd() -> list[NodeProto]:
    """p - rate * g."""
    nodes = [helper.make_node("Mul", ["rate", "g"], ["change"]), helper.make_node("Sub", ["p", "change"], ["p_flat"])]
    return [*nodes, *_of_shape("p_flat")]


def _of_shape(name: str) -> list[NodeProto]:
    """A rate of shape [1] makes a vector of a number: the parameter keeps its own shape."""
    return [
        helper.make_node("Shape", ["p"], ["p_shape"]),
        helper.make_node("Reshape", [name, "p_shape"], ["p_next"]),
    ]
