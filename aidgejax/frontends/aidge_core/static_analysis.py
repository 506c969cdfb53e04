"""aidge_core.StaticAnalysis: parameters and operations of a graph whose shapes are known, counted and not run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .dtypes import dtype_bit_width
from .errors import GraphViewError, OrderError
from .graphview import GraphView
from .node import Node

COMPARISONS = ("ReLU", "LeakyReLU", "PReLU", "Clip", "Max", "Min", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
               "Equal", "ArgMax", "Hardmax", "Heaviside", "Where", "ReduceMax", "ReduceMin", "Sign")  # fmt: skip
LOGIC = ("And", "Or", "Xor", "Not", "BitShift")
NONLINEAR = ("Sigmoid", "Tanh", "Exp", "Ln", "Sqrt", "Erf", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh",
             "Asinh", "Acosh", "Atanh", "Softplus", "Softsign", "Mish", "GeLU", "SiLU", "ELU", "SELU", "Pow",
             "Reciprocal")  # fmt: skip
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Neg", "Abs", "Mod", "Round", "Floor", "Ceil", "HardSigmoid", "HardSwish")


@dataclass(frozen=True)
class Operations:
    """How many multiply-accumulates, other arithmetic operations, comparisons, logic and nonlinear functions."""

    macs: int = 0
    others: int = 0
    comparisons: int = 0
    logic: int = 0
    nonlinear: int = 0

    @property
    def arithmetic(self) -> int:
        return 2 * self.macs + self.others

    @property
    def all(self) -> int:
        return self.arithmetic + self.comparisons + self.logic + self.nonlinear


class StaticAnalysis:
    """StaticAnalysis(graph) counts what forward_dims has made known; the batch counts.

    A multiply-accumulate is two arithmetic operations.  get_nb_ops() = arithmetic + comparisons + logic + nonlinear.
    """

    def __init__(self, graph: GraphView) -> None:
        if not isinstance(graph, GraphView):
            raise GraphViewError(f"StaticAnalysis(graph): expected a GraphView, got {type(graph).__name__}")
        self._graph = graph

    def get_graph(self) -> GraphView:
        return self._graph

    def get_nb_params(self, node: Node) -> int:
        """Elements of the Producers that feed this node."""
        return sum(math.prod(t.dims) for t in _parameters(node))

    def get_params_size(self, node: Node) -> int:
        """The same in bits."""
        return sum(math.prod(t.dims) * dtype_bit_width(t.dtype) for t in _parameters(node))

    def _sum(self, what: str, floating: bool | None = None) -> int:
        total = 0
        for node in self._graph.get_ordered_nodes():
            if node.type() != "Producer" and floating in (None, _is_floating(node)):
                total += getattr(operations(node), what)
        return total

    def get_nb_mac_ops(self) -> int:
        return self._sum("macs")

    def get_nb_ops(self) -> int:
        return self._sum("all")

    def get_nb_arithm_ops(self) -> int:
        return self._sum("arithmetic")

    def get_nb_arithm_fp_ops(self) -> int:
        return self._sum("arithmetic", True)

    def get_nb_arithm_int_ops(self) -> int:
        return self._sum("arithmetic", False)

    def get_nb_comp_ops(self) -> int:
        return self._sum("comparisons")

    def get_nb_logic_ops(self) -> int:
        return self._sum("logic")

    def get_nb_nl_ops(self) -> int:
        return self._sum("nonlinear")

    def summary(self, incProducers: bool = False) -> None:  # noqa: N803
        """Print one line per node: type, name, output, parameters, multiply-accumulates."""
        for node in self._graph.get_ordered_nodes():
            if incProducers or node.type() != "Producer":
                out = node.get_operator().get_output(0).dims
                macs = 0 if node.type() == "Producer" else operations(node).macs
                print(f"{node.type():24} {node.name():24} {out!s:20} {self.get_nb_params(node):10} {macs:12}")


def _parameters(node: Node) -> list[Any]:
    return [p.node.get_operator().get_output(0) for p in node.sources if p and p.node.type() == "Producer"]


def _is_floating(node: Node) -> bool:
    return "float" in node.get_operator().get_output(0).cell.dtype.name


def operations(node: Node) -> Operations:
    """What one node computes.  Raises OrderError where the shapes are not known."""
    op, kind = node.get_operator(), node.type().removeprefix("Padded")
    if not op.dims_forwarded():
        raise OrderError(f"node {node.name()!r} ({node.type()}): its shapes are not known; call forward_dims first")
    out = math.prod(op.get_output(0).dims)
    if kind == "FC" or kind.startswith("Conv") and "Transpose" not in kind:
        weight = op.get_input(1)
        return Operations(macs=out * math.prod(weight.dims[1:] if weight is not None else ()))
    first = op.get_input(0)
    size = 0 if first is None else math.prod(first.dims)
    if kind.startswith("ConvTranspose"):
        weight = op.get_input(1)
        return Operations(macs=size * math.prod(weight.dims[1:] if weight is not None else ()))
    if kind in ("MatMul", "Gemm"):
        return Operations(macs=out * (first.dims[-1] if first is not None else 0))
    if kind.startswith(("MaxPooling", "AvgPooling")):
        batch, _, *places = op.get_output(0).dims  # Aidge counts one channel
        window, windows = math.prod(op.attr.kernel_dims), batch * math.prod(places)
        return Operations(comparisons=windows * (window - 1)) if kind[0] == "M" else Operations(others=windows * window)
    if kind.startswith("GlobalAveragePooling") or kind in ("ReduceMean", "ReduceSum"):
        return Operations(others=size)
    if kind.startswith("BatchNorm"):
        return Operations(macs=out)
    if kind in ("Softmax", "LogSoftmax"):
        axis = first.dims[op.attr.axis] if first is not None else 1
        return Operations(others=axis - 1, nonlinear=axis + out)  # one row's sum, as Aidge counts
    if kind == "Sigmoid":
        return Operations(others=out, nonlinear=out)
    groups = ((COMPARISONS, "comparisons"), (LOGIC, "logic"), (NONLINEAR, "nonlinear"), (ARITHMETIC, "others"))
    return next((Operations(**{what: out}) for names, what in groups if kind in names), Operations())
