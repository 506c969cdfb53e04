"""The graphs inside recurrent cells and small compositions: node by node, named and connected as in Aidge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .graphview import GraphView
from .node import Node, Port, Producer
from .operators import make_operator
from .operators.recurrent import leaky_reset
from .tensor import Tensor

Source = tuple[str, int] | str | None


class MicroGraph:
    """Nodes by their keys, which are what stands behind the meta-operator's name and an underscore."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: dict[str, Node] = {}

    def called(self, key: str, named: bool) -> str:
        return f"{self.name}_{key}" if named and self.name else ""

    def add(self, key: str, kind: str, *sources: Source, named: bool = True, **attributes: Any) -> str:
        node = Node(make_operator(kind, **attributes), self.called(key, named))
        self.nodes[key] = node
        for k, source in enumerate(sources):
            if source is not None:
                self.connect(source, key, k)
        return key

    def constant(self, key: str, value: Any, constant: bool = True, named: bool = True) -> str:
        self.nodes[key] = Producer(Tensor(np.asarray(value)), self.called(key, named), constant=constant)
        return key

    def connect(self, source: Source, key: str, k: int) -> None:
        name, out = source if isinstance(source, tuple) else (str(source), 0)
        self.nodes[name].add_child(self.nodes[key], out, k)

    def memory(self, key: str, steps: int) -> str:
        """What a node gave in the step before; connected to it later."""
        self.add(key, "Memorize", end_step=steps)
        self.nodes[key].get_operator().set_back_edges({0})
        return key

    def view(self, inputs: Sequence[Source], outputs: Sequence[Source]) -> GraphView:
        graph = GraphView()
        graph.add(list(self.nodes.values()))
        graph.set_ordered_inputs([self._port(s) for s in inputs])
        graph.set_ordered_outputs([self._port(s) for s in outputs])
        return graph

    def _port(self, source: Source) -> Port:
        name, k = source if isinstance(source, tuple) else (str(source), 0)
        return Port(self.nodes[name], k)


def _gates(g: MicroGraph, gates: Sequence[str], memories: Mapping[str, str], x: str = "input") -> None:
    """Two FCs per gate, one of the input and one of what the gate remembers, and their sum."""
    for gate in gates:
        g.add(f"{gate}X", "FC", x)
        g.add(f"{gate}H", "FC", (memories[gate], 1) if memories[gate] == "hidden_state" else memories[gate])
        g.add(gate, "Add", f"{gate}X", f"{gate}H")


def lstm(name: str, attrs: Mapping[str, Any]) -> GraphView:
    gates = ("inputGate", "outputGate", "forgetGate", "cellCandidate")
    g, steps = MicroGraph(name), int(attrs["seq_length"])
    g.add("input", "Identity")
    g.memory("hidden_state", steps)
    g.memory("cell_state", steps)
    _gates(g, gates, dict.fromkeys(gates, "hidden_state"))
    for gate in gates:
        g.add(f"{gate}Act", "Tanh" if gate == "cellCandidate" else "Sigmoid", gate)
    g.add("forgetGateMul", "Mul", "forgetGateAct", ("cell_state", 1))
    g.add("inputGateMul", "Mul", "inputGateAct", "cellCandidateAct")
    g.add("add", "Add", "forgetGateMul", "inputGateMul")
    g.add("cellUpdatedAct", "Tanh", "add")
    g.add("outputGateMul", "Mul", "outputGateAct", "cellUpdatedAct")
    g.connect("add", "cell_state", 0)
    g.connect("outputGateMul", "hidden_state", 0)
    weights = [(f"{gate}{of}", k) for k in (1, 2) for of in "XH" for gate in gates]
    return g.view(
        ["input", *weights, ("hidden_state", 1), ("cell_state", 1)], ["outputGateMul", "hidden_state", "cell_state"]
    )


def gru(name: str, attrs: Mapping[str, Any]) -> GraphView:
    gates = ("updateGate", "resetGate", "hiddenGate")
    g = MicroGraph(name)
    g.add("input", "Identity")
    g.memory("hidden_state", int(attrs["seq_length"]))
    _gates(g, gates[:2], dict.fromkeys(gates, "hidden_state"))
    for gate in gates[:2]:
        g.add(f"{gate}Act", "Sigmoid", gate)
    g.add("resetGateMul", "Mul", "resetGateAct", ("hidden_state", 1))
    _gates(g, gates[2:], {"hiddenGate": "resetGateMul"})
    g.add("hiddenGateAct", "Tanh", "hiddenGate")
    g.constant("one", np.ones(1, np.float32))
    g.add("newHiddenSub", "Sub", "one", "updateGateAct")
    g.add("newHiddenMulGate", "Mul", "newHiddenSub", "hiddenGateAct")
    g.add("newHiddenMulPrev", "Mul", "updateGateAct", ("hidden_state", 1))
    g.add("newHiddenAdd", "Add", "newHiddenMulGate", "newHiddenMulPrev")
    g.connect("newHiddenAdd", "hidden_state", 0)
    weights = [(f"{gate}{of}", k) for k in (1, 2) for of in "XH" for gate in gates]
    return g.view(["input", *weights, ("hidden_state", 1)], ["hidden_state"])


def leaky(name: str, attrs: Mapping[str, Any]) -> GraphView:
    g, steps = MicroGraph(name), int(attrs["nb_timesteps"])
    g.add("input", "Identity")
    g.add("shape", "Shape", "input")
    g.add("cstofshape", "ConstantOfShape", "shape")
    for key in ("potential", "spike"):
        g.memory(key, steps)
        g.connect("cstofshape", key, 1)
    for key in ("beta", "uth"):
        value = attrs["beta" if key == "beta" else "threshold"]
        g.nodes[key] = Producer(Tensor(np.float32(value)), f"leaky_{key}", constant=True)
    g.add("mul", "Mul", ("potential", 1), "beta")
    if attrs["reset"] is leaky_reset.subtraction:
        g.add("add", "Add", "input", "mul")
        g.add("reset", "Mul", ("spike", 1), "uth")
        membrane = g.add("sub", "Sub", "add", "reset")
    else:
        g.nodes["one"] = Producer(Tensor(np.float32(1)), "one", constant=True)
        g.add("one_minus_spike", "Sub", "one", ("spike", 1))
        g.add("final", "Mul", "one_minus_spike", "mul")
        membrane = g.add("add", "Add", "final", "input")
    g.add("threshold", "Sub", membrane, "uth")
    g.add("hs", "Heaviside", "threshold", value=0.0)
    g.connect(membrane, "potential", 0)
    g.connect("hs", "spike", 0)
    return g.view(["input"], ["hs", membrane, "potential", "spike"])


def softplus(name: str, attrs: Mapping[str, Any]) -> GraphView:
    """max(x, 0) + ln(1 + exp(-|x|))."""
    g = MicroGraph(name)
    g.add("input", "Identity")
    g.constant("zero", np.float32(0), constant=False)
    g.constant("one", np.float32(1), constant=False)
    g.add("abs", "Abs", "input")
    g.add("neg", "Neg", "abs")
    g.add("exp", "Exp", "neg")
    g.add("castlike1", "CastLike", "one", "exp")
    g.add("castlike2", "CastLike", "zero", "input")
    g.add("max", "Max", "castlike2", "input", nb_inputs=2)
    g.add("add1", "Add", "castlike1", "exp")
    g.add("ln", "Ln", "add1")
    g.add("add2", "Add", "max", "ln")
    return g.view(["input"], ["add2"])


def hard_swish(name: str, attrs: Mapping[str, Any]) -> GraphView:
    g = MicroGraph(name)
    g.add("input", "Identity")
    g.add("hardsigmoid", "HardSigmoid", "input", alpha=attrs["alpha"], beta=attrs["beta"])
    g.add("mul", "Mul", "input", "hardsigmoid")
    return g.view(["input"], ["mul"])


def layer_norm(name: str, attrs: Mapping[str, Any]) -> GraphView:
    """(x - mean) / sqrt(mean of (x - mean)^2 + epsilon) scale + bias, over the axes from `axis` on."""
    g = MicroGraph("")
    g.add("input", "Identity")
    g.constant("axis", np.asarray([attrs["axis"]], np.int64))
    g.constant("step", np.ones(1, np.int64))
    g.add("shape", "Shape", "input")
    g.add("rank", "Size", "shape")
    g.add("axes", "Range", "axis", "rank", "step")
    g.add("mean", "ReduceMean", "input", "axes")
    g.add("centred", "Sub", "input", "mean")
    g.add("squared", "Mul", "centred", "centred")
    g.add("variance", "ReduceMean", "squared", "axes")
    g.constant("epsilon", np.asarray([attrs["epsilon"]], np.float32))
    g.add("safe", "Add", "variance", "epsilon")
    g.add("root", "Sqrt", "safe")
    g.add("inverse", "Reciprocal", "root")
    g.add("normed", "Mul", "centred", "inverse")
    g.add("scaled", "Mul", "normed")
    g.add("shifted", "Add", "scaled")
    return g.view(["input", ("scaled", 1), ("shifted", 1)], ["shifted"])


def reduce_l1(name: str, attrs: Mapping[str, Any]) -> GraphView:
    g = MicroGraph("")
    g.add("abs", "Abs")
    g.add("sum", "ReduceSum", "abs", **attrs)
    return g.view(["abs", ("sum", 1)], ["sum"])


def reduce_l2(name: str, attrs: Mapping[str, Any]) -> GraphView:
    g = MicroGraph("")
    g.add("input", "Identity")
    g.add("squared", "Mul", "input", "input")
    g.add("sum", "ReduceSum", "squared", **attrs)
    g.add("root", "Sqrt", "sum")
    return g.view(["input", ("sum", 1)], ["root"])


INSIDE: dict[str, Callable[[str, Mapping[str, Any]], GraphView]] = {
    "LSTM": lstm,
    "GRU": gru,
    "Leaky": leaky,
    "LayerNorm": layer_norm,
    "Softplus": softplus,
    "HardSwish": hard_swish,
    "ReduceL1": reduce_l1,
    "ReduceL2": reduce_l2,
}
WHOLE = ("LSTM", "GRU", "Leaky")  # which run as one operator, and so are not expanded
