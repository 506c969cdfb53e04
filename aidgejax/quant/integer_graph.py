"""The deployed graph in integers alone, as a graph: what an integer unit does, executed in both backends.

    x -> QuantizeLinear -> ConvInteger, Add (bias), Requantize -> ... -> DequantizeLinear

With steps that are powers of two it gives the levels of the deployed graph; with free ones a multiplier of 31 bits
stands for the quotient of the steps, and a value that lies next to a half may fall the other way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..arguments import checked_call
from ..dtypes import ONNX_CODES
from ..errors import GraphError
from ..graph import Graph, Node, Value
from ..interpreter.shape_inference import infer_shapes
from .c_rounding import multipliers
from .deploy import OnGrid
from .reading import grids_of

INT32 = ONNX_CODES["int32"]


@dataclass(frozen=True)
class Sum:
    """A tensor of 32-bit sums that waits for its rounding.  scale: of one unit; low, high: a rectifier's ends."""

    tensor: str
    scale: np.ndarray
    low: float = -math.inf
    high: float = math.inf


@checked_call
def integer_graph(integers: Graph) -> Graph:
    """A deployed graph without floating point between its first QuantizeLinear and its last DequantizeLinear.

    Average pools are sums, Add works on one common step, every layer carries its bias in 32 bits.  The levels of tensor
    t are `t.int`, as in the deployed graph.  Raises GraphError naming an operator that has no integers.
    """
    return _Integers(integers).run()


class _Integers:
    def __init__(self, graph: Graph) -> None:
        self.old, self.new = graph, Graph(graph.name)
        self.grids, self.writer = grids_of(graph), graph.writer()
        self.sums: dict[str, Sum] = {}

    def run(self) -> Graph:
        self.new.inputs = dict(self.old.inputs)
        for node in self.old.nodes:
            if node.op == "DequantizeLinear":
                continue
            source = node.inputs[0]
            if node.op == "QuantizeLinear" and source in self.sums:
                self._requantize(node, self.sums[source])
            elif node.op == "QuantizeLinear" or all(i in self.old.inputs for i in node.input_names[:1]):
                self._copy(node)
            elif node.op in ("Relu", "Clip"):
                ends = (0.0, math.inf) if node.op == "Relu" else (self._number(node, 1), self._number(node, 2))
                before = self._sum_of(node, source)
                self.sums[node.output_names[0]] = replace(
                    before, low=max(before.low, ends[0]), high=min(before.high, ends[1])
                )
            else:
                self._arithmetic(node)
        for o in self.old.outputs:
            last = self.writer[o]
            if last.op != "DequantizeLinear":
                raise GraphError(f"output {o!r} of graph {self.old.name!r} is not quantized")
            self._copy(last)
        self.new.outputs = list(self.old.outputs)
        return infer_shapes(self.new.check())

    # ---- pieces ---------------------------------------------------------------------------------------

    def _copy(self, node: Node) -> None:
        for i in node.input_names:
            if i in self.old.producers and not self.new.has(i):
                self.new.constant(i, self.old.producers[i].data)
        self.new.add(node.op, node.inputs, node.attrs, names=node.outputs, name=node.name)

    def _number(self, node: Node, k: int) -> float:
        i = node.inputs[k] if len(node.inputs) > k else None
        if i is None:
            return -math.inf if k == 1 else math.inf
        return float(self.old.producers[i].data) if isinstance(i, str) else float(i)

    def _emit(self, op: str, inputs: list[Any], name: str, **attrs: Any) -> str:
        return self.new.add(op, inputs, attrs, name=self.new.fresh(name))[0].name

    def _constant(self, name: str, data: np.ndarray) -> str:
        return self.new.constant(self.new.fresh(name), data).name

    def _wide(self, tensor: str, grid: OnGrid) -> str:
        """levels - zero, in 32 bits."""
        wide = self._emit("Cast", [grid.integers], f"{tensor}/wide", to=INT32)
        if not grid.zero.any():
            return wide
        return self._emit(
            "Sub", [wide, self._constant(f"{tensor}.zero", grid.zero.astype(np.int32))], f"{tensor}/centred"
        )

    def _sum_of(self, node: Node, tensor: Any) -> Sum:
        if tensor in self.sums:
            return self.sums[tensor]
        if tensor not in self.grids or self.grids[tensor].integers in self.old.producers:
            raise GraphError(f"node {node.name!r} ({node.op}) reads {tensor!r}, which is not in integers")
        grid = self.grids[tensor]
        return Sum(self._wide(tensor, grid), np.asarray(grid.step, np.float64))

    def _requantize(self, node: Node, s: Sum) -> None:
        step, zero = (self.old.producers[i].data for i in node.inputs[1:3])
        after = next(g for g in self.grids.values() if g.integers == node.output_names[0])
        level = lambda v: int(np.rint(np.float32(v) / np.float32(step))) + int(zero)
        low = max(after.low, level(s.low)) if s.low > -math.inf else after.low
        high = min(after.high, level(s.high)) if s.high < math.inf else after.high
        factor = np.asarray(s.scale, np.float64) / np.float64(step)
        m, shift = multipliers(factor.reshape(-1))
        held = [
            self._constant(f"{node.name}.{k}", v.astype(np.int32).reshape(factor.shape))
            for k, v in (("multiplier", m), ("shift", shift))
        ]
        point = self._constant(f"{node.name}.zero", np.asarray(zero, np.int32))
        self.new.add(
            "Requantize", [s.tensor, *held, point], {"low": low, "high": high, "to": ONNX_CODES[zero.dtype.name]},
            names=node.outputs, name=node.name,
        )  # fmt: skip

    # ---- operators ------------------------------------------------------------------------------------

    def _arithmetic(self, node: Node) -> None:
        output = node.output_names[0]
        rank = len(self.old.value(output).shape or ())
        data = [i for i in node.input_names if i in self.grids and self.grids[i].integers not in self.old.producers]
        if node.op in ("Conv", "Gemm", "MatMul") and data[:1] == [node.inputs[0]]:
            self.sums[output] = self._layer(node, rank)
        elif node.op in ("Add", "Sub") and node.inputs[0] in self.sums and node.inputs[1] in self.grids:
            s, bias = self.sums[node.inputs[0]], self.grids[node.inputs[1]]
            self.sums[output] = replace(s, tensor=self._biased(s.tensor, node, bias, rank))
        elif node.op in ("Add", "Sub") and len(data) == 2:
            grids = [self.grids[i] for i in node.input_names]
            finer = min(float(g.step) for g in grids)
            parts = []
            for i, g in zip(node.input_names, grids, strict=True):
                part, times = self._wide(i, g), float(g.step) / finer
                if times != round(times):
                    raise GraphError(f"node {node.name!r} ({node.op}) adds steps that are no multiple of each other")
                if times != 1:
                    part = self._emit(
                        "Mul", [part, self._constant(f"{i}.times", np.asarray(times, np.int32))], f"{i}/rescaled"
                    )
                parts.append(part)
            self.sums[output] = Sum(self._emit(node.op, parts, node.name), np.asarray(finer))
        elif node.op in ("AveragePool", "GlobalAveragePool") and data:
            self.sums[output] = self._average(node, rank)
        elif data and len(data) == len([i for i in node.input_names if i not in self.old.producers]) and node.op in (
            "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Concat", "Identity"
        ):  # fmt: skip
            self._on_levels(node)
        else:
            raise GraphError(f"node {node.name!r}: {node.op} is not computed in integers")

    def _on_levels(self, node: Node) -> None:
        """What moves values moves levels; the rounding behind it, to the same grid, then has nothing to do."""
        ins = [self.grids[i].integers if i in self.grids else i for i in node.inputs]
        for i in node.input_names:
            if i in self.old.producers and not self.new.has(i):
                self.new.constant(i, self.old.producers[i].data)
        first = self.grids[node.input_names[0]]
        (y,) = self.new.add(node.op, ins, node.attrs, name=node.name)
        self.new.values[y.name] = Value(y.name, None, None)
        wide = self._emit("Cast", [y.name], f"{node.name}/wide", to=INT32)
        if first.zero.any():
            wide = self._emit(
                "Sub", [wide, self._constant(f"{node.name}.zero", first.zero.astype(np.int32))], f"{node.name}/centred"
            )
        self.sums[node.output_names[0]] = Sum(wide, np.asarray(first.step, np.float64))

    def _layer(self, node: Node, rank: int) -> Sum:
        x, w = self.grids[node.inputs[0]], self.grids[node.inputs[1]]
        if w.integers not in self.old.producers or w.zero.any():
            raise GraphError(f"node {node.name!r} ({node.op}): its weight is not a constant on a grid around 0")
        weight = self.old.producers[w.integers].data
        kind = np.dtype(self.old.value(x.integers).dtype or "int8")
        zero = self._constant(f"{node.name}.x_zero", x.zero.astype(kind))
        if node.op == "Conv":
            held = self._constant(f"{node.name}.weight", weight)
            s = self._emit("ConvInteger", [x.integers, held, zero], node.name, **node.attrs)
            axis = 1
        else:
            flip = node.op == "Gemm" and node.attrs.get("transB", 0)
            held = self._constant(f"{node.name}.weight", np.ascontiguousarray(weight.T if flip else weight))
            s = self._emit("MatMulInteger", [x.integers, held, zero], node.name)
            axis = rank - 1
        scale = np.float64(x.step) * w.step.astype(np.float64)
        if scale.size > 1:
            scale = scale.reshape([-1 if k == axis else 1 for k in range(rank)])
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            s = self._biased(s, node, self.grids[str(node.inputs[2])], rank, axis)
        return Sum(s, scale.reshape(()) if scale.size == 1 else scale)

    def _biased(self, s: str, node: Node, bias: OnGrid, rank: int, axis: int | None = None) -> str:
        data = self.old.producers[bias.integers].data.astype(np.int32)
        at = rank - 1 if axis is None else axis
        data = data.reshape([-1 if k == at else 1 for k in range(rank)]) if data.size > 1 else data.reshape(())
        return self._emit("Add", [s, self._constant(f"{node.name}.bias", data)], f"{node.name}/bias")

    def _average(self, node: Node, rank: int) -> Sum:
        x = self.grids[node.inputs[0]]
        shape = self.old.value(node.inputs[0]).shape or ()
        if node.op == "GlobalAveragePool":
            s = self._emit("ReduceSum", [self._wide(node.inputs[0], x), tuple(range(2, rank))], node.name, keepdims=1)
            count = math.prod(d for d in shape[2:] if isinstance(d, int))
        else:
            channels, kernel = shape[1], tuple(node.attrs["kernel_shape"])
            padded = any(node.attrs.get("pads") or ()) or node.attrs.get("auto_pad", "NOTSET") not in (
                "NOTSET",
                "VALID",
            )
            if (
                not isinstance(channels, int)
                or node.attrs.get("ceil_mode", 0)
                or (padded and not node.attrs.get("count_include_pad", 0))
            ):
                raise GraphError(f"node {node.name!r} (AveragePool): its windows are not all of one size")
            ones = self._constant(f"{node.name}.ones", np.ones((channels, 1, *kernel), np.int8))
            zero = self._constant(f"{node.name}.x_zero", x.zero.astype(self.old.value(x.integers).dtype or "int8"))
            attrs = {k: v for k, v in node.attrs.items() if k not in ("count_include_pad", "ceil_mode")}
            s = self._emit("ConvInteger", [x.integers, ones, zero], node.name, **attrs, group=channels)
            count = math.prod(kernel)
        return Sum(s, np.asarray(np.float64(x.step) / count))
