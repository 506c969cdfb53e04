"""The graph that is deployed: integer weights, 32-bit biases, and every tensor between layers rounded where it is made.

    integers = deployed(q)

Standard ONNX all through (QuantizeLinear, DequantizeLinear around each operator), in the one arrangement that a runtime
may optimize without changing a number: weights are integers in the file; a bias is an integer on the product of the
steps of input and weight; what comes out of a rectifier, a pool or a reshape is on its grid again; fewer than 8 bits
stay in 8-bit containers, cut off in front of QuantizeLinear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import reference
from ..errors import GraphError
from ..graph import Graph, Node
from ..interpreter.shape_inference import infer_shapes
from .calibrate import activation_quantizers, is_calibrated
from .notes import KEY, restored
from .sites import RECTIFIERS, TRANSPARENT, constant_side

SAME_GRID = (*TRANSPARENT, *RECTIFIERS, "Concat", "Max", "Min", "Pad")


@dataclass(frozen=True)
class OnGrid:
    """What is known of a tensor on a grid: its levels are held in tensor `integers`, (integers - zero) * step.

    step: f32[], of a weight or bias also f32 of as many axes; zero: an integer, or as many; low, high: the levels.
    """

    integers: str
    step: np.ndarray
    zero: np.ndarray
    low: int
    high: int

    @property
    def same(self) -> tuple[Any, ...]:
        """Equal for grids that are the same."""
        return self.step.tobytes(), self.zero.tobytes(), self.low, self.high


def deployed(graph: Graph) -> Graph:
    """A converted and calibrated graph as it is deployed; parameters are those that the graph holds.

    Tensors keep their names; the integers of tensor t are `t.int`, and of a weight or bias they bear its own name.
    Raises GraphError where nothing is quantized, or nothing was calibrated.
    """
    graph = infer_shapes(restored(graph))
    if not any(n.op == "FakeQuantize" for n in graph.nodes):
        raise GraphError(f"graph {graph.name!r} has no quantizer: convert and calibrate it first")
    if activation_quantizers(graph) and not is_calibrated(graph):
        raise GraphError(f"graph {graph.name!r} is not calibrated: the steps of its activations are the first guess")
    return _Deployment(graph).run()


def constants_of(graph: Graph) -> dict[str, np.ndarray]:
    """{tensor: array} of everything that follows from producers alone, by the NumPy backend."""
    known = constant_side(graph)
    side = Graph(graph.name)
    side.producers = graph.producers
    side.nodes = [n for n in graph.nodes if n.output_names and n.output_names[0] in known]
    found = reference.execute(side, {})
    return {k: np.asarray(v) for k, v in found.items()}


def levels_of(x: np.ndarray, step: np.ndarray, zero: np.ndarray | None, low: int, high: int) -> np.ndarray:
    """The integers of FakeQuantize, from its definition."""
    return np.clip(np.rint(x / step) + (0 if zero is None else zero), low, high)


def container(low: int, high: int) -> np.dtype:
    """The narrowest 8- or 16-bit integers that hold these levels; unsigned ones for levels that are not negative."""
    for kind in (np.uint8, np.uint16) if low >= 0 else (np.int8, np.int16):
        info = np.iinfo(kind)
        if info.min <= low and high <= info.max:
            return np.dtype(kind)
    raise GraphError(f"levels from {low} to {high}: the widest integers that are written have 16 bits")


class _Deployment:
    def __init__(self, graph: Graph) -> None:
        self.old = graph
        self.values = constants_of(graph)
        self.new = Graph(graph.name)
        self.new.metadata = {k: v for k, v in graph.metadata.items() if k != KEY and isinstance(v, str)}
        self.grids: dict[str, OnGrid] = {}
        self.shared: dict[tuple, tuple[str, str]] = {}  # scales and zero points, each written once
        kept = [n for n in graph.nodes if n.op in ("FakeQuantize", "RoundTo") or n.output_names[0] not in self.values]
        self.taken: set[str] = {o for n in kept for o in n.output_names} | set(graph.inputs)

    def run(self) -> Graph:
        self.new.inputs = dict(self.old.inputs)
        for node in self.old.nodes:
            constant = node.output_names and node.output_names[0] in self.values
            if node.op == "FakeQuantize":
                self._weight(node) if constant else self._activation(node)
            elif node.op == "RoundTo" and constant:
                self._bias(node)
            elif not constant:
                self._node(node)
        used = {i for n in self.new.nodes for i in n.input_names} | set(self.old.outputs)
        for name in used:
            if name in self.values and name not in self.new.producers and not self._writes(name):
                role = self.old.producers[name].role if name in self.old.producers else "constant"
                self.new.producer(name, self.values[name], "constant" if role == "parameter" else role)
        self.new.outputs = list(self.old.outputs)
        return infer_shapes(self.new.check())

    def _writes(self, name: str) -> bool:
        return name in self.new.values

    def _held(self, name: str, data: np.ndarray) -> str:
        """A constant under this name, or a fresh one where a tensor bears it."""
        while name in self.taken or self.new.has(name):
            name += "_"
        return self.new.constant(name, data).name

    # ---- constants ------------------------------------------------------------------------------------

    def _weight(self, node: Node) -> None:
        x, step = self.values[node.inputs[0]], self.values[node.inputs[1]]
        zero = self.values[node.inputs[2]] if isinstance(node.inputs[2], str) else None
        low, high = (int(i) for i in node.inputs[3:5])
        whole = None if zero is None else np.rint(np.clip(zero, low, high))
        spread = _repeated(step, x.shape)
        ints = levels_of(x, spread, None if whole is None else _repeated(whole, x.shape), low, high)
        stem = node.output_names[0].removesuffix(".quant")
        self._constant(node.output_names[0], stem, ints, step, whole, low, high, x.shape)

    def _bias(self, node: Node) -> None:
        x, step = self.values[node.inputs[0]], self.values[node.inputs[1]]
        info = np.iinfo(np.int32)
        ints = np.clip(np.rint((x / step).astype(np.float64)), info.min, info.max)
        stem = node.output_names[0].removesuffix("/round")
        self._constant(node.output_names[0], stem, ints, step, None, info.min, info.max, x.shape)

    def _constant(
        self,
        output: str,
        stem: str,
        ints: np.ndarray,
        step: np.ndarray,
        zero: np.ndarray | None,
        low: int,
        high: int,
        shape: tuple[int, ...],
    ) -> None:
        kind = np.dtype(np.int32) if high > 65535 else container(low, high)
        inputs = [self._held(stem, ints.astype(kind))]
        axes = [k for k, n in enumerate(step.shape) if n != 1]
        attrs: dict[str, Any] = {}
        if len(axes) > 1 or (axes and step.shape[axes[0]] != shape[axes[0]]):
            blocks = [k for k in axes if step.shape[k] != shape[k]]
            attrs = {"axis": blocks[0], "block_size": -(-shape[blocks[0]] // step.shape[blocks[0]])}
            flat = step
        else:
            flat = step.reshape(-1 if axes else ())
            attrs = {"axis": axes[0]} if axes else {}
        inputs.append(self._held(f"{stem}.scale", flat.astype(np.float32)))
        at = np.zeros(flat.shape) if zero is None else zero.reshape(flat.shape)
        if zero is not None and np.any(zero):
            inputs.append(self._held(f"{stem}.zero_point", at.astype(kind)))
        self.new.add("DequantizeLinear", inputs, attrs, names=[output], name=f"{stem}/dq")
        self.grids[output] = OnGrid(inputs[0], step, np.asarray(at).astype(np.int32), low, high)

    # ---- data -----------------------------------------------------------------------------------------

    def _activation(self, node: Node) -> None:
        step, zero = (self.values.get(i) if isinstance(i, str) else None for i in node.inputs[1:3])
        if step is None or step.size != 1:
            raise GraphError(
                f"node {node.name!r} of graph {self.old.name!r} has no step of one number that is constant"
            )
        low, high = (int(i) for i in node.inputs[3:5])
        whole = np.int32(0) if zero is None else np.rint(np.clip(zero, low, high)).astype(np.int32).reshape(())
        grid = OnGrid("", step.reshape(()).astype(np.float32), np.asarray(whole), low, high)
        self._rounded(node.inputs[0], node.output_names[0], grid, node.name.removesuffix("/quantize"))

    def _rounded(self, source: str, output: str, grid: OnGrid, name: str, *, cut: bool = True) -> None:
        """Clip, QuantizeLinear and DequantizeLinear from `source` to `output`."""
        kind = container(grid.low, grid.high)
        info = np.iinfo(kind)
        if cut and (info.min, info.max) != (grid.low, grid.high):
            ends = [float(np.float32(level - int(grid.zero)) * grid.step) for level in (grid.low, grid.high)]
            (clipped,) = self.new.add(
                "Clip", [source, *ends], names=[self._free(f"{source}.clip")], name=f"{name}/clip"
            )
            source = clipped.name
        key = (grid.step.tobytes(), int(grid.zero), kind)
        if key not in self.shared:
            stem = output.removesuffix(".quant")
            zero_point = self._held(f"{stem}.zero_point", grid.zero.astype(kind))
            self.shared[key] = self._held(f"{stem}.scale", grid.step), zero_point
        scale, zero = self.shared[key]
        ints = self._free(f"{output}.int")
        self.new.add("QuantizeLinear", [source, scale, zero], names=[ints], name=f"{name}/q")
        self.new.add("DequantizeLinear", [ints, scale, zero], names=[output], name=f"{name}/dq")
        self.grids[output] = replace(grid, integers=ints)

    def _free(self, name: str) -> str:
        while name in self.taken or self.new.has(name):
            name += "_"
        return name

    def _node(self, node: Node) -> None:
        data = [i for i in node.input_names if i not in self.values]
        grids = [self.grids.get(i) for i in data]
        first = grids[0] if grids else None
        stays = (
            node.op in SAME_GRID and first is not None and all(g is not None and g.same == first.same for g in grids)
        )
        if stays and node.op in RECTIFIERS:  # levels below the rectifier's are levels too
            stays = True
        if not stays or first is None:
            self._copy(node, node.outputs)
            return
        if node.op in ("Identity", "Dropout"):
            (ints,) = (first.integers,)
            self._copy(Node("Identity", node.inputs[:1], node.outputs[:1], {}, node.name), node.outputs[:1])
            self.grids[node.output_names[0]] = replace(first, integers=ints)
            return
        raw = tuple(self._free(f"{o}.float") if o else o for o in node.outputs)
        self._copy(node, raw)
        for k, (o, r) in enumerate(zip(node.outputs, raw, strict=True)):
            if o is not None and r is not None:
                self._rounded(r, o, first, node.name if k == 0 else f"{node.name}.{k}", cut=False)

    def _copy(self, node: Node, outputs: tuple[str | None, ...]) -> None:
        self.new.add(node.op, node.inputs, node.attrs, names=outputs, name=node.name, domain=node.domain)


def _repeated(v: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    for k in range(v.ndim):
        if v.shape[k] not in (1, shape[k]):
            v = np.repeat(v, -(-shape[k] // v.shape[k]), axis=k).take(range(shape[k]), axis=k)
    return v
