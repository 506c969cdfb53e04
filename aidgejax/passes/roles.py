"""What training changes, decided by what a tensor does in the graph.

A weight is one wherever it is stored.  Left alone are settings of nodes, what decides a shape, masks, steps, exponents
and epsilons, and what normalizes the graph's own input, whatever their rank.  Numbers of one element are weights where
they scale or bend what goes from an input to an output, and are no number that architectures are built with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ..errors import GraphError, about
from ..graph import Graph, Node, Producer
from ..ops import lookup
from ..ops.control_flow import is_control_flow
from .control_flow.conditional import nodes_inside, with_both_branches
from .integer_products import PRODUCTS, scaled_sums
from .role_numbers import MASKED, counts_channels, is_formula, is_grid, is_known, is_steps, two_values

Use = tuple[Node, int]
QUANTIZED = "quantized weight"
ASKED = "as was asked"
GRID = "belongs to the grid of integers"
WEIGHT, BIAS, GATE = "is a weight of its node", "is the bias of a layer", "is a scale or gate that is computed first"
# Why a tensor is a weight even where a node brings it along instead of the file's list of weights.
ANYWHERE = (WEIGHT, BIAS, GATE)
SCALES, SHIFTS = ("Mul", "Div"), ("Add", "Sub")
ELEMENTWISE = (*SCALES, *SHIFTS)
# What a tensor passes through on the way from the graph's input to the first layer without being changed by weights.
HANDED_ON = ("Identity", "Cast", "CastLike", "Transpose", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Pad", "Resize")
# What turns a stored number into the one that is used: nobody stores a constant of an architecture like that.
BENDS = ("Exp", "Sigmoid", "Tanh", "Softplus", "Reciprocal", "Log", "Relu", "Clip", "Neg", "Abs", "Identity", "Cast",
         "Reshape", "Unsqueeze", "Squeeze", "Expand")  # fmt: skip
BENT = ("Exp", "Sigmoid", "Tanh", "Softplus", "Reciprocal", "Relu")
LEARNT = re.compile(r"(?<![a-z])(temp(?!l)|gate|gain)|logit|gamma|alpha|learn|weight|bias|layer_?scale", re.I)
MADE_BY_EXPORTER = re.compile(r"^(onnx::|val_|_val|/|const|\d+$)|_output_\d+$|constant|epsilon|\beps\b", re.I)


@dataclass(frozen=True)
class Decided:
    role: str
    why: str
    kind: str = ""


def decide_roles(graph: Graph) -> dict[str, Decided]:
    """{producer: its role and why}."""
    return _Structure(with_both_branches(graph)).decided()


def with_decided_roles(graph: Graph) -> Graph:
    """The graph with roles decided anew, where they were decided by structure before."""
    copy = graph.copy()
    found = decide_roles(graph)
    for p in copy.producers.values():
        if p.why and p.why != ASKED:
            p.role, p.why, p.kind = found[p.name].role, found[p.name].why, found[p.name].kind
    return copy


def with_roles(graph: Graph, parameters: Any = None, constants: Iterable[str] | None = None) -> Graph:
    """The graph whose user says what is trained: names or patterns such as "head.*".

    parameters: exactly these are trained; a mapping such as torch's dict(model.named_parameters()) also finds by their
    values those that an exporter renamed or transposed.  constants: these are not.
    Raises GraphError for what names nothing, or what cannot be trained.
    """
    copy = graph.copy()
    if parameters is not None:
        wanted = _matched(graph, parameters, "parameters")
        for name in wanted:
            p = copy.producers[name]
            if not is_float(p.data):
                cure = "; aidgejax.passes.float_weights makes floats of it" if p.kind == QUANTIZED else ""
                raise GraphError(
                    f"`parameters` names {name!r}, which holds {p.data.dtype.name}: only floats are trained{cure}"
                )
            p.role, p.why, p.kind = "parameter", ASKED, ""
        for p in copy.producers.values():
            if p.name not in wanted and p.role == "parameter":
                p.role, p.why = "constant", ASKED
    for name in _matched(graph, constants or (), "constants"):
        copy.producers[name].role, copy.producers[name].why = "constant", ASKED
    return copy


def _matched(graph: Graph, wanted: Any, what: str) -> list[str]:
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    found: dict[str, None] = {}
    missing = []
    for name in names:
        hits = [p for p in graph.producers if p == name] or [p for p in graph.producers if fnmatchcase(p, name)]
        if not hits and isinstance(wanted, Mapping):
            hits = _of_value(graph, wanted[name])
        found.update(dict.fromkeys(hits))
        if not hits:
            missing.append(name)
    if missing:
        have = sorted(graph.producers)
        raise GraphError(
            f"`{what}` names {', '.join(map(repr, missing[:8]))}{', ...' if len(missing) > 8 else ''}, but the "
            f"initializers are {', '.join(map(repr, have[:20])) or 'none'}{', ...' if len(have) > 20 else ''}"
        )
    return list(found)


def _of_value(graph: Graph, tensor: Any) -> list[str]:
    """Producers that hold this tensor, or its transpose."""
    tensor = tensor.detach() if hasattr(tensor, "detach") else tensor
    data = np.asarray(tensor.cpu() if hasattr(tensor, "cpu") else tensor)
    same = [p.name for p in graph.producers.values() if data.size > 1 and np.array_equal(p.data, data)]
    transposed = [p.name for p in graph.producers.values() if data.ndim == 2 and np.array_equal(p.data, data.T)]
    return (same or transposed)[:1]


def is_float(data: np.ndarray) -> bool:
    return data.dtype.kind == "f" or data.dtype.name == "bfloat16"


def check_trains(graph: Graph) -> None:
    """Raise GraphError, naming the nearest thing to a weight, where nothing in the graph is trained."""
    if graph.params:
        return
    left = {p.name: p for p in graph.producers.values()}
    integers = [p for p in left.values() if p.kind == QUANTIZED]
    floats = sorted((p for p in left.values() if is_float(p.data)), key=lambda p: -p.data.size)
    if integers:
        what = (
            f"its weights are integers: {', '.join(f'{p.name!r} ({p.data.dtype.name})' for p in integers[:4])}"
            f"{', ...' if len(integers) > 4 else ''}; aidgejax.passes.float_weights(graph), "
            f"train --float-weights in the shell, makes them trainable"
        )
    elif floats:
        what = (
            f"the nearest to one is {floats[0].value}, left alone ({floats[0].why or 'a constant'}); "
            f"read the model with parameters=[{floats[0].name!r}] to train it"
        )
    else:
        what = "it holds no floating-point tensor"
    raise about("nothing-to-train", GraphError(f"graph {graph.name!r} has no parameter to train: {what}"))


def summary(graph: Graph, most: int = 8) -> list[str]:
    """What is trained and what is left alone and why, in lines to print."""

    def cut(names: list[str]) -> str:
        return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "") or "nothing"

    lines = [f"trained: {cut(list(graph.params))}"]
    reasons: dict[str, list[str]] = {}
    for p in graph.producers.values():
        if p.role != "parameter" and (is_float(p.data) or p.kind) and p.why:
            reasons.setdefault(p.kind and f"{p.kind}: {p.why}" or p.why, []).append(p.name)
    if reasons:
        lines.append("left alone: " + "; ".join(f"{cut(names)} ({why})" for why, names in reasons.items()))
    if inside := [n.name for g, n in nodes_inside(graph) if g is not graph and _has_training_mode(n)]:
        lines.append(f"as in inference: {cut(inside)} (in a branch of an If: no dropout is drawn, statistics stay)")
    return lines


def _has_training_mode(node: Node) -> bool:
    operator = lookup(node.op)
    return "training_mode" in operator.attributes or "training_mode" in operator.inputs


class _Structure:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.uses = uses_of(graph)
        self.writer = graph.writer()
        self.from_input = self._from_input()
        self.fixed = self._deciding()
        self.settled = self._settled()
        self.preprocessing = self._preprocessing()
        self.statistics = self._statistics()
        self.neutral = self._neutral()
        products = (scaled_sums(graph, n) for n in graph.nodes if n.op in PRODUCTS)
        self.grid = {i for found in products if found is not None for i in found.factors}

    def decided(self) -> dict[str, Decided]:
        return {p.name: self._decide(p) for p in self.graph.producers.values()}

    def _decide(self, p: Producer) -> Decided:
        uses, data = self.uses.get(p.name, []), p.data
        if not uses:
            return Decided("constant", "is not read by any node")
        if p.why == GRID or (p.name in self.grid and len(uses) == 1):
            return Decided("constant", GRID)
        if not is_float(data):
            op = next((n.op for n, k in uses if _reads(n, k, "integer_weights")), "")
            if op and p.name not in self.fixed:
                where = "behind" if op == "DequantizeLinear" else "of"
                return Decided("constant", f"is integers {where} {op}", QUANTIZED)
            return Decided("constant", "is integers")
        if any(k in lookup(n.op).updates for n, k in uses):
            return Decided("buffer", "is a running statistic")
        if p.name in self.fixed:
            return Decided("constant", "decides a shape")
        if p.name in self.settled:
            return Decided("constant", "is a setting of its node")
        if p.name in self.preprocessing:
            return Decided("constant", "normalizes the graph's input")
        if p.name in self.neutral:
            return Decided("constant", "is the neutral scale or bias of a normalization in groups")
        if p.name in self.statistics:
            return Decided("constant", "is a running statistic that is written out")
        if not any(_reads(n, k, "weights") and not lookup(n.op).index_of for n, k in uses) and is_formula(data):
            return Decided("constant", "is a table that a formula gives")
        if any(_reads(n, k, "weights") for n, k in uses):
            if all(n.op == "Conv" for n, _ in uses) and counts_channels(data):
                return Decided("constant", "is an expectation over 0, 1, 2, ...")
            return Decided("parameter", WEIGHT)
        if data.size == 0:
            return Decided("constant", "is empty")
        numbers = np.asarray(data, np.float64)
        if data.size > 1:
            if np.any(np.isneginf(numbers)) or (numbers.min() <= -MASKED and two_values(numbers)):
                return Decided("constant", "is a mask")
            if is_steps(numbers):
                return Decided("constant", "is steps of equal width")
            if any(n.op == "Add" and self._layer_beside(n, p) for n, _ in uses):
                return Decided("parameter", BIAS)
            if is_grid(numbers):
                return Decided("constant", "is a table of whole numbers or halves")
            return Decided("parameter", "takes part in the computation")
        return self._single(p, float(numbers.reshape(())), uses)

    def _single(self, p: Producer, number: float, uses: list[Use]) -> Decided:
        """A tensor of one element."""
        if any(self._is_bias(n, p) for n, _ in uses):
            return Decided("parameter", BIAS)
        if self._bent(p.name):
            return Decided("parameter", GATE)
        named = bool(LEARNT.search(p.name)) and not MADE_BY_EXPORTER.search(p.name)
        plain = MADE_BY_EXPORTER.search(p.name) is not None or is_known(number)
        meets = [n for n, _ in uses if any(i in self.from_input for i in n.input_names)]
        if any(n.op in SCALES for n in meets) and (named or not plain):
            return Decided("parameter", "scales what comes from an input")
        if any(n.op in SHIFTS for n in meets) and (named or not plain and abs(number) > 1e-2):
            return Decided("parameter", "is added to what comes from an input")
        return Decided("constant", "is one number that the architecture says")

    def _is_bias(self, node: Node, p: Producer) -> bool:
        """Is it added to a layer's result that has one column?"""
        layer = self._layer_beside(node, p) if node.op == "Add" else None
        if layer is None:
            return False
        weights = [i for k, i in enumerate(layer.inputs) if _reads(layer, k, "weights") and i in self.graph.producers]
        shapes = [self.graph.producers[i].data.shape for i in weights]
        if any(len(s) > 2 for s in shapes):  # of a kernel the last axis is an image's
            return any(s[1 if layer.op == "ConvTranspose" else 0] == 1 for s in shapes)
        return any(s and (s[-1] == 1 or s[0] == 1) for s in shapes)

    def _layer_beside(self, node: Node, p: Producer) -> Node | None:
        """The node with weights whose result the node takes beside this tensor."""
        layer = next((self.writer.get(i) for i in node.input_names if i != p.name), None)
        return layer if layer is not None and lookup(layer.op).weights and not lookup(layer.op).index_of else None

    def _bent(self, name: str) -> bool:
        """Does it go through Exp, Sigmoid ... alone before it meets data?"""
        bent, names = False, [name]
        for _ in range(8):
            nodes = [n for i in names for n, _ in self.uses.get(i, [])]
            if any(len([i for i in n.input_names if i in self.from_input]) for n in nodes):
                return bent
            nodes = [n for n in nodes if n.op in BENDS]
            bent = bent or any(n.op in BENT for n in nodes)
            names = [o for n in nodes for o in n.output_names]
            if not names:
                return False
        return False

    def _from_input(self) -> set[str]:
        """What is computed from an input's data."""
        found = set(self.graph.inputs)
        for node in self.graph.nodes:
            known = is_control_flow(node) or not lookup(node.op).shape_only
            if known and found.intersection(node.input_names):
                found.update(node.output_names)
        return found

    def _deciding(self) -> set[str]:
        """What decides a shape and is computed from constants and shapes alone."""
        found: set[str] = set()
        for node in reversed(self.graph.nodes):
            if is_control_flow(node):
                continue
            operator = lookup(node.op)
            for k, i in enumerate(node.inputs):
                if isinstance(i, str) and operator.reads_as(k) in operator.static and i not in self.from_input:
                    found.add(i)
            if found.intersection(node.output_names) and not operator.shape_only:
                found.update(i for i in node.input_names if i not in self.from_input)
        return found

    def _settled(self) -> set[str]:
        """What reaches nothing but settings of nodes, on a way that passes no data."""
        found: set[str] = set()
        for node in reversed(self.graph.nodes):
            for name in node.output_names:
                if name not in self.from_input and self._only_settings(name, found):
                    found.add(name)
        return found | {name for name in self.graph.producers if self._only_settings(name, found)}

    def _only_settings(self, name: str, found: set[str]) -> bool:
        uses = self.uses.get(name, [])
        return bool(uses) and all(
            _reads(n, k, "settings") or (not is_control_flow(n) and found.issuperset(n.output_names)) for n, k in uses
        )

    def _preprocessing(self) -> set[str]:
        """Constants of the arithmetic between the graph's input and its first layer, where that normalizes."""
        found: set[str] = set()
        for start, v in self.graph.inputs.items():
            if not v.is_float and v.dtype not in ("uint8", "int8"):
                continue
            name, met, ops = start, [], []
            while len(nodes := {id(n): n for n, _ in self.uses.get(name, [])}) == 1:
                (node,) = nodes.values()
                beside = [i for i in node.input_names if i != name]
                if node.op in ELEMENTWISE and len(beside) == 1 and beside[0] in self.graph.producers:
                    met.append(beside[0])
                    ops.append(node.op)
                elif node.op not in HANDED_ON or node.inputs[0] != name:
                    break
                name = node.output_names[0]
            layer = any(lookup(n.op).weights for n, _ in self.uses.get(name, []) if not is_control_flow(n))
            scaled = any(o in SCALES for o in ops) and any(o in SHIFTS for o in ops)
            if layer and (scaled or "Sub" in ops or "Div" in ops):
                found.update(met)
        return found

    def _statistics(self) -> set[str]:
        """The mean and the variance of (x - mean) / sqrt(variance + epsilon), where both are stored."""
        found: set[str] = set()
        for root in self.graph.nodes:
            if root.op != "Sqrt" or root.outputs[0] in self.from_input:
                continue
            added = self.writer.get(root.input_names[0])
            stored = added.input_names if added is not None and added.op == "Add" else root.input_names
            spread = [i for i in stored if i in self.graph.producers]
            vector = [i for i in spread if self.graph.producers[i].data.size > 1]
            means = [m for o in root.output_names for m in self._subtracted_before(o)]
            if vector and means and len(spread) == len(stored):
                found.update([*spread, *means])
        return found

    def _neutral(self) -> set[str]:
        """The ones and zeros of an InstanceNormalization between two Reshapes, whose channels are groups: exporters
        write GroupNorm so, and its own scale and bias behind it."""
        found: set[str] = set()
        for node in self.graph.nodes:
            if node.op != "InstanceNormalization" or len(node.inputs) < 3:
                continue
            before = self.writer.get(node.input_names[0])
            after = [n for n, _ in self.uses.get(node.output_names[0], [])]
            if before is None or before.op != "Reshape" or not after or any(n.op != "Reshape" for n in after):
                continue
            for name, number in zip(node.inputs[1:3], (1, 0), strict=True):
                if name in self.graph.producers and np.all(self.graph.producers[name].data == number):
                    found.add(name)
        return found

    def _subtracted_before(self, deviation: str) -> list[str]:
        """The stored tensors that were subtracted from what is divided by this one, or times its reciprocal."""
        means = []
        for node, k in self.uses.get(deviation, []):
            if node.op == "Reciprocal":
                means += [m for o in node.output_names for m in self._subtracted_before(o)]
            elif node.op == "Mul" or (node.op == "Div" and k == 1):
                beside = self.writer.get(next((i for i in node.input_names if i != deviation), ""))
                if beside is not None and beside.op == "Sub" and beside.inputs[1] in self.graph.producers:
                    means.append(str(beside.inputs[1]))
        return means


def uses_of(graph: Graph) -> dict[str, list[Use]]:
    """{tensor: the nodes that read it, and as which input}; subgraphs are looked into."""
    uses: dict[str, list[Use]] = {}
    for node in graph.nodes:
        inside = node.attrs.get("captures", ()) if is_control_flow(node) else ()
        for k, i in enumerate(node.inputs):
            if isinstance(i, str) and not is_control_flow(node):
                uses.setdefault(i, []).append((node, k))
        for body in (a for a in node.attrs.values() if isinstance(a, Graph)):
            found = uses_of(body)
            for name, i in zip(inside, node.inputs[len(node.inputs) - len(inside) :], strict=True):
                if isinstance(i, str):
                    uses.setdefault(i, []).extend(found.get(name, []))
    return uses


def _reads(node: Node, position: int, kind: str) -> bool:
    operator = lookup(node.op)
    return operator.reads_as(position) in getattr(operator, kind)
