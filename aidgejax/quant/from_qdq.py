"""A graph that arrived quantized, to be trained on: one FakeQuantize in the place of each quantizer pair.

    QuantizeLinear -> DequantizeLinear (-> Clip between, or in front)     a tensor between layers
    integers -> DequantizeLinear                                         a weight, a float parameter from here on
    32-bit integers -> DequantizeLinear                                  a bias, rounded to the product of two steps
    Quant (QONNX)                                                        any of these

What the file says is kept: its scales are the steps, its zero points and its levels stay.  to_integer, verify and write
then give integers again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from ..arguments import checked_call
from ..errors import GraphError
from ..graph import Graph, Node, Value
from ..interpreter.shape_inference import infer_shapes
from ..ops import lookup
from ..passes.constants import constant_value
from ..passes.edit import renamed
from ..passes.float_weights import BETWEEN_SCALES
from ..passes.integer_products import PRODUCTS
from ..passes.rewrite import replace_nodes
from .from_products import products_in_floats
from .notes import noted
from .sites import LAYERS, TRANSPARENT

PAIR = ("QuantizeLinear", "DequantizeLinear")


@checked_call
def arrived_quantized(graph: Graph) -> bool:
    """Does the graph hold quantizers of its file, or products of integers?"""
    return any(n.op in (*PAIR, *BETWEEN_SCALES, *PRODUCTS, "Quant") for n in graph.nodes)


@checked_call
def from_qdq(graph: Graph, *, learned: bool = True, round_biases: bool = True) -> Graph:
    """The graph with FakeQuantize where QuantizeLinear and DequantizeLinear were; `finetune` trains it.

    learned: train the steps too; else they stay the file's scales.
    round_biases: a bias in floats, as Brevitas writes them, is rounded to the product of its layer's steps, as it is
        deployed; with False values are the same to the last bit.
    QLinearConv and QLinearMatMul become the operator in floats between quantizers; ConvInteger and MatMulInteger too.
    Raises GraphError where there is no quantizer, and naming all those whose scale is not known when the graph is built
    or that have a scale for each channel of data.
    """
    graph = replace_nodes(graph, lambda node: lookup(node.op).decompose if node.op in BETWEEN_SCALES else None)
    if not arrived_quantized(graph):
        raise GraphError(f"graph {graph.name!r} has no QuantizeLinear or DequantizeLinear: convert quantizes it")
    graph = products_in_floats(_moved_in_floats(_integers_widened(infer_shapes(graph))))
    copy = _Reader(infer_shapes(graph), learned, round_biases).run()
    return noted(infer_shapes(copy.check()), calibrated="file")


def _integers_widened(graph: Graph) -> Graph:
    """Initializers of integers behind a Cast to wider ones, as packed files store biases, as if they stood there so."""
    copy = graph.copy()
    instead: dict[str, str] = {}
    copy.nodes = []
    for node in graph.nodes:
        held = graph.producers.get(str(node.inputs[0])) if node.op == "Cast" else None
        to = np.dtype(graph.value(node.output_names[0]).dtype or "float32") if held is not None else None
        if held is None or to is None or held.data.dtype.kind not in "iu" or to.kind not in "iu":
            copy.nodes.append(renamed(node, instead) if instead.keys() & set(node.input_names) else node)
            continue
        name = copy.fresh(f"{held.name}.{to.name}") if len(graph.readers()[held.name]) > 1 else held.name
        copy.producers[name] = replace(held, name=name, data=held.data.astype(to))
        instead[node.output_names[0]] = name
    return copy


def _moved_in_floats(graph: Graph) -> Graph:
    """Pools and reshapes of integers between two quantizers of their grid, which changes nothing."""
    copy = graph.copy()
    copy.nodes = []
    grids: dict[str, tuple[Node, Node | None]] = {}  # {integers: the QuantizeLinear above, and the Clip}
    for node in graph.nodes:
        above = grids.get(str(node.inputs[0])) if node.inputs else None
        if node.op == "QuantizeLinear":
            grids[node.output_names[0]] = node, None
        elif node.op == "Clip" and above is not None:
            grids[node.output_names[0]] = above[0], node
        if above is None or node.op not in TRANSPARENT:
            copy.nodes.append(node)
            continue
        source, clip = above
        real, moved = (copy.fresh(f"{node.inputs[0]}.{what}") for what in ("real", "moved"))
        for name in (real, moved):
            copy.values[name] = Value(name)
        whole = node.outputs[0] if clip is None else copy.fresh(f"{node.outputs[0]}.wide")
        copy.values.setdefault(str(whole), Value(str(whole)))
        copy.nodes += [
            Node("DequantizeLinear", (node.inputs[0], *source.inputs[1:]), (real,), {}, f"{node.name}/dq"),
            node.replace(inputs=(real, *node.inputs[1:]), outputs=(moved, *node.outputs[1:])),
            source.replace(inputs=(moved, *source.inputs[1:]), outputs=(whole,), name=f"{node.name}/q"),
        ]
        if clip is not None:
            copy.nodes.append(
                clip.replace(inputs=(whole, *clip.inputs[1:]), outputs=node.outputs[:1], name=f"{node.name}/clip")
            )
        grids[node.output_names[0]] = above
    return copy


class _Reader:
    def __init__(self, graph: Graph, learned: bool, biases: bool) -> None:
        self.old, self.learned, self.biases = graph, learned, biases
        self.writer, self.readers = graph.writer(), graph.readers()
        self.new = graph.copy()
        self.new.nodes = []
        self.names: dict[str, str] = {}  # {tensor: what its readers read now}
        self.made: dict[tuple[Any, ...], str] = {}  # {source and grid: what is quantized to it}
        self.step_of: dict[str, str] = {}  # {quantized tensor: its step}
        self.grid_of: dict[str, tuple[Any, ...]] = {}  # {quantized tensor: step, zero point and levels}
        self.steps: dict[tuple[str, tuple[int, ...]], str] = {}
        self.odd: list[str] = []

    def run(self) -> Graph:
        biases: list[Node] = []
        for node in self.old.nodes:
            if node.op == "DequantizeLinear":
                held = self._held(node.inputs[0])
                if held is not None and held.dtype == np.int32:
                    biases.append(node)
                else:
                    self._pair(node, held)
            elif node.op == "Quant":
                if self._quant(node):
                    biases.append(node)
            elif not self._is_inside(node):
                self.new.nodes.append(renamed(node, self.names) if self._reads(node) else node)
        if self.odd:
            raise GraphError(
                f"graph {self.old.name!r}: these quantizers cannot be trained on, as their scale is computed, or "
                f"differs between channels of data: {', '.join(self.odd[:8])}{', ...' if len(self.odd) > 8 else ''}"
            )
        for node in biases:
            self._bias(node)
        if self.biases:
            self._float_biases()
        self.new.nodes = _in_order(self.new)
        self.new.prune()
        return self.new

    # ---- what is there --------------------------------------------------------------------------------

    def _held(self, operand: Any) -> np.ndarray | None:
        """The array of an initializer."""
        producer = self.old.producers.get(operand) if isinstance(operand, str) else None
        return None if producer is None else producer.data

    def _reads(self, node: Node) -> bool:
        return any(i in self.names for i in node.input_names)

    def _is_inside(self, node: Node) -> bool:
        """Is it read by a DequantizeLinear alone, through a Clip at most?"""
        if node.op not in ("QuantizeLinear", "Clip", "Cast", "Mul") or node.output_names[0] in self.old.outputs:
            return False
        readers = self.readers.get(node.output_names[0], [])
        if node.op == "Mul":  # of a bias' scale
            return bool(readers) and all(r.op == "DequantizeLinear" and r.inputs[1] == node.outputs[0] for r in readers)
        integers = (self.old.value(node.output_names[0]).dtype or "").lstrip("u").startswith("int")
        return integers and bool(readers) and all(r.op == "DequantizeLinear" or self._is_inside(r) for r in readers)

    def _pair(self, node: Node, held: np.ndarray | None) -> None:
        scale = constant_value(self.old, node.inputs[1])
        ints = node.inputs[0]
        limits: list[float | None] = [None, None]
        source = self.writer.get(ints) if isinstance(ints, str) else None
        if held is None and source is not None and source.op == "Clip":
            limits = [_number(constant_value(self.old, i)) for i in (*source.inputs[1:3], None, None)[:2]]
            source = self.writer.get(str(source.inputs[0]))
        if scale is None or (held is None and (source is None or source.op != "QuantizeLinear")):
            self.odd.append(node.name or node.output_names[0])
            return
        zero = constant_value(self.old, node.inputs[2]) if len(node.inputs) > 2 else None
        kind = np.dtype(held.dtype) if held is not None else np.dtype(_dtype(self.old, source))
        info = ml_dtypes.iinfo(kind)
        low, high = int(info.min), int(info.max)
        low = low if limits[0] is None else max(low, int(limits[0]))
        high = high if limits[1] is None else min(high, int(limits[1]))
        if held is not None or source is None:
            if held is not None:
                self._weight(node, held, scale, zero, low, high)
            return
        x = source.inputs[0]
        weight = self._held(x)
        if weight is None and scale.size > 1:
            self.odd.append(node.name or node.output_names[0])
            return
        if weight is not None:
            self.new.producers[x] = replace(self.new.producers[x], role="parameter")
        x, low, high = self._cut(x, scale, zero, low, high)
        shape = (self.old.value(x).shape or ()) if weight is None else weight.shape
        self._quantize(node, x, shape, scale, zero, low, high)

    def _quant(self, node: Node) -> bool:
        """A node of QONNX, which is a pair in one; is it a bias, of more than 16 bits?"""
        x, held = str(node.inputs[0]), self._held(node.inputs[0])
        scale, zero, bits = (constant_value(self.old, i) for i in node.inputs[1:4])
        width = _number(bits)
        whole = zero is not None and np.array_equal(zero, np.rint(zero))
        if scale is None or zero is None or width is None or not whole or (held is None and scale.size > 1):
            self.odd.append(node.name or node.output_names[0])
            return False
        if held is not None:
            self.new.producers[x] = replace(self.new.producers[x], role="parameter")
        if width > 16 and held is not None:
            return True
        signed, narrow = (int(node.attrs.get(k, default)) for k, default in (("signed", 1), ("narrow", 0)))
        top = 2 ** (int(width) - signed) - 1
        low, high = (narrow - top - 1, top) if signed else (0, top - narrow)
        shape = (self.old.value(x).shape or ()) if held is None else held.shape
        self._quantize(node, x, shape, scale, zero, low, high)
        return False

    def _cut(self, x: str, scale: np.ndarray, zero: np.ndarray | None, low: int, high: int) -> tuple[str, int, int]:
        """A Clip to fewer levels in front of the quantizer is part of it."""
        clip = self.writer.get(x)
        if clip is None or clip.op != "Clip" or scale.size != 1 or len(self.readers[x]) != 1:
            return x, low, high
        ends = [_number(constant_value(self.old, i)) for i in (*clip.inputs[1:3], None, None)[:2]]
        at = [None if e is None else e / float(scale.reshape(-1)[0]) for e in ends]
        if any(a is None or abs(a - round(a)) > 1e-3 for a in at) or x in self.old.outputs:
            return x, low, high
        z = 0 if zero is None else int(zero.reshape(-1)[0])
        below, above = (int(round(a)) + z for a in at if a is not None)
        if below < low or above > high:
            return x, low, high
        self.new.nodes = [n for n in self.new.nodes if n.name != clip.name]
        return str(self.names.get(str(clip.inputs[0]), clip.inputs[0])), below, above

    # ---- what is made ---------------------------------------------------------------------------------

    def _weight(
        self, node: Node, held: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, low: int, high: int
    ) -> None:
        name = str(node.inputs[0])
        step, at = _spread(scale, held.shape, node), 0 if zero is None else _spread(zero, held.shape, node)
        w = (held.astype(np.float64) - _repeated(at, held.shape)) * _repeated(step, held.shape)
        self.new.producers.pop(name, None)
        self.new.producer(name, w.astype(np.float32), "parameter")
        self._quantize(node, name, held.shape, scale, zero, low, high)

    def _quantize(
        self, node: Node, x: str, shape: Any, scale: np.ndarray, zero: np.ndarray | None, low: int, high: int
    ) -> None:
        out = node.output_names[0]
        spread = _spread(scale, shape, node).astype(np.float32)
        grid = (spread.tobytes(), spread.shape, b"" if zero is None or not np.any(zero) else zero.tobytes(), low, high)
        key = (x, grid)
        if key in self.made and out not in self.old.outputs:
            self.names[out] = self.made[key]
            return
        before = self._root(x)
        if self.grid_of.get(before) == grid and before != x and out not in self.old.outputs:
            self.names[out] = self.names.get(x, x)  # a pool or a reshape has left it on its grid
            self.step_of[self.names[out]] = self.step_of[before]
            return
        step = self._step(str(node.inputs[1]), spread)
        at: Any = None
        if zero is not None and np.any(zero):
            at = self.new.constant(self.new.fresh(f"{x}.zero"), _spread(zero, shape, node).astype(np.float32))
        written = out if out in self.old.outputs else self.new.fresh(f"{x}.quant")
        self.new.values.pop(written, None)
        inputs = [self.names.get(x, x), step, at, low, high]
        self.new.add("FakeQuantize", inputs, names=[written], name=self.new.fresh(f"{x}/quantize"))
        self.made[key] = self.names[out] = written
        self.step_of[written] = step
        self.grid_of[written] = grid

    def _root(self, tensor: str) -> str:
        """What is quantized above, through operators that move values alone."""
        while True:
            tensor = self.names.get(tensor, tensor)
            node = self.writer.get(tensor)
            if node is None or node.op not in (*TRANSPARENT, "Relu") or tensor != node.outputs[0]:
                return tensor
            tensor = str(node.inputs[0])

    def _step(self, scale: str, spread: np.ndarray) -> str:
        """One step per scale of the file and shape: what shared a scale goes on to share it."""
        key = (scale if scale in self.old.producers else self.new.fresh("scale"), spread.shape)
        if key not in self.steps:
            name = self.new.fresh(f"{key[0]}.step")
            role = "parameter" if self.learned else "constant"
            self.steps[key] = self.new.producer(name, spread, role).name
        return self.steps[key]

    def _bias(self, node: Node) -> None:
        name, out = str(node.inputs[0]), node.output_names[0]
        held, scale = self.old.producers[name].data, constant_value(self.old, node.inputs[1])
        if scale is None:
            raise GraphError(f"graph {self.old.name!r}: the scale of bias {name!r} is computed from data")
        real = held if node.op == "Quant" else held.astype(np.float64) * scale.astype(np.float64)
        b = real.astype(np.float32)
        self.new.producers.pop(name, None)
        self.new.producer(name, b, "parameter")
        reader = next((n for n in self.new.nodes if out in n.input_names and n.op in LAYERS), None)
        steps = self._steps_of(reader) if reader is not None else None
        fixed = None if steps else self.new.constant(self.new.fresh(f"{name}.step"), scale.astype(np.float32))
        rounded = self._rounded(name, steps, fixed)
        self.new.nodes = [renamed(n, {out: rounded}) for n in self.new.nodes]

    def _steps_of(self, layer: Node) -> tuple[str, str] | None:
        """The steps of a layer's data and weight, where both are on a grid and their product scales its sums."""
        plain = all(layer.attrs.get(k, 1.0) in (1.0, None) for k in ("alpha", "beta"))
        data, weight = (self._step_above(str(i)) for i in layer.inputs[:2])
        return (data, weight) if plain and data is not None and weight is not None else None

    def _step_above(self, tensor: str) -> str | None:
        """The step of what is quantized above, through operators that move values alone."""
        writer = self.new.writer()
        while tensor not in self.step_of:
            node = writer.get(tensor)
            if node is None or node.op not in TRANSPARENT or tensor != node.outputs[0]:
                return None
            tensor = str(node.inputs[0])
        return self.step_of[tensor]

    def _rounded(self, name: str, steps: tuple[str, str] | None, fixed: Any = None) -> str:
        """A bias rounded to the product of its layer's steps, or to a fixed one; the nodes go in front."""
        op, count, step = self.new.op, len(self.new.nodes), fixed
        if steps is not None:
            of_weight: Any = steps[1]
            if self.new.value(steps[1]).shape != ():
                of_weight = op.Reshape(of_weight, (-1,), name=self.new.fresh(f"{name}/steps"))
            step = op.Mul(steps[0], of_weight, name=self.new.fresh(f"{name}/step"))
        rounded = op.RoundTo(name, step, name=self.new.fresh(f"{name}/round")).name
        self.new.nodes = self.new.nodes[count:] + self.new.nodes[:count]
        return str(rounded)

    def _float_biases(self) -> None:
        """Biases that the file holds in floats: integers hold them when the graph is deployed."""
        readers = self.new.readers()
        for layer in [n for n in self.new.nodes if n.op in LAYERS]:
            at, node = 2, layer
            if layer.op == "MatMul":
                found = readers.get(layer.output_names[0], [])
                if len(found) != 1 or found[0].op != "Add":
                    continue
                node = found[0]
                at = 1 - node.inputs.index(layer.output_names[0])
            held = self._held(node.inputs[at]) if len(node.inputs) > at else None
            steps = self._steps_of(layer)
            if held is None or steps is None or held.dtype != np.float32 or held.ndim != 1:
                continue
            of_weight = self.new.producers[steps[1]].data
            if of_weight.size not in (1, held.size) or of_weight.ndim > 1 and of_weight.size != max(of_weight.shape):
                continue
            rounded = self._rounded(str(node.inputs[at]), steps)
            changed = node.replace(inputs=(*node.inputs[:at], rounded, *node.inputs[at + 1 :]))
            self.new.nodes = [changed if n is node else n for n in self.new.nodes]


def _in_order(graph: Graph) -> list[Node]:
    """The nodes, each behind those that it reads."""
    known = {*graph.inputs, *graph.producers}
    left, found = list(graph.nodes), []
    while left:
        ready = [n for n in left if all(i in known for i in n.input_names)]
        if not ready:
            return graph.nodes
        found += ready
        known.update(o for n in ready for o in n.output_names)
        left = [n for n in left if n not in ready]
    return found


def _dtype(graph: Graph, quantize: Node | None) -> str:
    return (graph.value(quantize.output_names[0]).dtype if quantize is not None else None) or "uint8"


def _number(value: np.ndarray | None) -> float | None:
    return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None


def _spread(v: np.ndarray, shape: Any, node: Node) -> np.ndarray:
    """A scale or zero point in the shape in which FakeQuantize takes it."""
    if v.size == 1:
        return v.reshape(())
    if v.ndim > 1:
        return v  # of blocks
    axis = int(node.attrs.get("axis", 1)) % len(shape)
    return v.reshape([-1 if k == axis else 1 for k in range(len(shape))])


def _repeated(v: Any, shape: tuple[int, ...]) -> np.ndarray:
    v = np.asarray(v, np.float64)
    for k in range(v.ndim):
        if v.shape[k] not in (1, shape[k]):
            v = np.repeat(v, -(-shape[k] // v.shape[k]), axis=k).take(range(shape[k]), axis=k)
    return v
